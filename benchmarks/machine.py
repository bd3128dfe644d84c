"""The machine of each benchmark: one column of ``results/machine.csv``, since they may differ."""

from pathlib import Path

import pandas as pd
import torch

from defocus_lib.run import provenance

RESULTS = Path(__file__).parent / "results" / "machine.csv"


def note(benchmark: str, path: Path = RESULTS) -> None:
    """Write down this machine for one benchmark, and leave those of the others."""
    known = pd.read_csv(path, index_col="what", dtype="str") if path.exists() else pd.DataFrame()
    known[benchmark] = pd.Series(
        provenance.machine() | {"vector units": torch.backends.cpu.get_cpu_capability()}
    )
    known.rename_axis("what").to_csv(path)
