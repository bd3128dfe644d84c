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
# # Contrast of blur
#
# {cite:t}`jeon2025seeing` argue that a manipulated region has a blur which does not fit
# its surroundings. If that is so, one number shows it, and no network has to be
# trained: the mean blur of the region less that of its surroundings. This page measures
# how well this number separates real from manipulated images, on the maps of every
# preset, and what eight such numbers add.
#
# **Reads** the records and images (notebook 01), the true regions where they are known,
# and the maps in the cache (notebook 02).\
# **Writes** the claims of this page.
#
# ## How
#
# For a map $\sigma$ in px, a region $R$ and its surroundings $S$,
#
# $$
# c = \bar\sigma_R - \bar\sigma_S, \qquad z = \frac{c_w}{u},
# $$ (eq-contrast)
#
# where the *contrast* $c$ (px) is a difference of plain means. Where the preset
# estimates its error, $c_w$ weighs each pixel by the inverse of its variance, and $u$
# is the standard deviation of its error, which makes $z$ the contrast in units of its
# uncertainty. Errors within a part count as fully correlated, those of the two parts as
# independent.
#
# The sign is fixed beforehand: a manipulated region is blurrier than its surroundings,
# compared with real images. Decoders of low resolution, interpolation and blending all
# remove detail from the region, and none of them adds any. An AUC above 0.5 is
# evidence for this, an AUC below 0.5 is evidence against it, and no AUC is turned
# around. `preset` names the map of the claims. It is `learned`, because that preset is
# closest to known blur on {doc}`10_known_blur`; it was not chosen by the AUC below.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
preset: str = "learned"
known: bool = True  # the true region where it is known, not the centre
form: str = "rectangle"  # of the central part; or "ellipse"
share: float = 0.5
shares: str = "0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9"
groups: int = 300
folds: int = 5
n_bootstrap: int = 1000
example: int = 7
seed: int = 0

# %% tags=["hide-input"]
import ipywidgets
import numpy as np
import pandas as pd
from myst_nb import glue

from defocus_lib.analysis import blur_statistics, contrast_detector
from defocus_lib.analysis.blur_statistics import KnownRegions, Part
from defocus_lib.analysis.contrast_detector import CONTRAST, EIGHT
from defocus_lib.data import collection, records
from defocus_lib.figures import contrast as figures
from defocus_lib.maps.cache import ComputedMaps, load_maps, map_cache
from defocus_lib.maps.presets import PRESETS
from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder
from defocus_lib.run.widgets import explore
from defocus_lib.stats import claims

folder = Folder.open(profile, artifacts)
run = collection.load(folder)
_, of_run = load_maps(folder, run.reader)
test = run.records[run.records["split"] == "test"].reset_index(drop=True)
test = records.sample(test, groups, seed) if groups else test
manipulations = run.manipulations
trained_manipulations = run.training_manipulation.split(", ")
# Maps that other pages need too are kept; the others take milliseconds.
kept = {"physical", "learned", of_run["preset"]}
maps = {
    name: map_cache(run.reader, name, "")
    if name in kept
    else ComputedMaps(run.reader, name)
    for name in PRESETS
}
for name in kept:
    maps[name].fill(test, run.reader, progress=True)
central = Part(form, share)
has_regions = known and "regions" in run.about.has
region = KnownRegions.of(folder, test, run.about.size) if has_regions else central

# %% tags=["remove-input"]
glue("contrast_unit", run.about.unit, display=False)
glue("contrast_preset", preset, display=False)
glue("contrast_region", region.title, display=False)

# %% [markdown]
# The region of this run is the {glue:text}`contrast_region`. On data with known masks
# it is the mask; a real image has the mask of the manipulated images that were made
# from it. Elsewhere it is the central part of the image, a rectangle or an ellipse,
# which fits face crops, because they are cut around the face with a margin. Where the
# crop is 1.3 times as large as the box of the face ({doc}`../own_data`), `share` 0.77
# is this box, and 0.5 the middle of the face.

# %% tags=["hide-input"]
real = test[test["label"] == 0].drop_duplicates("group")


