"""One number of threads for everything that computes."""

import subprocess
import sys

import pytest

from defocus_lib.run.threads import limit_threads

ASK = """
from defocus_lib.run.threads import limit_threads
limit_threads({})
import joblib, numba, torch
print(torch.get_num_threads(), numba.get_num_threads(), joblib.cpu_count())
"""


def threads(number: int) -> list[int]:
    asked = subprocess.run(
        [sys.executable, "-c", ASK.format(number)], capture_output=True, text=True, check=True
    )
    return list(map(int, asked.stdout.split()))


@pytest.mark.slow
def test_everything_takes_as_many_threads_as_were_asked_for():
    assert threads(1) == [1, 1, 1]


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match="threads is -1; 0 for every core"):
        limit_threads(-1)
