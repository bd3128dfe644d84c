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
# # Status
#
# **You will see** what this book was computed with: versions, machine, parameters, times.\
# **Reads** the record that each run left, `runs/*.json`, its stages, `stages/*.csv`, and claims, `claims/*.json`.\
# **Writes** `claims.md`, the claims of all pages for the front page.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""  # empty: artifacts/<profile> in the project

# %%
import pandas as pd

from defocus_lib.run import headline, profiling, provenance
from defocus_lib.run.artifacts import Folder, project_root

folder = Folder.open(profile, artifacts)
runs = provenance.read_runs(folder.path, without="status")
_ = headline.compose(folder)

# %% [markdown]
# ## Where it ran

# %%
pd.Series(
    {
        "profile": profile,
        "commit": provenance.commit(project_root()),
        **provenance.machine(),
    },
    name="this run",
).to_frame()

# %% [markdown]
# ## How long it took
#
# Wall-clock time with the start of the kernel, and the kernel's largest resident memory, sampled ten times a second. A
# notebook that was up to date keeps the record of the run that made it.

# %%
times = pd.DataFrame(
    {
        run.notebook: {"time (s)": run.seconds, "peak memory (MiB)": run.peak_mb}
        for run in runs
    }
).T
times.round(0).astype(int)

# %%
from myst_nb import glue

glue("status_minutes", float(times["time (s)"].sum() / 60), display=False)
glue("status_peak_gib", float(times["peak memory (MiB)"].max() / 1024), display=False)

# %% [markdown]
# All notebooks together took {glue:text}`status_minutes:.1f` minutes; the largest needed {glue:text}`status_peak_gib:.1f` GiB.

# %% [markdown]
# ## Stage by stage
#
# Of the notebooks that take long: wall-clock time, images a second, and the peak memory of the process with those that
# it started, and of a GPU where there was one. Measured around each stage, never inside the detector. A map that was in
# the cache already takes no time.

# %%
profiling.read_all(folder.path / "stages").dropna(axis="columns", how="all").round(1)

# %% [markdown]
# ## Parameters and seeds
#
# Every parameter of every notebook, with the value that was in force.

# %%
pd.DataFrame(
    [
        (run.notebook, name, str(value))
        for run in runs
        for name, value in run.parameters.items()
        if name != "artifacts"
    ],
    columns=["notebook", "parameter", "value"],
).set_index(["notebook", "parameter"]).style.set_table_attributes('class="dataframe"')

# %% [markdown]
# ## Versions
#
# The packages that shape the numbers. All others are in `requirements.lock`.

# %%
packages = """
numpy scipy pandas scikit-image scikit-learn statsmodels umap-learn pymatting pillow torch torchvision timm pytorch-lightning shap
quantus matplotlib seaborn papermill jupytext jupyter-book doit
"""
pd.Series(provenance.package_versions(packages.split()), name="version").to_frame()
