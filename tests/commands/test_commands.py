"""The command line as a whole: its exit code, its two streams, its help."""

from tests.verbs import process

HEAVY = ("torch", "pandas", "numpy", "pydantic", "PIL", "pyarrow")


def test_a_process_ends_with_the_exit_code_and_one_line(project):
    done = process(project, "-m", "defocus_lib", "data", "verify", "dog")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == "error: no data set 'dog' in the manifest; it lists good, bad, scenes\n"


def test_help_imports_nothing_heavy(project):
    code = f"""
import sys, runpy
sys.argv[1:] = ["--help"]
try:
    runpy.run_module("defocus_lib", run_name="__main__")
except SystemExit as end:
    print(end.code, [name for name in {HEAVY} if name in sys.modules])
"""
    done = process(project, "-c", code)
    assert "data" in done.stdout and done.stdout.splitlines()[-1] == "0 []"
