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
# # Speed
#
# A study of millions of images needs maps and Shapley values that are cheap and still
# exact. This page shows what they cost: time and error per image, memory for many
# images, and a plan for ten million.
#
# **Reads** `benchmarks/results/*.csv`, which `make bench` writes, and how long the
# other notebooks of this run took (`runs/*.json`). All other times are measured by
# hand, not whenever the book is built: this page shows the last such measurement.\
# **Writes** nothing.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
images: int = 10000000
gpu_tflops: float = 60.0
gpu_hour: float = 2.0
core_hour: float = 0.04
terabyte_month: float = 20.0

# %% tags=["hide-input"]
import math
from pathlib import Path

import pandas as pd
from IPython.display import Markdown
from myst_nb import glue

from defocus_lib.figures import speed as figures
from defocus_lib.run import provenance
from defocus_lib.run.artifacts import project_root

results = project_root() / "benchmarks" / "results"
maps, shapley, many = (
    pd.read_csv(results / f"{name}.csv") for name in ("maps", "shapley", "store")
)
facts, default_facts = (
    pd.concat(
        pd.read_csv(results / f"{name}.csv", index_col="what")["value"]
        for name in names
    )
    for names in (("shapley_facts", "store_facts"), ("default_initialisation",))
)
machines = pd.read_csv(results / "machine.csv", index_col="what", dtype="str")
machines.rename_axis(None).rename_axis("measured on", axis=1)

# %% [markdown]
# ## Where the time of this run went
#
# The share of each notebook in the processor time of this run, with the start of its
# kernel. Where processor time was not recorded, the time of the clock stands in.

# %% tags=["hide-input"]
folder = Path(artifacts or project_root() / "artifacts" / profile)
runs = provenance.read_runs(folder, without="status")
took = pd.Series({run.notebook: run.cpu_seconds or run.seconds for run in runs})
took = took.drop("speed", errors="ignore")  # left by an earlier execution of this page

# %% mystnb={"figure": {"caption": "Share of each notebook in the time of this run. Look for the pages above a tenth: only there is anything to be gained.", "name": "fig-speed-shares"}, "image": {"alt": "Horizontal bars, one per notebook, of its share of the run in per cent."}}
figures.share_bars(took / took.sum()) if len(took) else Markdown(
    "*No other notebook of this run has left its time.*"
)

# %% [markdown]
# ### The bare cost of the passes
#
# Training and explanation are passes of images through detectors, and maps. Their bare
# cost is what no implementation can do without: nothing but forward and backward passes
# of the same detectors on images of the same size, in the same precision and on as many
# threads, and the maps. We count them from the parameters of a finished run of the
# profile `demo`, and measure one of each. Times are processor time, added over threads.
# The ratio of the time of a notebook to this cost is the price of everything else: the
# start of Python, reading, statistics and figures. A ratio below 1 means that this
# measurement of a second or two was slower than the run.

# %% tags=["hide-input"]
columns = {
    "cpu_seconds": "time (s)",
    "share": "share",
    "passes": "images passed",
    "bare_cpu_seconds": "bare (s)",
    "ratio": "times bare",
}
formats = {
    "time (s)": "{:,.0f}",
    "share": "{:.0%}",
    "images passed": "{:,.0f}",
    "bare (s)": "{:,.1f}",
    "times bare": "{:.2f}",
}
table = results / "book.csv"
book = pd.read_csv(table).set_index(["kind", "notebook"]) if table.exists() else None
no_book = Markdown("*Nobody has measured it yet: `python -m benchmarks.book` does.*")
no_book if book is None else book[list(columns)].rename(columns=columns).rename_axis(
    ["processor", "notebook"]
).style.format(formats, na_rep="").set_table_attributes('class="dataframe"')

# %% [markdown]
# ## Defocus maps
#
# The literal implementation follows the authors' code: scikit-image's Canny, four 11x11
# convolutions in torch, a guided filter. Ours has the same edges, pixel by pixel. The
# *floor* is the time of the bare sweeps over memory that a map of `published` cannot do
# without, called alone. The ratio to the floor is the price of everything else.

# %%
by_name = maps.assign(
    name=maps["what"].replace("defocus_maps", "ours")
    + ", "
    + maps["preset"]
    + maps["n_workers"].map(lambda n: f", {n} worker{'s' * (n > 1)}")
)
by_name = by_name.set_index("name").sort_values("ms_per_image")
columns = {
    "ms_per_image": "ms per image",
    "times_faster_than_literal": "times faster",
    "times_the_floor": "times the floor",
    "largest_dense_difference": "largest difference (px)",
}
by_name[list(columns)].rename(columns=columns).round(5).rename_axis(None)