def pair_of(image: int, manipulation: str, share: float):
    first = real.iloc[[min(image, len(real) - 1)]]
    fakes = test[test["manipulation"] == manipulation]
    paired = fakes[fakes["pair"].isin(first["id"])]
    rows = pd.concat([first, (paired if len(paired) else fakes).head(1)])
    planes = {name: source.stack(rows)[0] for name, source in maps.items()}
    shown = region if has_regions and share == central.share else Part(form, share)
    shape = planes[preset].shape
    inside = np.broadcast_to(shown(rows, shape[1:]), shape)
    titles = rows["manipulation"].tolist()
    return figures.regions_on_maps(run.reader.stack(rows), planes, inside, titles)


# %% mystnb={"figure": {"caption": "A real test image, a manipulated one, and their maps on one scale, with the outline of the region. The number below each map is its contrast. Compare the two numbers of a column: a map that shows the manipulation has the larger one in the lower row.", "name": "fig-contrast-regions"}, "image": {"alt": "Two rows, real and manipulated, of a photograph and its four maps, each with the outline of a region in its middle and a number below."}} tags=["shows-images"]
pair_of(example, manipulations[0], share)

# %% [markdown] tags=["needs-regions"]
# ### What it means that the region is known
#
# The mask is known here only because we rendered the scenes. It is an oracle: whoever
# looks at one picture does not have it, and an AUC with it says what the blur could
# tell to somebody who knows where to look. The central part needs no knowledge, and it
# is right only as far as the region lies in the middle. In these scenes the subject
# stands near the middle, as a face does in a face crop: on average
# {glue:text}`contrast_overlap:.0%` of the known region lie in the
# {glue:text}`contrast_central`, and {glue:text}`contrast_filled:.0%` of this part
# belong to the region. A manipulation at the side of a picture has no such luck.

# %% tags=["remove-input"]
of_test = region(test[test["label"] == 1], (run.about.size,) * 2)
in_both = (of_test & central(test, of_test.shape[1:])).sum((1, 2))
glue("contrast_central", central.title, display=False)
overlap = (in_both / of_test.sum((1, 2))).mean()
glue("contrast_overlap", float(overlap), display=False)
filled = in_both / central(test, of_test.shape[1:]).sum()
glue("contrast_filled", float(filled.mean()), display=False)

# %% [markdown]
# ## Blur inside and outside, by manipulation

# %%
measured = {
    name: blur_statistics.measure(test, source, region, uncertain=name == "learned")
    for name, source in maps.items()
}

# %% mystnb={"figure": {"caption": "Contrast of blur of every test image, by manipulation and preset: smoothed density, with lines at the median and the quartiles. At the dotted line region and surroundings are equally blurred. Look for shapes that lie to the right of the real one at the top. The axes differ, because the maps differ in scale.", "name": "fig-contrast-distributions"}, "image": {"alt": "Four panels, one for each preset, each with a shape for real images and one for every manipulation, on axes of px with a dotted line at zero."}}
figures.distributions(measured)

# %% [markdown]
# ## AUC without training
#
# The AUC is the probability that a manipulated image has the larger contrast than a
# real one. Its 95 % interval resamples each {glue:text}`contrast_unit` as a whole. Each
# preset has two rows: the map in px, and the same map *min-max* normalised, which is
# what the detectors of Jeon & Woo read.

# %%
compared = {
    name: contrast_detector.compare(measured, name, folds, n_bootstrap, seed, preset)
    for name in manipulations
}
table = contrast_detector.auc_table(compared)
untrained = table[table["score"] == CONTRAST]
contrast_detector.auc_shown(untrained)

# %% mystnb={"figure": {"caption": "AUC of the contrast of blur with its 95 % interval, for each preset on the map in px (dots) and min-max normalised (squares). The dotted line is chance; to its left, manipulated regions are sharper than those of real images.", "name": "fig-contrast-auc"}, "image": {"alt": "One panel for each manipulation, with a dot and a square for each of four presets over an axis of AUC and a dotted line at one half."}}
figures.auc_by_preset(untrained)

