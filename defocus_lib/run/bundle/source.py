"""Where the files of a bundle come from: a zip, or the folder that it was unpacked into."""

from __future__ import annotations

import re
import stat
import unicodedata
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from defocus_lib.run.bundle.description import CHECKSUMS, CRATE, DESCRIPTION, kind_of

MAX_FILES, MAX_FILE, MAX_TOTAL = 100_000, 2**30, 64 * 2**30  # bytes, as unpacked
MAX_TEXT = 128 * 2**20  # of a file that is parsed as a whole
MAX_RATIO, SMALL = 200, 2**20  # unpacked to packed size, of files above the small ones
CODE = re.compile(
    r"\.(py|pyc|pyd|so|dll|exe|sh|bat|cmd|ps1|js|html?|pkl|pickle|pt|pth|ckpt)$", re.I
)
DRIVE = re.compile(r"^[A-Za-z]:")


class Refused(ValueError):
    """A bundle, or a part of it, that is damaged, foreign or hostile; the message names it."""


class Source(ABC):
    """The files of a bundle: a zip, or a folder that it was unpacked into."""

    path: Path

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Size of every file by its path; raises :class:`Refused` on what is no plain file."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file; raises :class:`Refused` if it is damaged."""


class _Zip(Source):
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise Refused(f"no zip file, or one that is cut off ({error})") from None
        # The middle of a cut zip may hold a whole one: shards are zips.
        if min((entry.header_offset for entry in self.archive.infolist()), default=0):
            raise Refused("no zip file, or one that is cut off (it does not begin with one)")

    def sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for entry in self.archive.infolist():
            name, mode = entry.orig_filename, entry.external_attr >> 16
            check_name(name)
            if entry.filename in sizes:
                raise Refused(f"two files named {name!r}")
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise Refused(f"{name!r} is a link or a device; plain files wanted")
            if entry.flag_bits & 0x1:
                raise Refused(f"{name!r} is encrypted")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Refused(f"{name!r} is compressed in an unknown way")
            if entry.file_size > max(SMALL, MAX_RATIO * entry.compress_size):
                raise Refused(f"{name!r} is a bomb: it unpacks to {entry.file_size:,} bytes")
            sizes[entry.filename] = entry.file_size
        return sizes

    def read(self, name: str) -> bytes:
        try:
            return self.archive.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise Refused(f"{name} is damaged ({error})") from None


class _Folder(Source):
    def __init__(self, path: Path) -> None:
        self.path = path

    def sizes(self) -> dict[str, int]:
        sizes = {}
        for path in sorted(self.path.rglob("*")):
            name, mode = path.relative_to(self.path).as_posix(), path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise Refused(f"{name!r} is a link or a device; plain files wanted")
            check_name(name)
            sizes[name] = path.stat().st_size
        return sizes

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


def check_name(name: str) -> None:
    """Raise :class:`Refused` unless ``name`` is a plain path below the bundle, for any system."""
    parts = name.split("/")
    if name.startswith("/") or DRIVE.match(name):
        raise Refused(f"{name!r} is an absolute path")
    if ".." in parts:
        raise Refused(f"{name!r} climbs out of the bundle")
    if "\\" in name or any(not part or part != part.strip(" .") for part in parts):
        raise Refused(f"{name!r} is no plain path")
    if CODE.search(name):
        raise Refused(f"{name!r} is code or a pickle; a bundle holds none")
    if name not in (DESCRIPTION, CHECKSUMS, CRATE) and not kind_of(name)[0]:
        raise Refused(f"{name!r} is no file of a bundle")


def open_source(path: Path) -> Source:
    """The zip or the folder ``path``; raises :class:`Refused` if it is neither."""
    if path.is_dir():
        return _Folder(path)
    if not path.is_file():
        raise Refused("there is no such file or folder")
    return _Zip(path)


def check_sizes(sizes: Mapping[str, int]) -> None:
    if len(sizes) > MAX_FILES:
        raise Refused(f"{len(sizes):,} files; at most {MAX_FILES:,} are allowed")
    folded: dict[str, str] = {}
    for name, size in sizes.items():
        same = folded.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if same != name:
            raise Refused(f"{same!r} and {name!r} are one file on some systems")
        limit = MAX_FILE if name.endswith((".npz", ".parquet", ".safetensors")) else MAX_TEXT
        if size > limit:
            raise Refused(f"{name} has {size:,} bytes; at most {limit:,} are allowed")
    if sum(sizes.values()) > MAX_TOTAL:
        total = f"it unpacks to {sum(sizes.values()):,} bytes"
        raise Refused(f"{total}; at most {MAX_TOTAL:,} are allowed")
