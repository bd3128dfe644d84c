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
# # Shapley values, seen
#
# A detector can be right for the wrong reason, for example because of the image border
# or the sharpness of the whole picture. The Shapley values show which pixels move the
# score of the RGB detector and of the defocus-map detector, as {cite:t}`jeon2025seeing`
# do. Where the manipulated region is known, we also measure how much of the attribution
# lies inside it.
#
# **Reads** the images and Shapley values that notebook 04 saved (`shapley/`), one shard
# at a time.\
# **Writes** `overview.png`, the picture on the front page of the book.
#
# A Shapley value is a pixel's part in the detector's logit. Red speaks for
# *manipulated*, blue for *real*. The values of an image sum to its logit minus the mean
# logit of the background images, up to the completeness error of
# {doc}`04_save_shapley`. Those of the RGB detector are summed over the three channels.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
manipulation: str = ""
scene: int = 0
images: int = 3

# %% tags=["hide-input"]
import ipywidgets
import numpy as np
import pandas as pd
from myst_nb import glue

from defocus_lib.analysis import attribution
from defocus_lib.explain import attribution_set
from defocus_lib.figures import shapley as figures
from defocus_lib.figures.style import MODEL_NAMES
from defocus_lib.run import headline
from defocus_lib.run.artifacts import Folder, write_beside
from defocus_lib.run.widgets import explore
from defocus_lib.stats import claims
from defocus_lib.stats.bootstrap import bootstrap_mean
from defocus_lib.stats.claims import Claim

folder = Folder.open(profile, artifacts)
real, fakes = attribution_set.open_sets(folder)
sets = {"real": real} | fakes
has_pairs = "pairs" in folder.about.has
manipulation = manipulation or next(iter(fakes))
page_claims = []


def view(examples: attribution_set.AttributionSet):
    return figures.shapley_views(
        examples.images,
        examples.rgb_shaps,
        examples.defocus_shaps,
        examples.regions,
        examples.ids.tolist(),
    )


# %% [markdown] tags=["needs-pairs"]
# ## One image, real and manipulated

# %% mystnb={"figure": {"caption": "One image, real and manipulated: original, Shapley values of the RGB detector, and of the defocus detector. Each map has its own symmetric scale. Look for colour where something was changed (inside the outline, where the region is known), and compare with the top row, where nothing was.", "name": "fig-shapley-scene"}, "image": {"alt": "Rows of a photograph and two maps in red and blue on white, the real image first."}} tags=["shows-images"]
pairs = attribution_set.complete_pairs(sets)
view(attribution_set.versions(sets, pairs[scene]))

# %% [markdown]
# ## More images of one manipulation

# %% mystnb={"figure": {"caption": "Further images of one manipulation. Look for what the maps have in common from image to image: the manipulated region, strong edges, or the border of the image.", "name": "fig-shapley-images"}, "image": {"alt": "Rows of a photograph and two maps in red and blue on white."}} tags=["shows-images"]
view(fakes[manipulation].take(np.arange(min(images, len(fakes[manipulation])))))

# %% [markdown] tags=["needs-regions"]
# ## How much of it lies in the manipulated region?
#
# For each image we take the share of the absolute Shapley values that lies inside the
# manipulated region $R$,
#
# $$
# s = \sum_{i \in R} |\phi_i| \Big/ \sum_i |\phi_i| .
# $$
#
# A uniform attribution has the share of the image that the region covers. If a detector
# looks at the manipulation, $s$ exceeds this share; if not, the two are alike. The
# table gives means over images.

# %%
shares = pd.concat(
    {
        name: attribution.share_table(fake.shards(*attribution.SHARE_ARRAYS))
        for name, fake in fakes.items()
    },
    names=["manipulation"],
)
titles = {name: MODEL_NAMES[name] for name in attribution.DETECTORS}
means = shares.groupby("manipulation", sort=False)[[*titles, "uniform"]].mean()
means.rename(columns=titles).round(3)

