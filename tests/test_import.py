import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "timm",
    "shap",
    "sklearn",
    "umap",
    "skimage",
    "pandas",
    "matplotlib",
    "pytorch_lightning",
)


def loaded_after(statement):
    names = "sorted({name.split('.')[0] for name in sys.modules})"
    code = f"import sys, json; {statement}; print(json.dumps({names}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout))


def test_importing_the_package_imports_nothing_heavy():
    assert not loaded_after("import defocus_lib") & set(HEAVY)


@pytest.mark.slow
def test_its_public_names_are_listed_and_load_what_they_need():
    listed = "import defocus_lib; assert {'defocus_maps', 'tsne', 'Claim'} <= set(dir(defocus_lib))"
    assert "torch" not in loaded_after(listed)
    assert "torch" in loaded_after("from defocus_lib import defocus_maps")


def test_lenses_need_no_torch():
    assert "torch" not in loaded_after("from defocus_lib.scenes import optics")