# %% [markdown]
# **Why it works where it does.** A region that was pasted was focused by another lens
# at another distance; a region that was decoded from a low resolution lacks detail that
# its surroundings have. Either way the region has a blur of its own, and the mean over
# many pixels is more certain than any pixel.
#
# **What min-max normalisation does.** It subtracts the smallest sigma of an image and
# divides by the range. The contrast is thus divided by the range of its own image, and
# two images whose maps differ by a factor become equal.
# If a manipulation changes the range itself, as a region does that becomes the
# blurriest or the sharpest part of its image, the normalised contrast grows less than
# the contrast in px, and a change of the whole image is lost altogether. The same
# division also removes how much depth of field differs from image to image, which may
# be larger than what the manipulation did. Which of the two wins is a property of the
# data, and the rows show it.
#
# **What the maps of Jeon & Woo do.** `released` and `published` read blur from the
# ratio of two gradients, count an edge that they could not read as sharp, and spread
# the readings by a filter that follows brightness. Much of such a map is near zero, so
# that its mean over a region follows how many edges were read there
# ({doc}`10_known_blur` has the error). The next table therefore has a control without
# blur, *fewer edges in the region*: the share of edge pixels in the surroundings less
# that in the region. *Either sign* is the absolute contrast, for whoever does not want
# to fix the direction.

# %%
of_preset = table[(table["preset"] == preset) & (table["score"] != EIGHT)]
contrast_detector.auc_shown(of_preset)

# %% [markdown]
# Where fewer edges separate the images as well as the contrast, blur is not the only
# explanation: a manipulation that smooths texture removes edges and leaves fewer
# readings. {doc}`11_controls` asks the same of trained detectors.

# %% [markdown] tags=["needs-pairs"]
# ## The same image, real and manipulated
#
# Images of different scenes differ in contrast for many reasons. The table has the mean
# difference of a manipulated image from its own real image (px, with its 95 %
# interval), and the share of the pairs in which the manipulated one has the larger
# contrast (*blurrier*).

# %%
differences = contrast_detector.paired_differences(measured, n_bootstrap, seed)
contrast_detector.paired_shown(differences)

# %% [markdown]
# A difference that almost every pair shows can still give a low AUC, if it is small
# against the differences between images. A detector that sees one image has no real
# image to compare it with.

# %% [markdown] tags=["needs-3-test-groups"]
# ## Eight statistics
#
# How much more is in the map than its contrast? We describe each map by eight numbers:

# %%
names = pd.Series(blur_statistics.STATISTICS, name="what it is").to_frame()
names.style.set_table_attributes('class="dataframe"')

# %% [markdown]
# A logistic regression of these numbers is a transparent model: eight weights, each
# with a name. It is cross-validated by {glue:text}`contrast_unit` within the test
# images, separately for each manipulation, so that no {glue:text}`contrast_unit` is in
# training and test rows of a fold. Training on the training images instead would tell
# something else, because these show {glue:text}`contrast_trained` only; here every
# manipulation is learned, and its contrast is measured on the same images. The
# predictions of all folds enter one AUC, although each fold has a model of its own,
# which makes the AUC too low rather than too high.

# %%
contrast_detector.auc_shown(table[table["score"] == EIGHT])

# %% tags=["remove-input"]
glue("contrast_trained", " and ".join(trained_manipulations), display=False)
coefficients = contrast_detector.coefficients(measured[preset], manipulations, folds)

# %% mystnb={"figure": {"caption": "Coefficients of the eight statistics on maps in px of the preset of the claims, for standardised statistics: mean over the folds (dots), and lowest to highest fold (bars). Positive: the larger, the rather manipulated. Bars on both sides of the dotted line belong to a statistic that the model hardly needs, or to two that replace each other.", "name": "fig-contrast-coefficients"}, "image": {"alt": "One panel for each manipulation with eight named rows, each a dot with a bar, around a dotted line at zero."}}
figures.model_coefficients(coefficients)

# %% [markdown]
# The statistics are correlated, so that single coefficients are no effects: a large
# positive weight of one may answer a negative one of another.

# %% [markdown]
# ## How much depends on the region
#
# The central part is a choice. The figure shows the AUC of the contrast on maps of
# {glue:text}`contrast_preset` for central parts of other sizes, rectangles and
# ellipses.

