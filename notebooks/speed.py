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
# # Speed
#
# **You will see** how long a map and its Shapley values take, what that buys in error, how much memory many images need, and
# what ten million of them would.\
# **Reads** `benchmarks/results/*.csv`, which `make bench` writes. Time is measured by hand, not whenever the book is built:
# this page shows the last such run.\
# **Writes** nothing.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""
images: int = 10000000
gpu_tflops: float = 60.0
gpu_hour: float = 2.0
core_hour: float = 0.04
terabyte_month: float = 20.0

# %%
import pandas as pd
from myst_nb import glue

from defocus_lib.explain import capacity
from defocus_lib.figures import speed as figures
from defocus_lib.run.artifacts import project_root

results = project_root() / "benchmarks" / "results"
maps, shapley, many = (
    pd.read_csv(results / f"{name}.csv") for name in ("maps", "shapley", "store")
)
facts = pd.concat(
    pd.read_csv(results / f"{name}_facts.csv", index_col="what")["value"]
    for name in ("shapley", "store")
)
full = pd.read_csv(results / "default_initialisation.csv", index_col="what")["value"]
machines = pd.read_csv(
    results / "machine.csv", index_col="what", dtype="str"
).rename_axis(None)
machines.rename_axis("measured on", axis=1)

# %% [markdown]
# ## Defocus maps
#
# The literal implementation does what the reference does: scikit-image's Canny, four 11x11 convolutions in torch, a guided
# filter. Ours has the same edges, pixel by pixel. The *floor* is the bare sweeps over memory that a map of `published`
# cannot do without, called alone; what a preset takes beyond it is the price of everything else.

# %%
timed = maps.assign(
    name=maps["what"].replace("defocus_maps", "ours") + ", " + maps["preset"]
).sort_values("ms_per_image")
by_name = timed.assign(
    name=timed["name"]
    + timed["n_workers"].map(lambda n: f", {n} worker{'s' * (n > 1)}")
).set_index("name")
columns = {
    "ms_per_image": "ms an image",
    "times_faster_than_literal": "times faster",
    "times_the_floor": "times the floor",
}
by_name[list(columns)].rename(columns=columns).round(2)

# %% mystnb={"figure": {"caption": "Time of one defocus map of 299 px. Blue is ours. Compare the presets that read edges with the literal implementation, and with the floor; `learned` runs a network over every pixel.", "name": "fig-speed-maps"}, "image": {"alt": "Horizontal bars on a logarithmic axis of milliseconds an image: short ones of the presets that read edges, long ones of the literal implementation and of the network."}}
figures.time_bars(
    by_name["ms_per_image"], [name for name in by_name.index if name.startswith("ours")]
)

# %% tags=["remove-input"]
ours = maps[maps["what"] == "defocus_maps"].set_index(["preset", "n_workers"])
literal = ours.loc[["released", "published"]]
for n_workers in (1, 2):
    glue(
        f"speed_maps_{n_workers}",
        float(
            literal["times_faster_than_literal"].xs(n_workers, level="n_workers").min()
        ),
        display=False,
    )
glue(
    "speed_maps_difference",
    float(literal["largest_dense_difference"].max()),
    display=False,
)
glue(
    "speed_maps_identical",
    "identical" if literal["edges_identical"].all() else "not identical",
    display=False,
)
glue(
    "speed_maps_floor",
    float(ours.loc[("published", 1), "times_the_floor"]),
    display=False,
)
glue(
    "speed_maps_physical",
    float(ours.loc[("physical", 1), "ms_per_image"]),
    display=False,
)
glue(
    "speed_maps_published",
    float(ours.loc[("published", 1), "ms_per_image"]),
    display=False,
)

# %% [markdown]
# The presets of the reference are at least {glue:text}`speed_maps_1:.1f` times faster than the literal implementation with
# one worker, {glue:text}`speed_maps_2:.1f` times with two. Their edges are {glue:text}`speed_maps_identical` to
# scikit-image's, the dense maps differ by at most {glue:text}`speed_maps_difference:.0e` px. One map of `published` takes
# {glue:text}`speed_maps_published:.2f` ms, {glue:text}`speed_maps_floor:.2f` times the floor; one of `physical`, which reads
# three scales, {glue:text}`speed_maps_physical:.2f` ms.

