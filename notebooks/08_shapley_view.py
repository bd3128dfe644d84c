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
# **Reads** the images and Shapley values that notebook 04 saved (`shapley/*.npz`).\
# **Writes** `overview.png`, the picture on the front page of the book.
#
# A Shapley value is a pixel's part in the detector's answer, in logits. Red speaks for *manipulated*, blue for
# *real*. The values of an image sum to its answer minus the average answer on the background images, up to a gap that
# {doc}`04_save_shapley` measures. Those of the RGB detector are summed over the three channels.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
manipulation: str = "resynthesis"
scene: int = 0
images: int = 3

# %%
import ipywidgets
import numpy as np
from myst_nb import glue

from defocus_lib import attribution, figures, store
from defocus_lib.explore import explore

folder = store.Folder.open(profile, artifacts)
real = folder.load_set("real")
fakes = {name: folder.load_set(name) for name in real.meta["manipulations"]}
everything = {"real": real} | fakes

# %% [markdown]
# ## One scene, five versions


# %%
def view(examples: store.ShapleySet):
    return figures.shapley_views(
        examples.images, examples.rgb_shaps, examples.defocus_shaps, examples.regions, examples.ids.tolist()
    )


# %% mystnb={"figure": {"caption": "One scene, real and manipulated in four ways: original, Shapley values of the RGB detector, and of the defocus detector. Each map has its own symmetric scale. Look for colour inside the outline, and compare with the top row, where nothing was changed.", "name": "fig-shapley-scene"}, "image": {"alt": "Five rows of a photograph and two maps in red and blue on white; in four rows a region is outlined."}}
view(store.one_of_each(everything, scene))

# %% [markdown]
# ## More images of one manipulation

# %% mystnb={"figure": {"caption": "Further images of one manipulation. Look for what the maps have in common from scene to scene: the outlined region, strong edges, or the border of the image.", "name": "fig-shapley-images"}, "image": {"alt": "Rows of a photograph and two maps in red and blue on white, each with an outlined region."}}
view(fakes[manipulation].take(np.arange(min(images, len(real)))))

# %% [markdown]
# ## How much of it lies in the manipulated region?
#
# Share of the absolute Shapley value inside the region, mean over the images. A uniform attribution has the share
# that the region covers.

# %%
models = {
    name: {"defocus detector": values.defocus_shaps, "RGB detector": values.rgb_shaps} for name, values in fakes.items()
}
shares = attribution.region_table({name: (models[name], fake.regions) for name, fake in fakes.items()})
shares.round(3)

# %% tags=["remove-input"]
glue("shapley_manipulations", len(shares), display=False)
glue("shapley_uniform", float(shares["uniform"].mean()), display=False)
for column, key in (("defocus detector", "defocus"), ("RGB detector", "rgb")):
    glue(f"shapley_{key}_low", float(shares[column].min()), display=False)
    glue(f"shapley_{key}_high", float(shares[column].max()), display=False)
    glue(f"shapley_{key}_above", int((shares[column] > shares["uniform"]).sum()), display=False)

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
# The scene again, real above and manipulated below: what the camera saw, the map of its blur, and what the defocus
# detector made of the map. The same figure opens the book.

# %% mystnb={"figure": {"caption": "One scene, real and manipulated: photograph, normalised defocus map, and Shapley values of the defocus detector (red speaks for manipulated, blue for real). The outline is the manipulated region. Compare the two maps inside it, then the colours.", "name": "fig-shapley-chain"}, "image": {"alt": "Two rows, real and manipulated, of a photograph, a defocus map and a map of Shapley values in red and blue. In the lower row a region is outlined."}}
both = store.one_of_each({"real": real, manipulation: fakes[manipulation]}, scene)
chain = figures.evidence_chain(both.images, both.dmaps, both.defocus_shaps, both.regions, ["real", manipulation])
chain

# %% tags=["remove-cell"]
store.write_beside(folder.path / "overview.png", lambda path: chain.savefig(path)).name

# %% [markdown]
# ## Try it
#
# Choose a manipulation and a scene. In JupyterLab the controls draw them.


# %%
def one_image(manipulation: str, scene: int):
    return view(everything[manipulation].take(np.array([scene])))


# %% mystnb={"figure": {"caption": "The last scene of the set.", "name": "fig-shapley-try"}, "image": {"alt": "One row of a photograph and two maps in red and blue on white."}}
one_image(manipulation, len(real) - 1)

# %% tags=["remove-output"]
explore(
    one_image,
    manipulation=ipywidgets.Dropdown(options=list(everything)),
    scene=ipywidgets.IntSlider(scene, 0, len(real) - 1),
)
