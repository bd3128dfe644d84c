"""A project on which commands run."""

import pytest
import yaml

from defocus_lib.data import manifest as m
from tests import trees


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a manifest of a good data set and of one with an unreadable image."""
    folder = tmp_path_factory.mktemp("project")
    trees.folders(folder / "good", clips=10, size=32)
    trees.folders(folder / "bad pictures", clips=10, size=32)
    trees.truncate(folder / "bad pictures" / "fake" / "photo-003.png")
    about = {"access": "a", "licence": "CC0", "layout": "folders", "options": {"pairs": "by_name"}}
    datasets = [
        {"name": "good", "title": "Good ones", "root": "${GOOD_ROOT}", **about},
        {"name": "bad", "title": "Bad ones", "root": "bad pictures", **about},
        {"name": "scenes", "title": "Scenes", "access": "a", "licence": "MIT", "layout": "scenes"},
    ]
    photographs = [m.load_manifest().photographs[0].model_dump()]
    content = {"version": 1, "photographs": photographs, "datasets": datasets}
    (folder / "data_manifest.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder
