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
# # Status
#
# A number can be repeated only by those who know what it was computed with. This page
# lists the machine, the time and memory of every notebook, all parameters, and the
# versions of the packages that shape the numbers.
#
# **Reads** the record that each notebook left (`runs/*.json`), its stages
# (`stages/*.csv`), its claims (`claims/*.json`), and which files it reads and writes
# (`graph.json`, from `dodo.py`).\
# **Writes** `claims.md`, the claims of all pages for the front page.

# %% tags=["parameters"]
profile: str = "demo"
artifacts: str = ""  # empty: artifacts/<profile> in the project

# %% tags=["hide-input"]
import json

import pandas as pd
from myst_nb import glue

from defocus_lib.figures import status as figures
from defocus_lib.run import headline, profiling, provenance
from defocus_lib.run.artifacts import Folder, project_root

folder = Folder.open(profile, artifacts)
runs = provenance.read_runs(folder.path, without="status")
_ = headline.compose(folder)

# %% [markdown]
# ## Machine

# %%
commit = provenance.commit(project_root())
facts = {"profile": profile, "commit": commit, **provenance.machine()}
pd.Series(facts, name="this run").to_frame()

# %% [markdown]
# ## Time and memory of each notebook
#
# The time is wall-clock time with the start of the kernel. The memory is the largest
# resident memory of the kernel and its children, sampled ten times a second. A notebook
# that was up to date keeps the record of the run that made it.

# %%
times = pd.DataFrame(
    [(run.notebook, run.seconds, run.peak_mb) for run in runs],
    columns=["notebook", "time (s)", "peak memory (MiB)"],
).set_index("notebook")
times.round(0).astype(int)

# %% tags=["remove-input"]
glue("status_minutes", float(times["time (s)"].sum() / 60), display=False)
peak_gib = float(times["peak memory (MiB)"].max() / 1024)
glue("status_peak_gib", peak_gib, display=False)

# %% [markdown]
# The times add up to {glue:text}`status_minutes:.1f` minutes. Notebooks may run side by
# side, so a run takes less. The largest notebook needed
# {glue:text}`status_peak_gib:.1f` GiB.

# %% [markdown]
# ## Provenance
#
# Each notebook reads files that earlier ones wrote. {numref}`fig-provenance` traces any
# number back to the images: the filled dot in the row of its file shows the notebook
# that wrote it, and the circles in the column of this notebook show the files that it
# read. The parameters of each notebook are below.

# %% mystnb={"figure": {"caption": "Files, the notebooks that wrote and read them, and the time of each notebook. Columns are notebooks, with their time at the top; rows are files in the folder of artefacts. A filled dot marks the notebook that wrote a file, a circle one that reads it. `claims/*.json` and `stages/*.csv` stand for one file per notebook.", "name": "fig-provenance"}, "image": {"alt": "Bars of minutes per notebook above a grid of files and notebooks; in each row a line runs from the filled dots of writers to the circles of readers."}} tags=["hide-input"]
graph = json.loads(folder.require("graph.json", "status").read_text(encoding="utf-8"))
figures.provenance(graph, times["time (s)"].to_dict())

# %% [markdown]
# ## Stages of the long notebooks
#
# Wall-clock time, images per second, the peak memory of the process with its children,
# and that of a graphics card where there was one. Each stage is measured from outside,
# never within the detector. A map that was in the cache already takes no time.

# %%
stages = profiling.read_all(folder.path / "stages")
stages.dropna(axis="columns", how="all").round(1)

# %% [markdown]
# ## Parameters and seeds
#
# Every parameter of every notebook, with the value in force.

# %% tags=["hide-input"]
parameters = pd.DataFrame(
    [
        (run.notebook, name, str(value))
        for run in runs
        for name, value in run.parameters.items()
        if name != "artifacts"
    ],
    columns=["notebook", "parameter", "value"],
).set_index(["notebook", "parameter"])
parameters.style.format(escape="html").set_table_attributes('class="dataframe"')

# %% [markdown]
# ## Versions
#
# The packages that shape the numbers. All others are in `requirements.lock`.

# %% tags=["hide-input"]
packages = """
numpy scipy pandas scikit-image scikit-learn statsmodels umap-learn pymatting pillow
torch torchvision timm pytorch-lightning shap quantus matplotlib seaborn papermill
jupytext jupyter-book doit
"""
versions = provenance.package_versions(packages.split())
pd.Series(versions, name="version").to_frame()