# %% [markdown]
# The claims are about the mean difference between $s$ and the share of a uniform
# attribution, over all manipulations. Intervals are 95 % percentile intervals over
# resampled groups.

# %%
known = shares.dropna()
epochs = real.meta.get("epochs", {})  # of the detectors, where they are known
for detector, title in titles.items():
    excess = bootstrap_mean(known[detector] - known["uniform"], known["group"])
    page_claims.append(
        Claim(
            f"Attribution of the {title} inside the region, beyond its area",
            *excess.scalars,
            groups=known["group"].nunique(),
            unit=folder.about.unit,
            epochs=epochs.get(detector),
            style="+.1%",
        )
    )
claims.table(page_claims, folder.about.caution)

# %% tags=["remove-input"]
glue("shapley_uniform", float(means["uniform"].mean()), display=False)

# %% [markdown]
# The region covers {glue:text}`shapley_uniform:.0%` of the image on average. A positive
# excess means that the detector weighs pixels of the region more than others; how much
# more decides whether the map can point an analyst to the manipulation. Jeon & Woo
# report no such table. On FaceForensics++ it needs the masks of the manipulated faces.
#
# **Limits.** A detector may look inside the region for a reason other than blur, and
# edges attract attribution wherever they are. {doc}`09_alignment_score` therefore
# compares the values with the change of the map itself, and {doc}`13_trust_in_shapley`
# with attributions of untrained detectors.

# %% [markdown]
# ## From photograph to evidence, in one picture
#
# The figure shows a real image above a manipulated one: the photograph, the map of its
# blur, and the Shapley values of the detector that reads the map. The same figure opens
# the book.

# %% mystnb={"figure": {"caption": "A real and a manipulated image: photograph, normalised defocus map, and Shapley values of the defocus detector (red speaks for manipulated, blue for real). The outline, where it is known, is the manipulated region. Compare the two maps there, then the colours.", "name": "fig-shapley-chain"}, "image": {"alt": "Two rows, real and manipulated, of a photograph, a defocus map and a map of Shapley values in red and blue."}} tags=["shows-images"]
two = {"real": real, manipulation: fakes[manipulation]}
if has_pairs:
    pair = attribution_set.complete_pairs(two)[scene]
    both = attribution_set.versions(two, pair)
else:
    both = attribution_set.concatenate(part.take([0]) for part in two.values())
chain = figures.evidence_chain(
    both.images, both.dmaps, both.defocus_shaps, both.regions, ["real", manipulation]
)
chain

# %% tags=["remove-cell"]
write_beside(folder.path / "overview.png", lambda path: chain.savefig(path))
_ = headline.save(folder, "08_shapley_view", page_claims)

# %% [markdown]
# ## Exercises
#
# 1. Set `manipulation` to another one. Does the excess inside the region follow how
#    much the manipulation changes the defocus map ({doc}`05_binary_mask`)?
# 2. Compare the signs inside the region of a real and of a manipulated image. Where do
#    the values of the real image come from, although nothing was changed there?
#
# ```{admonition} Answer to 2
# :class: dropdown
# The zero point is the mean logit of the background, not zero evidence. A real image
# below this mean has blue pixels where the detector finds it less suspicious than the
# background, and red ones where it finds it more suspicious.
# ```
#
# ## Try it
#
# Choose a manipulation and an image. In JupyterLab the controls draw them.


# %%
def one_image(manipulation: str, image: int):
    shown = sets[manipulation]
    return view(shown.take([min(image, len(shown) - 1)]))


# %% mystnb={"figure": {"caption": "The last image of the set.", "name": "fig-shapley-try"}, "image": {"alt": "One row of a photograph and two maps in red and blue on white."}} tags=["shows-images"]
one_image(manipulation, len(fakes[manipulation]) - 1)

# %% tags=["remove-output"]
explore(
    one_image,
    manipulation=ipywidgets.Dropdown(options=list(sets)),
    image=ipywidgets.IntSlider(0, 0, len(real) - 1),
)
