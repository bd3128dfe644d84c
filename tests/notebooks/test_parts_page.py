"""The complete example of the page *Use the parts* does what the page says."""

import re

import numpy as np
import pytest

from defocus_lib.explain import attribution_set
from defocus_lib.run import artifacts
from defocus_lib.run.artifacts import project_root
from tests.pages import run_page

PAGE = project_root() / "book" / "parts.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder that the example writes, made below a root of its own."""
    (example,) = [
        code
        for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        if "PROFILE" in code
    ]
    path = tmp_path_factory.mktemp("artifacts") / "photos"
    exec(
        example.replace(
            "artifacts.Folder.create(PROFILE)", f"artifacts.Folder.create(PROFILE, {str(path)!r})"
        ),
        {},
    )
    return artifacts.Folder.open("photos", path)


def test_the_example_writes_sets_that_pair(folder):
    real, fake = (
        attribution_set.open_set(folder, name).take(np.arange(8)) for name in ("real", "softened")
    )
    assert fake.paired_real(real).ids.tolist() == real.ids.tolist() and len(real) == 8
    assert fake.regions.any((1, 2)).all() and np.abs(fake.dmaps - real.dmaps).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("05_binary_mask", {}),
        ("07_tsne", {"perplexities": "3, 5", "perplexity": 5.0}),
        ("09_alignment_score", {}),
    ],
)
def test_the_analyses_run_on_what_the_example_wrote(name, parameters, folder):
    assert run_page(name, folder.path, {"profile": "photos", **parameters}).figures > 0
