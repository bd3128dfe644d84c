# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Shapley values, seen
#
# **You will see** which pixels move the answer of the RGB detector and of the defocus detector, and how much of it.\
# **Reads** the images and Shapley values that notebook 04 saved (`shapley/`), a shard at a time.\
# **Writes** `overview.png`, the picture on the front page of the book.
#
# A Shapley value is a pixel's part in the detector's answer, in logits. Red speaks for *manipulated*, blue for
# *real*. The values of an image sum to its answer minus the average answer on the background images, up to a gap that
# {doc}`04_save_shapley` measures. Those of the RGB detector are summed over the three channels.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
manipulation: str = ""
scene: int = 0
images: int = 3

# %%
import ipywidgets
import numpy as np
from myst_nb import glue

from defocus_lib.analysis import attribution
from defocus_lib.explain import attribution_set
from defocus_lib.figures import shapley as figures
from defocus_lib.run.artifacts import Folder, write_beside
from defocus_lib.run.widgets import explore

folder = Folder.open(profile, artifacts)
real, fakes = attribution_set.open_sets(folder)
everything = {"real": real} | fakes
paired = "pairs" in folder.about.has
manipulation = manipulation or next(iter(fakes))


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
#
#

# %% mystnb={"figure": {"caption": "One image, real and manipulated: original, Shapley values of the RGB detector, and of the defocus detector. Each map has its own symmetric scale. Look for colour where something was changed (inside the outline, where the region is known), and compare with the top row, where nothing was.", "name": "fig-shapley-scene"}, "image": {"alt": "Rows of a photograph and two maps in red and blue on white, the real image first."}}
shown = attribution_set.complete_pairs(everything)
view(attribution_set.versions(everything, shown[scene]))

# %% [markdown]
# ## More images of one manipulation

# %% mystnb={"figure": {"caption": "Further images of one manipulation. Look for what the maps have in common from image to image: the manipulated region, strong edges, or the border of the image.", "name": "fig-shapley-images"}, "image": {"alt": "Rows of a photograph and two maps in red and blue on white."}}
view(fakes[manipulation].take(np.arange(min(images, len(fakes[manipulation])))))

# %% [markdown] tags=["needs-regions"]
# ## How much of it lies in the manipulated region?
#
# Share of the absolute Shapley value inside the region, mean over the images. A uniform attribution has the share
# that the region covers.


# %%
def of_images(fake: attribution_set.StoredSet):
    parts = fake.shards("defocus_shaps", "rgb_shaps", "regions")
    models = (
        (
            {"defocus detector": one.defocus_shaps, "RGB detector": one.rgb_shaps},
            one.regions,
        )
        for one in parts
    )
    return attribution.share_table(models)


shares = attribution.region_table(
    {name: of_images(fake) for name, fake in fakes.items()}
)
shares.round(3)

# %% tags=["remove-input"]
glue("shapley_manipulations", len(shares), display=False)
glue("shapley_uniform", float(shares["uniform"].mean()), display=False)
for column, key in (("defocus detector", "defocus"), ("RGB detector", "rgb")):
    glue(f"shapley_{key}_low", float(shares[column].min()), display=False)
    glue(f"shapley_{key}_high", float(shares[column].max()), display=False)
    glue(
        f"shapley_{key}_above",
        int((shares[column] > shares["uniform"]).sum()),
        display=False,
    )

# %% [markdown]
# The defocus detector has between {glue:text}`shapley_defocus_low:.0%` and {glue:text}`shapley_defocus_high:.0%` of
# its weight inside the region, the RGB detector between {glue:text}`shapley_rgb_low:.0%` and
# {glue:text}`shapley_rgb_high:.0%`. The region covers {glue:text}`shapley_uniform:.0%` of the image. The mean share
# exceeds that of a uniform attribution for {glue:text}`shapley_defocus_above` of {glue:text}`shapley_manipulations`
# manipulations with the defocus detector and for {glue:text}`shapley_rgb_above` with the RGB detector. The reference
# has no such table: on FaceForensics++ it would need the masks of the manipulated faces.

# %% [markdown]
# ## From photograph to evidence, in one picture
#
# A real image above and a manipulated one below: what the camera saw, the map of its blur, and what the defocus
# detector made of the map. The same figure opens the book.

# %% mystnb={"figure": {"caption": "A real and a manipulated image: photograph, normalised defocus map, and Shapley values of the defocus detector (red speaks for manipulated, blue for real). The outline, where it is known, is the manipulated region. Compare the two maps there, then the colours.", "name": "fig-shapley-chain"}, "image": {"alt": "Two rows, real and manipulated, of a photograph, a defocus map and a map of Shapley values in red and blue."}}
two = {"real": real, manipulation: fakes[manipulation]}
both = (
    attribution_set.versions(two, attribution_set.complete_pairs(two)[scene])
    if paired
    else attribution_set.concatenate(part.take([0]) for part in two.values())
)
chain = figures.evidence_chain(
    both.images, both.dmaps, both.defocus_shaps, both.regions, ["real", manipulation]
)
chain

# %% tags=["remove-cell"]
write_beside(folder.path / "overview.png", lambda path: chain.savefig(path)).name

# %% [markdown]
# ## Try it
#
# Choose a manipulation and an image. In JupyterLab the controls draw them.


# %%
def one_image(manipulation: str, image: int):
    chosen = everything[manipulation]
    return view(chosen.take(np.array([min(image, len(chosen) - 1)])))


# %% mystnb={"figure": {"caption": "The last image of the set.", "name": "fig-shapley-try"}, "image": {"alt": "One row of a photograph and two maps in red and blue on white."}}
one_image(manipulation, len(fakes[manipulation]) - 1)

# %% tags=["remove-output"]
explore(
    one_image,
    manipulation=ipywidgets.Dropdown(options=list(everything)),
    image=ipywidgets.IntSlider(0, 0, len(real) - 1),
)