# %% mystnb={"figure": {"caption": "Time of one defocus map of 299 px. Blue is ours. Compare the presets that read edges with the literal implementation, and with the floor; `learned` runs a network over every pixel.", "name": "fig-speed-maps"}, "image": {"alt": "Horizontal bars on a logarithmic axis of milliseconds per image: short ones of the presets that read edges, long ones of the literal implementation and of the network."}}
figures.time_bars(
    by_name["ms_per_image"], [name for name in by_name.index if name.startswith("ours")]
)

# %% tags=["remove-input"]
of_library = maps[maps["what"] == "defocus_maps"].set_index(["preset", "n_workers"])
literal = of_library.loc[["released", "published"], "times_faster_than_literal"]
for n_workers in (1, 2):
    fastest = literal.xs(n_workers, level="n_workers").min()
    glue(f"speed_maps_{n_workers}", float(fastest), display=False)

# %% [markdown]
# The presets `released` and `published` are at least {glue:text}`speed_maps_1:.1f`
# times as fast as the literal implementation with one worker, and
# {glue:text}`speed_maps_2:.1f` times with two. `physical` reads blur at three scales,
# and `learned` pays for its network.

# %% [markdown]
# ## Shapley values
#
# We explain an Xception at 299 px, trained briefly on the scenes, in two ways. One is
# `shap.GradientExplainer` with its 200 random samples. The other is expected gradients
# with stratified samples, or with gradients interpolated between fewer of them
# ({doc}`../method`). The *error* is the root mean square difference from an integral of
# 2,000 nodes, relative to its root mean square, as a mean over the few images whose
# integral was taken. The *completeness error* is a median over images.

# %%
values = shapley.set_index("what").rename_axis(None)
short = {
    "seconds_per_image": "s per image",
    "times_faster_than_shap": "times faster",
    "relative_error": "error",
    "completeness_error": "completeness error (logits)",
}
values.rename(columns=short).round(3)

# %% mystnb={"figure": {"caption": "Error of the Shapley values against the time that they take, on a logarithmic axis. The orange square is shap with its default number of samples, the other marks are ours. Better is down and to the left.", "name": "fig-speed-shapley"}, "image": {"alt": "Scatter plot of relative error over seconds per image: a square for shap on the right, and one mark for each setting of ours."}}
figures.error_against_time(values)

# %% tags=["remove-input"]
bare = facts[facts.index.str.startswith("times the bare passes")]
glue("speed_shapley_bare", float(bare.max()), display=False)
alike = float(facts["lowest correlation of bf16 with fp32"])
glue("speed_shapley_alike", alike, display=False)
glue("speed_shapley_pass", int(facts["images per pass"]), display=False)
crowding = facts["times as long with 64 images per pass"]
glue("speed_shapley_crowding", float(crowding), display=False)

# %% [markdown]
# A setting is better than shap where it is both faster and closer to the integral,
# which means that its mark lies to the left of the square and below it. The error is
# that of single pixels and the completeness error that of their sum, so a setting can
# be good at one and poor at the other. Values in half precision (bf16) correlate with
# those in single precision by at least {glue:text}`speed_shapley_alike:.4f`. All of it
# takes at most {glue:text}`speed_shapley_bare:.2f` times what the bare forward and
# backward passes take.
#
# One pass takes {glue:text}`speed_shapley_pass` of these images. With 64 images per
# pass a gradient takes {glue:text}`speed_shapley_crowding:.1f` times as long, because
# the memory that it needs is requested from the system anew in each pass. With
# `batch_size = 0` notebook 04 chooses the number that suits the device.
#
# ### It depends on the detector
#
# The number of samples that is needed depends on how fast the gradient changes along
# the integration path. The residual branches of the Xception above were scaled to a
# tenth at initialisation (`residual_scale = 0.1` in notebook 03, {doc}`../method`). The
# table compares it with the same network under the default initialisation, trained in
# the same way. The correlations are those of a gradient's contribution at two points of
# one path, for the first image; the points are that fraction of the path apart.

# %%
scaled_facts = pd.concat(
    [facts, values["relative_error"].add_prefix("relative error, ")]
).reindex(default_facts.index)
beside = pd.DataFrame(
    {"residual scale 0.1": scaled_facts, "default": default_facts}
).rename_axis(None)
beside.round(4)

# %% [markdown]
# Each column is one training, so a difference in validation AUC says little about the
# initialisation. The lower the correlation along the path, the more samples are
# expected to be needed for the same error.
#
# Weights trained elsewhere may be of either kind. Therefore look at the completeness
# error of every run ({doc}`04_save_shapley`), and raise `n_samples` or set `precision =
# "float32"` until it is small against what the values explain. By itself notebook 04
# takes half precision only where the processor computes in it, because elsewhere it is
# several times slower than single precision.

# %% [markdown]
# ## Memory
#
# The analyses go through the shards one at a time. The table shows the largest resident
# memory of each notebook at 299 px.

# %%
memory = many.pivot(index="notebook", columns="images", values="peak_mib")
small, large = memory.columns
memory.assign(ratio=memory[large] / memory[small]).round(2).rename(
    columns={n: f"{n:,} images, MiB" for n in (small, large)}
)