# %%
parts = [
    Part(kind, float(each))
    for kind in blur_statistics.FORMS
    for each in shares.split(",")
]
every = list(dict.fromkeys([central, *parts]))
contrasts = contrast_detector.part_contrasts(test, maps[preset], every)
by_share = contrast_detector.sensitivity(contrasts, parts)
in_px = untrained[(untrained["preset"] == preset) & (untrained["scale"] == "px")]
with_region = in_px.set_index("manipulation")["value"].to_dict()

# %% mystnb={"figure": {"caption": "AUC of the contrast in px over the size of the central part, without intervals. Where the true region is known, the dash-dotted line has the AUC with it. A curve that is flat over many sizes does not owe its level to the choice of one.", "name": "fig-contrast-share"}, "image": {"alt": "One panel for each manipulation with two curves, of rectangles and of ellipses, over the share of each side."}}
figures.share_sensitivity(by_share, with_region if has_regions else None)

# %% tags=["remove-cell"]
resampling = {"n_bootstrap": n_bootstrap, "seed": seed}
of_centre = {
    name: contrast_detector.compare_part(contrasts, central, preset, name, **resampling)
    for name in trained_manipulations
    if has_regions
}

# %% [markdown]
# ## What it means
#
# A claim is supported if its whole interval lies on the claimed side. *Known region*
# means an oracle; all other rows are of a part that was fixed without looking. Rows of
# differences are about the manipulations of the training images alone.

# %%
oracle = " (an oracle)" if has_regions else ""
region_title = f"{region.title}{oracle}"
trained = {name: compared[name] for name in trained_manipulations}
page_claims = [
    *contrast_detector.claims(compared, preset, region_title, run.about.unit),
    *contrast_detector.claims(of_centre, preset, central.title, run.about.unit),
    *contrast_detector.difference_claims(trained, preset, region_title, run.about.unit),
]
claims.table(page_claims, folder.about.caution)

# %% tags=["remove-cell"]
_ = headline.save(folder, "06b_contrast_of_blur", page_claims)

# %% [markdown]
# An AUC above 0.5 means that manipulated regions are blurrier, against their
# surroundings, than those of real images, by so much that it shows among images of
# different content. It does not mean that a lens did it, because smoothing by a
# generator raises sigma just as well. An AUC at 0.5 means that this manipulation leaves
# no such trace in this map, or that the region is the wrong one.
#
# **Where it must fail.** A picture that was generated as a whole has no region of its
# own, and no surroundings that a lens has made. Its contrast is that of the generated
# scene, and a difference from photographs may have either sign. A manipulation that
# keeps the resolution, such as a warp of a few pixels or a change of brightness, hardly
# changes the blur. Whoever blurs a pasted region to fit its surroundings removes the
# trace by intent. And a photograph with a sharp background and a subject out of focus
# has a large contrast, and is real.
#
# **Limits.** The share of the central part was fixed beforehand, and the figure above
# shows what other shares would have given; none of them may be chosen by its AUC. Each
# part counts as one number, so that a small manipulation in a large region is diluted.
# Uncertainties are those that the preset `learned` states, and are right only as far as
# {doc}`10_known_blur` finds them to be.
#
# ## Exercises
#
# 1. Set `known` to false. By how much does each AUC change, and for which
#    manipulation most?
# 2. Set `form` to ellipse and `share` to 0.9. Why does the AUC fall where the region is
#    known, even though it lies inside the ellipse?
#
# ```{admonition} Answer to 2
# :class: dropdown
# An ellipse of 90 % holds the region and much of what surrounds it, so that its mean is
# drawn towards the surroundings, and what remains outside are the corners, whose blur
# varies with the scene. The contrast shrinks by the share of the part that the region
# fills, while the noise of the corners stays.
# ```

# %% [markdown]
# ## Try it
#
# Other test images, manipulations, and sizes of the central part.

# %% tags=["remove-output"]
explore(
    pair_of,
    image=ipywidgets.IntSlider(example, 0, len(real) - 1),
    manipulation=ipywidgets.Dropdown(options=manipulations),
    share=ipywidgets.FloatSlider(share, min=0.1, max=0.9, step=0.1),
)
