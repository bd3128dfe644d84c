"""How many threads a process computes on."""

from __future__ import annotations

import os
import sys

# Read by torch and scikit-learn, by three linear algebras, by numba, and by joblib.
VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


def limit_threads(number: int) -> None:
    """Compute on so many threads from now on, in the processes that this one starts, too.

    0 takes every core. Best called before numpy is imported; torch and numba, where they are
    imported already, are told. Raises ValueError if the number is negative.
    """
    if number < 0:
        raise ValueError(f"threads is {number}; 0 for every core, or 1 or more, wanted")
    if not number:
        return
    os.environ.update(dict.fromkeys(VARIABLES, str(number)))
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(number)
    if numba := sys.modules.get("numba"):
        numba.set_num_threads(min(number, numba.config.NUMBA_NUM_THREADS))
