"""The results on real images and real lenses that were measured by hand, as tables and claims."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from defocus_lib.stats.bootstrap import formatted_rows
from defocus_lib.stats.claims import Claim

NAMES = {
    "facts about the files": "facts about the files, no pixel",
    "contrast": "contrast of blur",
    "eight statistics": "eight statistics of blur",
}
SOURCES = {
    "files": "no picture",
    "map": "map of blur",
    "edges": "edges of the map",
    "photograph": "photograph",
    "both": "photograph and map",
}
"""What a method may read: key, and name for a reader."""


def read_results(path: Path) -> pd.DataFrame:
    """A table of results; texts that are missing are ``""``."""
    table = pd.read_csv(path)
    texts = table.select_dtypes(exclude="number").columns
    return table.assign(**{name: table[name].fillna("").astype(str) for name in texts})


def source_of(method: str) -> str:
    """The key of :data:`SOURCES` of a method."""
    kind = method.split(",")[0]
    known = {
        "facts about the files": "files",
        "edges": "edges",
        "rgb": "photograph",
        "fusion": "both",
    }
    return known.get(kind, "map")


def title_of(row: pd.Series) -> str:
    """A method in words, with the preset and normalisation of its map."""
    name = NAMES.get(row["method"], row["method"].replace("rgb", "RGB"))
    of_map = [row["map"], row["normalisation"] if row["normalisation"] != "min-max" else ""]
    known = ", ".join(filter(None, of_map))
    return f"{name} ({known})" if known else name


def methods(measured: pd.DataFrame) -> pd.DataFrame:
    """The rows with an AUC: with ``title``, ``source`` and ``on`` (data set and manipulation)."""
    rows = measured[measured["less"] == ""]
    several = rows.groupby("data")["manipulation"].transform("nunique") > 1
    on = rows["data"] + (", " + rows["manipulation"]).where(several, "")
    titles, sources = rows.apply(title_of, axis=1), rows["method"].map(source_of)
    order = sources.map(list(SOURCES).index)
    rows = rows.assign(title=titles, source=sources, on=on, order=order)
    return rows.sort_values(["data", "manipulation", "order"], kind="stable").drop(columns="order")


def data_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Test images, groups, size and seeds of each manipulation, and the commit that measured it."""
    columns = ["data", "manipulation", "images", "groups", "size", "seeds", "commit"]
    table = measured.drop_duplicates(["data", "manipulation"])[columns]
    named = table.rename(columns={"images": "test images", "size": "size (px)"})
    return named.set_index(["data", "manipulation"])


def auc_shown(measured: pd.DataFrame) -> pd.DataFrame:
    """AUC [95 % interval] as text: one row per method, one column per data set."""
    rows = methods(measured)
    rows = rows.assign(AUC=formatted_rows(rows), reads=rows["source"].map(SOURCES))
    wide = rows.pivot(index=["reads", "title"], columns="on", values="AUC")
    kept = rows.drop_duplicates(["reads", "title"]).set_index(["reads", "title"]).index
    return wide.loc[kept].fillna("").rename_axis(["it reads", "method"]).rename_axis(None, axis=1)


def claims(measured: pd.DataFrame) -> list[Claim]:
    """One claim per difference, that it is above 0, and per contrast, that it is above chance."""
    all_claims = []
    for _, row in measured.iterrows():
        on = f"{row['data']}, {row['manipulation']}"
        numbers = (row["value"], row["low"], row["high"], int(row["groups"]))
        if row["less"]:
            other = row["less"].replace("rgb", "RGB")
            statement = f"Gain in AUC on {on}: {title_of(row)} over {other}"
            seeds = int(row["seeds"])
            all_claims.append(Claim(statement, *numbers, unit="group", seeds=seeds, style="+.3f"))
        elif row["method"] == "contrast" and row["map"] == "learned":
            statement = f"AUC of the contrast of blur on {on}: {row['map']}, no training"
            all_claims.append(Claim(statement, *numbers, 0.5, unit="group", style=".2f"))
    return all_claims


def lenses_shown(lenses: pd.DataFrame) -> pd.DataFrame:
    """Of each focal stack and preset: patches, shares ranked and straight, and blur in px."""
    stacks = lenses[lenses["patches"].notna()]
    whole = {"patches": "{:.0f}", "ranked (%)": "{:.0f}", "straight (%)": "{:.0f}"}
    lengths = {"in focus (px)": "{:.2f}", "out of focus (px)": "{:.2f}"}
    texts = {name: stacks[name].map(form.format) for name, form in (whole | lengths).items()}
    table = stacks[["name", "photographs", "preset"]].assign(**texts)
    stack = table["name"].str.rpartition("/")[2] + ", " + table["photographs"].astype(str)
    return table.assign(stack=stack + " photographs").set_index(["stack", "preset"])[list(texts)]
