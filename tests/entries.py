"""Small data sets as the manifest would give them, and ways to disturb their trees."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from defocus_lib.data import layouts
from defocus_lib.data import manifest as m
from tests import trees

ABOUT = {"title": "t", "access": "a", "licence": "l"}
FORGERIES = ("Deepfakes", "FaceSwap")
REAL = "original_sequences/youtube/c23/v1faces"
LISTS = {
    "train": [["000", "001"], ["004", "005"]],
    "val": [["003", "002"]],
    "test": [["006", "007"]],
}


def fake(name: str) -> str:
    return f"manipulated_sequences/{name}/c23/v1faces"


def entry(layout: str, root: Path, name: str = "mine", **others) -> layouts.Files:
    """A data set as the manifest would give it."""
    content = {"name": name, "layout": layout, "root": str(root), **ABOUT, **others}
    photograph = m.load_manifest().photographs[0].model_dump()
    return m.Manifest(version=1, photographs=[photograph], datasets=[content]).dataset(name)


def ffpp(
    root: Path, split: dict | None = None, frames: int = 32, **others
) -> layouts.FaceForensics:
    options = {"compression": "c23", "manipulations": FORGERIES, "frames": frames}
    return entry(
        "faceforensics", root, options=options, split=split or {"scheme": "sequential"}, **others
    )


def union(coco: Path, ddb: Path, **others) -> m.Union:
    parts = [
        {"name": "coco", "layout": "coco", "root": str(coco)},
        {"name": "ddb", "layout": "diffusiondb", "root": str(ddb)},
    ]
    both = {"name": "both", "layout": "union", "options": {"parts": ["coco", "ddb"]}, **others}
    datasets = [ABOUT | part for part in (*parts, both)]
    photograph = m.load_manifest().photographs[0].model_dump()
    return m.Manifest(version=1, photographs=[photograph], datasets=datasets).dataset("both")


def picture(path: Path, shade: int = 0) -> Path:
    """A file of its own content: a small square of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (shade % 256, shade // 256, 7)).save(path)
    return path


def broken(tree: Path) -> list[str]:
    """Spoil three frames, each in another way; their paths."""
    paths = [
        f"{REAL}/001/0000.png",
        f"{fake('Deepfakes')}/004_005/0001.png",
        f"{fake('FaceSwap')}/009_008/0002.png",
    ]
    for spoil, path in zip((trees.truncate, trees.empty, trees.not_an_image), paths, strict=True):
        spoil(tree / path)
    return paths


def write_lists(folder: Path, lists: dict) -> Path:
    folder.mkdir(exist_ok=True)
    for name, pairs in lists.items():
        (folder / f"{name}.json").write_text(json.dumps(pairs), encoding="utf-8")
    return folder
