import gc
import os
import random
import shutil
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from defocus_lib.data import manifest
from defocus_lib.data.photographs import load_photograph
from tests import trees
from tests.entries import FORGERIES


def pytest_configure(config):
    """Processes that test side by side share the cores. With more threads than cores, those that
    wait for another one spin, for ten times as long as small networks compute."""
    processes = config.getoption("numprocesses", None)
    if processes:  # they start after this
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))


def pytest_collection_modifyitems(items):
    """The books first: they take longest, and the other process does the rest meanwhile."""
    items.sort(key=lambda item: not item.path.name.startswith("test_book"))


def pytest_collection_finish():
    """What was imported stays: who collects garbage (statsmodels does, in each correction of
    p-values) need not search millions of objects for what is gone."""
    gc.freeze()


@pytest.fixture(scope="session")
def photograph():
    """Packaged photograph ``name``, its left square as ``(3, size, size)`` float32 in [0, 1] with
    8-bit values."""
    listed = manifest.load_manifest()

    @cache
    def load(name: str, size: int) -> np.ndarray:
        pixels = load_photograph(listed.photograph(name))
        side = min(pixels.shape[:2])
        square = Image.fromarray(pixels[:side, :side]).resize((size, size), Image.Resampling.BOX)
        return np.moveaxis(np.asarray(square, dtype=np.float32) / 255, 2, 0).copy()

    return load


@pytest.fixture(scope="session")
def generators_left_alone():
    """A context that fails if the global random generators are not left as they were found."""

    def states():
        # The legacy state is what code that others wrote may have disturbed.
        numpy = np.random.get_state()[1].tolist()  # noqa: NPY002
        return torch.get_rng_state().tolist(), numpy, random.getstate()

    @contextmanager
    def check():
        before = states()
        yield
        assert states() == before

    return check


@pytest.fixture
def two_threads():
    """Torch computes on two threads; who takes one and does not give it back is seen."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def stored_tree(tmp_path_factory):
    """What :func:`tree` copies; not to be changed."""
    return trees.faceforensics(
        tmp_path_factory.mktemp("ffpp"), frames=3, size=32, manipulations=FORGERIES
    )


@pytest.fixture
def tree(stored_tree, tmp_path):
    """A FaceForensics++ tree of ten videos and two manipulations, three frames each, to be
    disturbed."""
    return Path(shutil.copytree(stored_tree, tmp_path / "ffpp"))
