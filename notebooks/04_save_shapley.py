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
# # Save Shapley values
#
# **You will see** which pixels each detector's answer comes from, and how exactly the values add up to it.\
# **Reads** `records.csv`, `scenes.npz`, `maps.npz` and the two detectors (notebooks 01 to 03).\
# **Writes** `shapley/real.npz` and one file a manipulation: maps and Shapley values. Every later analysis starts from them.
#
# The values are expected gradients: the detector's gradient, averaged along straight ways from background images to the
# explained one. The reference draws points on these ways at random; here they are stratified, which needs far fewer.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
scenes: int = 30
samples: int = 48
background: int = 10
method: str = "stratified"
batch_size: int = 64
precision: str = "bfloat16"
seed: int = 0

# %%
import numpy as np
import pandas as pd
import torch
from myst_nb import glue

from defocus_lib import attribution, detector, figures, shapley, store

folder = store.Folder.open(profile, artifacts)
records = pd.read_csv(folder.require("records.csv", made_by="01_data"))
data, _ = store.read_arrays(folder.require("scenes.npz", made_by="01_data"), {"images", "regions"})
maps, about_maps = store.read_arrays(folder.require("maps.npz", made_by="02_defocus_map"), {"dmaps", "edges"})
detectors = {
    model: detector.load_detector(
        folder.require(f"detector_{model}.safetensors", made_by="03_train_detector"),
        reads=model,
        preset=about_maps["preset"],
    )[0]
    for model in ("defocus", "rgb")
}

# %% [markdown]
# ## What is explained, against what
#
# The first test scenes, real and manipulated. The background is the first real training images, as in the reference: a
# value says how a pixel moves the logit away from what the detector says of those.

# %%
test = records[records["split"] == "test"]
chosen = test[test["scene"].isin(test["scene"].unique()[:scenes])]
compared = records.query("split == 'train' and label == 0").head(background)


def inputs(model: str, rows: pd.Index) -> torch.Tensor:
    if model == "defocus":
        return torch.from_numpy(maps["dmaps"][rows])[:, None]
    return torch.from_numpy(data["images"][rows]).permute(0, 3, 1, 2).float() / 255


explained = {
    model: shapley.shapley_values(
        detectors[model],
        inputs(model, chosen.index),
        inputs(model, compared.index),
        samples=samples,
        seed=seed,
        method=method,
        batch_size=batch_size,
        precision=getattr(torch, precision),
        progress=True,
    )
    for model in detectors
}

# %% [markdown]
# ## One file a manipulation

# %%
names = [name for name in test["manipulation"].unique() if name != "real"]
meta = {"profile": profile, "manipulations": names, "samples": samples, "background": background, "method": method}
meta |= {"precision": precision, "seed": seed, **about_maps}
sets = {}
for name in ("real", *names):
    here = np.flatnonzero(chosen["manipulation"] == name)
    rows = chosen.index[here]
    sets[name] = store.ShapleySet(
        ids=chosen["id"].to_numpy(dtype=str)[here],
        pairs=chosen["pair"].to_numpy(dtype=str)[here],
        images=data["images"][rows],
        edges=maps["edges"][rows],
        regions=data["regions"][rows],
        dmaps=maps["dmaps"][rows],
        defocus_shaps=explained["defocus"].values[here],
        rgb_shaps=explained["rgb"].values[here],
        defocus_gaps=explained["defocus"].gaps[here],
        rgb_gaps=explained["rgb"].gaps[here],
        meta={**meta, "manipulation": name},
    )
    store.save_set(folder.path / f"shapley/{name}.npz", sets[name])
pd.Series({name: len(values) for name, values in sets.items()}, name="images").to_frame()

# %% [markdown]
# ## Do they add up?
#
# The values of an image should sum to its logit less the mean logit of the background. What is missing is the
# completeness gap; it is saved with every map.

# %%
attribution.completeness_table(
    {
        name: {
            "defocus": (values.defocus_shaps, values.defocus_gaps),
            "RGB": (values.rgb_shaps, values.rgb_gaps),
        }
        for name, values in sets.items()
    }
).round(3)

# %% mystnb={"figure": {"caption": "What the values of each image sum to, against what they should explain. Points on the line add up; their distance from it is the completeness gap.", "name": "fig-completeness"}, "image": {"alt": "Two scatter plots, one a detector, of the sum of the values over the difference of logits, with a diagonal line."}}
figures.completeness({model: (part.values.sum((1, 2)), part.gaps) for model, part in explained.items()})

# %% tags=["remove-input"]
for model, part in explained.items():
    total = attribution.completeness(part.values, part.gaps)
    glue(f"shapley_{model}_gap", total["|gap|"], display=False)
    glue(f"shapley_{model}_explained", total["|explained|"], display=False)
glue("shapley_samples", samples, display=False)
glue("shapley_images", len(chosen), display=False)

# %% [markdown]
# Over {glue:text}`shapley_images` images, with {glue:text}`shapley_samples` gradients each, the median gap is
# {glue:text}`shapley_defocus_gap:.3f` logits for the defocus detector, which has {glue:text}`shapley_defocus_explained:.2f`
# to explain, and {glue:text}`shapley_rgb_gap:.3f` of {glue:text}`shapley_rgb_explained:.2f` for the RGB detector. The
# reference draws 200 random points an image and does not report the gap.