# %% [markdown]
# ## Shapley values
#
# An Xception at 299 px, trained briefly on the scenes, explained in turn by `shap.GradientExplainer` with its 200 random
# samples and by expected gradients: along evenly spread points, and with gradients interpolated between fewer of them
# ({doc}`../method`). The error is the root mean square difference from an integral of 2,000 nodes, relative to its size: a
# mean over the few images whose integral was taken.

# %%
values = shapley.set_index("what").rename_axis(None)
short = {
    "seconds_per_image": "s an image",
    "times_faster_than_shap": "times faster",
    "completeness_error": "gap (logits)",
}
values.rename(columns={**short, "relative_error": "error"}).round(2)

# %% mystnb={"figure": {"caption": "Error of the Shapley values against the time that they take, on a logarithmic axis. The orange square is shap with its default number of samples, the others are ours. Better is down and to the left.", "name": "fig-speed-shapley"}, "image": {"alt": "Scatter plot of relative error over seconds an image: a square for shap on the right, and one mark for each setting of ours."}}
figures.error_against_time(values)

# %% tags=["remove-input"]
evenly = values.loc["50 stratified samples, bf16"]
alike = float(facts["lowest correlation of bf16 with fp32"])
glue("speed_shapley_verdict", capacity.verdict(values, alike), display=False)
glue("speed_shapley_half", float(evenly["times_faster_than_shap"]), display=False)
glue("speed_shapley_gap", float(evenly["completeness_error"]), display=False)
glue(
    "speed_interpolated_gap",
    float(values.loc["25 interpolated samples, bf16", "completeness_error"]),
    display=False,
)
glue("speed_shap_gap", float(values.iloc[0]["completeness_error"]), display=False)
bare = facts[facts.index.str.startswith("times the bare passes")]
glue("speed_shapley_bare", float(bare.max()), display=False)
glue("speed_shapley_pass", int(facts["images a pass"]), display=False)
glue(
    "speed_shapley_crowding",
    float(facts["times as long with 64 images a pass"]),
    display=False,
)

# %% [markdown]
# {glue:text}`speed_shapley_verdict` Fifty stratified samples in half precision take
# {glue:text}`speed_shapley_half:.1f` times less time than shap; their completeness gap is {glue:text}`speed_shapley_gap:.2f` logits,
# shap's {glue:text}`speed_shap_gap:.2f`, that of 25 interpolated ones {glue:text}`speed_interpolated_gap:.2f`. All of it takes at most {glue:text}`speed_shapley_bare:.2f` times what the bare
# forward and backward passes take.
#
# A pass takes {glue:text}`speed_shapley_pass` of these images. More is slower: what no longer fits the memory at hand is asked of
# the system anew in each pass. With 64 images a pass, in half precision, a gradient takes
# {glue:text}`speed_shapley_crowding:.1f` times as long. With `batch_size = 0` notebook 04 takes the number that suits the
# device.
#
# ### It depends on the detector
#
# How few samples do is decided by how fast the gradient changes along the way from background to image. The residual
# branches of the Xception above began at a tenth of their strength (`residual_scale = 0.1` in notebook 03, {doc}`../method`). The
# table has the same network beside it, begun at full strength and trained in the same way. The correlations *of the way
# apart* are those of what the gradient adds to the values at two points of a way, for the first image.

# %%
quiet = pd.concat([facts, values["relative_error"].add_prefix("relative error, ")])
quiet = quiet.rename({"validation AUC of the detector": "validation AUC"})
beside = pd.DataFrame(
    {"quiet start": quiet.reindex(full.index), "full strength": full}
).rename_axis(None)
beside.round(4)

# %% tags=["remove-input"]
errors = full[full.index.str.startswith("relative error, ")]
errors = errors.rename(lambda name: name.removeprefix("relative error, "))
loud = values.loc[errors.index].assign(
    relative_error=errors
)  # a gradient takes as long, so the times are the same
glue(
    "speed_loud_verdict",
    capacity.verdict(loud, float(full["lowest correlation of bf16 with fp32"])),
    display=False,
)
for begun, column in (("quiet", "quiet start"), ("loud", "full strength")):
    glue(
        f"speed_{begun}_auc", float(beside.loc["validation AUC", column]), display=False
    )

# %% [markdown]
# Begun at full strength, the detector has a validation AUC of {glue:text}`speed_loud_auc:.2f`, with a quiet start
# {glue:text}`speed_quiet_auc:.2f`; each is one training. Of the detector at full strength it holds:
# {glue:text}`speed_loud_verdict`
#
# Weights trained elsewhere may be of either kind. So look at the completeness gap of every run, which notebook 04 saves
# with each map, and raise `samples`, or set `precision = "float32"`, until it is small against what is explained. By
# itself the notebook takes half precision only where the processor computes in it: elsewhere half is several times slower
# than single.

