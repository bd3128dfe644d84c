"""Whether a file of a bundle is what its name says: by kind, without running anything of it."""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
from nbformat import NotebookNode
from pyarrow import ArrowException, parquet

from defocus_lib.run.bundle.outputs import check_png, check_prose
from defocus_lib.run.bundle.source import MAX_FILE, MAX_RATIO, MAX_TEXT, SMALL, Refused
from defocus_lib.run.provenance import Run
from defocus_lib.stats.claims import Claim

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def check_content(name: str, content: bytes) -> None:
    """Raise :class:`Refused` if a file is not what its name says."""
    checks: dict[str, Callable[[str, bytes], object]] = {
        ".json": parsed_json,
        ".csv": text_of,
        ".npz": _check_arrays,
        ".parquet": _check_table,
        ".safetensors": _check_weights,
        ".png": lambda name, content: named(name, check_png, content),
        ".ipynb": notebook_of,
    }
    if check := checks.get(Path(name).suffix):
        check(name, content)
    if name.startswith("claims/"):
        _check_claims(name, content)
    if name.startswith("runs/"):
        _check_run(name, content)


def named(name: str, check: Callable, content: object) -> None:
    try:
        check(content)
    except Refused as error:
        raise Refused(f"{name} holds {error}") from None


def text_of(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{name} is no text ({error.reason})") from None


def parsed_json(name: str, content: bytes) -> object:
    try:
        return json.loads(text_of(name, content))
    except (ValueError, RecursionError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"{name} is no JSON ({error})") from None


def notebook_of(name: str, content: bytes) -> NotebookNode:
    parsed_json(name, content)
    try:
        notebook = nbformat.reads(content.decode("utf-8"), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises whatever it trips over
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(f"{name} is no notebook ({reason[:80]})") from None
    return notebook


def _check_arrays(name: str, content: bytes) -> None:
    """Raise :class:`Refused` unless a file holds plain arrays, none larger than its header says."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
                    expected = file.tell() + math.prod(shape) * dtype.itemsize
                if dtype.hasobject or entry.file_size != expected or expected > MAX_FILE:
                    raise Refused(f"{name}: {entry.filename} is a pickle, or of another size")
            total = sum(entry.file_size for entry in archive.infolist())
    except Refused:
        raise
    except Exception as error:  # of zip, header or dtype: all mean the same
        raise Refused(f"{name} is no file of arrays ({error})") from None
    if total > 4 * MAX_FILE or total > max(SMALL * 64, MAX_RATIO * len(content)):
        raise Refused(f"{name} is a bomb: its arrays take {total:,} bytes")


def _check_table(name: str, content: bytes) -> None:
    try:
        meta = parquet.read_metadata(io.BytesIO(content))
        groups = [meta.row_group(n).total_byte_size for n in range(meta.num_row_groups)]
    except (ArrowException, OSError, ValueError) as error:
        raise Refused(f"{name} is no table ({error})") from None
    if sum(groups) > MAX_FILE:
        raise Refused(f"{name} is a bomb: its columns take {sum(groups):,} bytes")


def _check_weights(name: str, content: bytes) -> None:
    length = int.from_bytes(content[:8], "little")
    if length > min(len(content) - 8, MAX_TEXT):
        raise Refused(f"{name} holds no weights in the format safetensors")
    parsed_json(name, content[8 : 8 + length])


def _check_run(name: str, content: bytes) -> None:
    try:
        Run(**json.loads(content))
    except TypeError as error:
        raise Refused(f"{name} is no record of a run ({error})") from None


def _check_claims(name: str, content: bytes) -> None:
    try:
        claims = [Claim(**each) for each in json.loads(content)]
    except (TypeError, ValueError) as error:
        raise Refused(f"{name} holds no claims ({error})") from None
    numbers = ("value", "low", "high", "compared_with", "margin")
    for claim in claims:
        for text in (claim.statement, claim.unit):
            named(name, check_prose, str(text))
        if not all(isinstance(getattr(claim, key), int | float) for key in numbers):
            raise Refused(f"{name} holds a claim without numbers")
        if not re.fullmatch(r"[-+]?\.\d[%f]", claim.style):
            raise Refused(f"{name} holds a claim in the format {claim.style!r}")
