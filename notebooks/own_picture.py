# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own picture
#
# How blurred is a picture of yours, and where? Was it manipulated? This page answers
# the first question for any photograph. It answers the second one only as far as the
# detector at hand has learned from pictures of that kind, and says so where it has not.
#
# **Reads** one picture, and the weights of a detector: those of this run, unless
# `weights` names others; where they come from rendered scenes, a scene of this run.\
# **Writes** nothing.
#
# ## How
#
# The network of the preset `learned` reads the blur of every pixel, a standard
# deviation in px, and the standard deviation of its own error. We call a pixel
# *measured* if this error is at most 0.5 px, or a quarter of the blur. A pixel of a
# white wall is not, because nothing there shows how sharp the picture is. The contrast
# of blur is the mean of the centre less that of the border, each pixel weighed by the
# inverse of its variance.
#
# A detector gets the picture as it got its training images: size, fit and preset of the
# map are in the header of its weights. There are three reasons to distrust its answer,
# and the header tells them, too: its AUC on test images, which may be low; statistics
# of its training images, which may be unlike the picture; and whether they were
# photographs at all. What distinguishes manipulated images of rendered scenes is no
# evidence in a photograph. Such a detector is not asked.
#
# `picture` names a photograph of `data_manifest.yaml`, or a file. Larger pictures than
# `longest_side` are reduced to it, because blur beyond 6 px is not read.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
picture: str = "chelsea"
weights: str = ""
longest_side: int = 1024
n_samples: int = 32

# %% tags=["hide-input"]
from dataclasses import replace
from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from defocus_lib.analysis import inspection_report as report
from defocus_lib.analysis.inspection import Inspector
from defocus_lib.analysis.inspection_settings import Settings
from defocus_lib.data import collection
from defocus_lib.data.images import read_bytes
from defocus_lib.data.manifest import load_manifest
from defocus_lib.data.photographs import photograph_file
from defocus_lib.figures import own_picture as figures
from defocus_lib.run.artifacts import Folder
from defocus_lib.run.widgets import upload

folder = Folder.open(profile, artifacts)
packaged = {photograph.name for photograph in load_manifest().photographs}
if picture in packaged:
    content = photograph_file(load_manifest().photograph(picture))
else:
    content = read_bytes(picture)
own = folder.require("detector_defocus.safetensors", made_by="03_train_detector")


def as_table(lines: dict[str, str]) -> Styler:
    table = pd.DataFrame({"": lines}).style.hide(axis="columns")
    return table.format(escape="html")


# %% [markdown]
# ## The blur of the picture

# %%
inspector = Inspector.of(Settings(None, longest_side=longest_side))
blur = inspector.inspect(content, Path(picture).name)
as_table(report.lines_of(blur))

# %% mystnb={"figure": {"caption": "The picture, the blur of every pixel, and the uncertainty of the blur, both as standard deviations in px. Dark is sharp, and dark is certain. Look first where the map is uncertain: what it shows there is a guess.", "name": "fig-own-picture"}, "image": {"alt": "Three panels side by side: a photograph, its map of blur with a colour bar in px, and the map of the uncertainty with a colour bar in px."}} tags=["shows-images"]
figures.picture_planes(blur)

# %% [markdown]
# ## What a detector says
#
# First the weights, as far as their file describes them.

# %%
judge = Inspector.of(Settings(Path(weights or own), n_samples=n_samples))
as_table(report.about_weights(judge))

# %% [markdown]
# Then their answer to this picture, or why there is none.

# %%
answer = judge.inspect(content, Path(picture).name)
as_table({"verdict": report.verdict_line(answer)})

# %% [markdown]
# The table compares the picture with the training images. Outside of the range of 98 %
# of them the test AUC says nothing on the picture.

# %%
report.comparison_table(answer)

# %% [markdown]
# The Shapley values of {numref}`fig-own-verdict` show which pixels a verdict rests on.
# Weights of rendered scenes are at work on a manipulated scene there, an image of the
# kind that they know.

# %% tags=["hide-input"]
if judge.is_rendered and "depth" in folder.about.has:
    run = collection.load(folder)
    scene = run.records.query("split == 'test' and label == 1").iloc[0]
    asked = replace(judge, settings=replace(judge.settings, rendered=True))
    shown = asked.inspect(read_bytes(run.reader.root / scene["path"]), scene["id"])
else:
    shown = answer
as_table({shown.name: report.verdict_line(shown)})

# %% mystnb={"figure": {"caption": "The image and its map as the detector read them, and the Shapley value of every pixel against the mean real training input. Red speaks for manipulation, blue against it. Without a verdict there are no values.", "name": "fig-own-verdict"}, "image": {"alt": "Panels side by side: an image, its map of blur with a colour bar in px, and the Shapley values with a colour bar in logits."}} tags=["shows-images"]
figures.picture_planes(shown)

# %% [markdown]
# ## What it means
#
# A difference of blur between regions is no proof of manipulation: every photograph
# with depth of field has one. It becomes evidence where the scene contradicts it, such
# as a face that is sharper than the hair around it at the same distance. A probability
# holds for pictures like the training images, and an error rate for many of them; a
# single picture has neither.
#
# **Limits.** In the sharpest photographs the network reads about 0.3 px, not 0. Blur
# above 6 px is read as 6 px. Motion and strong compression blur, too, and the map can't
# tell them from defocus. {doc}`14_better_maps` says how far the map is off on scenes of
# known blur; on a photograph of your own only its uncertainty says so.
#
# ## From the command line
#
# ```bash
# python -m defocus_lib inspect photo.jpg --html report.html
# python -m defocus_lib inspect pictures/ --weights FILE --html report.html
# ```
#
# The report has the same numbers for every picture, and is one file that needs nothing
# else. `--json` and `--csv` write them for programs ({ref}`sec-own-picture`).
#
# ## Exercises
#
# 1. Set `longest_side` to 150. What happens to the blur of the background in px, and
#    why do the sharpest parts not become sharper?
# 2. Set `picture` to a photograph of your own with a face in focus. Is the centre
#    against the border larger than its uncertainty?
#
# ```{admonition} Answer to 1
# :class: dropdown
# The reduced picture has a third of the pixels along each side, so that its blur in px
# falls as well: that of the background from about 5 px to 2 px. Reducing also averages
# pixels, which blurs by some 0.4 px of the new ones. No reduced picture is sharper.
# ```
#
# ## Try it
#
# In JupyterLab, choose a picture. It is read here and stored nowhere.


# %% tags=["remove-output"]
def inspect_upload(content: bytes, name: str):
    found_blur = inspector.inspect(content, name)
    verdict = report.verdict_line(judge.inspect(content, name))
    words = f"{report.text(found_blur)}\n\nThe detector: {verdict}"
    return figures.picture_planes(found_blur), words


upload(inspect_upload)