# %% tags=["remove-input"]
glue("speed_memory_ratio", float((memory[large] / memory[small]).max()), display=False)
glue("speed_memory_times", int(large / small), display=False)
saved = 1 - facts["bytes per image, float16"] / facts["bytes per image, float32"]
glue("speed_half", float(saved), display=False)

# %% [markdown]
# With {glue:text}`speed_memory_times` times the images, no notebook needs more than
# {glue:text}`speed_memory_ratio:.2f` times the memory. With `storage = "float16"` a
# shard is {glue:text}`speed_half:.0%` smaller. Its values are then off by at most
# 2{sup}`-12` of the largest of their image.

# %% [markdown]
# Training reads its images one batch at a time, too. The next table has the largest
# memory of all its processes together, for a tiny detector on made photographs of 32 px
# with two loader processes, and the processor time of the training process.

# %%
training = pd.read_csv(results / "memory.csv", index_col="images")
training.rename(columns={"peak_mib": "MiB", "cpu_seconds": "CPU s"})

# %% [markdown]
# ## A graphics card
#
# `python -m benchmarks.gpu` measures maps, training and Shapley values on a card,
# beside its bare passes, and compares its results with those of a processor. A share of
# 1 means that the card never waits. The numbers below are those of the card and commit
# that the table names.

# %% tags=["hide-input"]
measured_on_card = results / "gpu.csv"
pd.read_csv(measured_on_card).set_index("what").rename_axis(
    None
) if measured_on_card.exists() else Markdown(
    "**Nobody has measured on a card yet.** The code for cards was tested with a "
    "processor in their place, which says nothing about its speed."
)

# %% [markdown]
# ## Ten million images
#
# The plan multiplies the measurements above by `images`: one map and two explained
# detectors per image, with 50 stratified samples each. Its assumptions are parameters
# of this notebook: the rate that a GPU sustains in half precision (`gpu_tflops`, in
# 10{sup}`12` operations per second), and prices in US dollars. The hours on GPUs are
# the counted operations divided by that rate. {doc}`../cluster` says how such a run is
# started.

# %%
SAMPLES, DETECTORS, SHARD_IMAGES = 50, 2, 256
map_hours = of_library.loc[("physical", 1), "ms_per_image"] / 1000 / 3600
cores = int(machines.loc["cores", "shapley"])
seconds = values.loc[f"{SAMPLES} stratified samples, bf16", "seconds_per_image"]
gradients = DETECTORS * SAMPLES
gpu_seconds = gradients * facts["GFLOP per gradient"] / (1000 * gpu_tflops)
plan = pd.DataFrame(
    [
        ("shards, float32", facts["bytes per image, float32"] / 1e12, "TB month"),
        ("maps", facts["bytes per image, map"] / 1e12, "TB month"),
        ("index", facts["bytes per image, index"] / 1e12, "TB month"),
        ("defocus maps, on CPUs", map_hours, "core hours"),
        ("Shapley values, on CPUs", DETECTORS * seconds * cores / 3600, "core hours"),
        ("Shapley values, on GPUs instead", gpu_seconds / 3600, "GPU hours"),
    ],
    columns=["what", "amount", "unit"],
).set_index("what")
plan["amount"] *= images
price = {"TB month": terabyte_month, "core hours": core_hour, "GPU hours": gpu_hour}
plan["cost (USD)"] = plan["amount"] * plan["unit"].map(price)
plan.rename_axis(None).style.format(
    {"amount": "{:,.4g}", "cost (USD)": "{:,.0f}"}
).set_table_attributes('class="dataframe"')

# %% tags=["remove-input"]
glue("plan_shards", math.ceil(images / SHARD_IMAGES), display=False)
glue("plan_images", images, display=False)

# %% [markdown]
# The {glue:text}`plan_images:,d` images fill {glue:text}`plan_shards:,d` shards of 256.
# Compare the hours of the maps with those of the values: the smaller part needs no GPU.
#
# **Limits.** All times are those of the machines in the first table. Contestants take
# turns in one run, and times are medians, so ratios carry over to another machine
# better than seconds do.
#
# ## Exercises
#
# 1. Set `images` to the size of your own data set. Which row costs most?
# 2. Which `gpu_tflops` makes GPUs as expensive as CPUs?
#
# ```{admonition} Answer to 2
# :class: dropdown
# GPU hours are inversely proportional to `gpu_tflops`, so multiply it by the ratio of
# the two costs in the table: GPUs over CPUs.
# ```
#
# ## Measure it again
#
# ```bash
# make bench
# ```
#
# This command renders the scenes of the profile `speed`, then runs the modules in
# `benchmarks/` one after the other and writes their tables. On two otherwise idle cores
# it takes about two hours. `make book` then shows the new figures here.
