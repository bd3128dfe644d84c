"""Results of the jobs of a long computation, kept on disk until all are there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from defocus_lib.run.artifacts import DAMAGED, write_beside


@contextmanager
def kept_until_done(folder: Path | None) -> Iterator[Path]:
    """The folder, made if it is not there; it is removed unless the block raises or is killed.

    ``None`` stands for a temporary one, which is removed in any case.
    """
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(folder or scratch)
        place.mkdir(parents=True, exist_ok=True)
        yield place
        shutil.rmtree(place, ignore_errors=True)


def kept(path: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in the file ``path`` (``.npy``), computed and written if it is not there whole.

    The name of the file has to say all that the result depends on.
    """
    try:
        return np.load(path, allow_pickle=False)
    except DAMAGED:
        values = compute()
        write_beside(path, lambda beside: np.save(beside, values))
        return values
