"""One word for one thing: words that this project once used for a term of the field stay out.

Each has its term in CHANGELOG.md. Files that keep the name of somebody else's word (the authors'
own files, a library's argument) are exempt by the pattern itself.
"""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".csv"}
EXEMPT = {
    "CHANGELOG.md",
    "tests/test_words.py",
    "tests/compare_runs.py",
    "tests/test_compare_runs.py",
}

WORDS = {
    "residual-branch scaling": r"quiet[ _-]start|full[ _-]strength",
    "integration paths": r"of the way apart|along the ways?\b",
    "completeness error": r"completeness[ _]gaps?\b|(defocus|rgb)_gaps?\b",
    "run, sweep": r"\btrials?\b|\btrial_",
    "training manipulation, test manipulation": r"\btaught\b|asked about"
    r"|(?<![a-z_])(trained|tested)_on\b",
    "predictions": r"\bAnswers\b",
    "illumination change": r"change of light|\brelit\b|\brelight\b|\bRELIT\b",
    "paired real image, paired manipulation": r"\btwins?\b",
    "ridge, gradient magnitude, curvature, Gaussian basis": r"\bcrests?\b|steepness|\bbends\b"
    r"|\bbells?\b",
    "baselines": r"\bnulls\b|\bthe null\b",
    "corruption": r"\bdamage\b",
    "horizontal flip, n_bootstrap, n_workers": r"\bmirror=|\bresamples="
    r"|(?<![\w_-])workers=",
    "headline results, profiling, cost model": r"\bfindings?\b|\bmetering\b",
    "one row per image": r"\b(row|rows|ms|shares?|images?|number|bytes|seconds|point|columns?) an? "
    r"(image|video|manipulation|pixel|gradient|detector|pair|frame|group|seed)\b",
    "the authors' code, Jeon & Woo (2025)": r"\bthe reference('s)?\b(?! (list|implementation|map))",
}
LOCALS = {"said", "told", "theirs", "ours", "one", "found", "wanted"}


def tracked(*suffixes: str) -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [Path(name) for name in names.stdout.splitlines() if name not in EXEMPT]
    return [path for path in paths if path.suffix in suffixes and (ROOT / path).exists()]


@pytest.mark.parametrize(("term", "pattern"), WORDS.items())
def test_the_old_word_stays_out(term: str, pattern: str) -> None:
    lines = [
        f"{path}:{number}: {line.strip()[:90]}"
        for path in tracked(*TEXT)
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not lines, f"the term is: {term}\n" + "\n".join(lines)


def test_locals_of_the_library_say_what_they_hold() -> None:
    names = [
        f"{path}:{node.lineno}: {node.id}"
        for path in tracked(".py")
        if path.parts[0] in ("defocus_lib", "notebooks")
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in LOCALS
    ]
    assert not names, "\n".join(names)
