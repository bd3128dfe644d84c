"""What a benchmark ran on. Each has its own column of ``results/machine.csv``: they may run on different machines."""

from pathlib import Path

import pandas as pd
import torch

from defocus_lib.run import provenance

RESULTS = Path(__file__).parent / "results" / "machine.csv"


def note(benchmark: str, path: Path = RESULTS) -> None:
    """Write down what this machine is, and leave what is said of the other benchmarks."""
    known = pd.read_csv(path, index_col="what", dtype="str") if path.exists() else pd.DataFrame()
    known[benchmark] = pd.Series(
        provenance.machine() | {"vector units": torch.backends.cpu.get_cpu_capability()}
    )
    known.rename_axis("what").to_csv(path)