# %% [markdown]
# ## Memory
#
# The analyses go through the shards one at a time. The largest resident memory of each notebook, at 299 px:

# %%
memory = many.pivot(index="notebook", columns="images", values="peak_mib")
small, large = memory.columns
memory.assign(ratio=memory[large] / memory[small]).round(2).rename(
    columns={n: f"{n:,} images, MiB" for n in (small, large)}
)

# %% tags=["remove-input"]
glue("speed_memory_ratio", float((memory[large] / memory[small]).max()), display=False)
glue("speed_memory_peak", float(memory[large].max() / 1024), display=False)
glue("speed_memory_large", int(large), display=False)
glue("speed_memory_times", int(large / small), display=False)
glue(
    "speed_half",
    float(1 - facts["bytes an image, float16"] / facts["bytes an image, float32"]),
    display=False,
)

# %% [markdown]
# With {glue:text}`speed_memory_times` times the images, no notebook needs more than {glue:text}`speed_memory_ratio:.2f`
# times the memory; at {glue:text}`speed_memory_large:,d` images the largest needs {glue:text}`speed_memory_peak:.1f` GiB.
# With `storage = "float16"` a shard is {glue:text}`speed_half:.0%` smaller; its values are then off by at most 2{sup}`-12`
# of the largest of their image.

# %% [markdown]
# ## Ten million images
#
# A plan on paper, from the figures above: both detectors explained, 50 samples each. What is assumed is in the parameters
# of this notebook: what a GPU really sustains ({glue:text}`plan_tflops:.0f` TFLOP/s in half precision), and prices in US dollars.
# No GPU was at hand, so the hours on GPUs are the measured operations divided by that rate. {doc}`../cluster` says how such a
# run is started.

# %%
one = capacity.Measured(
    map_seconds=float(ours.loc[("physical", 1), "ms_per_image"]) / 1000,
    shapley_seconds=float(evenly["seconds_per_image"]),
    cores=int(machines.loc["cores", "shapley"]),
    gflop=float(facts["GFLOP a gradient"]),
    samples=50,
    shard_bytes=float(facts["bytes an image, float32"]),
    map_bytes=float(facts["bytes an image, map"]),
    index_bytes=float(facts["bytes an image, index"]),
)
prices = capacity.Prices(gpu_tflops, gpu_hour, core_hour, terabyte_month)
plan = capacity.plan(images, one, prices)
plan.style.format(
    {"amount": "{:,.4g}", "cost (USD)": "{:,.0f}"}, na_rep=""
).set_table_attributes('class="dataframe"')

# %% tags=["remove-input"]
glue("plan_tflops", gpu_tflops, display=False)
glue("plan_images", images, display=False)
on_cpu, on_gpu = (
    plan.loc["Shapley values, on CPUs"],
    plan.loc["Shapley values, on GPUs instead"],
)
glue("plan_cpu_hours", float(on_cpu["amount"]), display=False)
glue("plan_gpu_hours", float(on_gpu["amount"]), display=False)
glue(
    "plan_map_hours", float(plan.loc["defocus maps, on CPUs", "amount"]), display=False
)
glue("plan_shards", float(plan.loc["shards", "amount"]), display=False)
glue(
    "plan_storage",
    float(plan["amount"][plan["unit"].str.startswith("TB")].sum()),
    display=False,
)

# %% [markdown]
# For {glue:text}`plan_images:,d` images, the maps are the small part: {glue:text}`plan_map_hours:.0f` core hours, no work for
# a GPU. Shapley values take {glue:text}`plan_cpu_hours:,.0f` core hours or {glue:text}`plan_gpu_hours:,.0f` GPU hours. The
# {glue:text}`plan_shards:,.0f` shards, the maps and the index fill {glue:text}`plan_storage:.1f` TB.

# %% [markdown]
# ## Measure it again
#
# ```bash
# make bench
# ```
#
# renders the scenes of the profile `speed`, then runs `python -m benchmarks.maps`, `benchmarks.shapley` and
# `benchmarks.store`, one after the other, and writes their tables. On two cores it takes about two hours, and the machine should
# have nothing else to do. `make book` then shows the new figures here. Times are medians over contestants that take turns in one run:
# look at ratios, since machines differ.
