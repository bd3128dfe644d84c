"""A notebook of a few lines, as a py:percent source, and a way to write one."""

from pathlib import Path

PARAMETERS = """\
# %% [markdown]
# # A page

# %% tags=["parameters"]
profile: str = "demo"  # which run
threshold: float = 0.1
steps: int = 3
quick: bool = False
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
