"""What notebooks say while they run, on a terminal that several of them share."""

from __future__ import annotations

import re
import sys
import time
from typing import TextIO

from tqdm import tqdm

CONTROL = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
SECONDS_BETWEEN_LINES = 60  # of progress, where a file takes them instead of a terminal


def say(line: str, file: TextIO | None = None) -> None:
    """Write a line above the progress bars that are on the terminal."""
    tqdm.write(line, file=file or sys.stderr)


class Lines:
    """A file that a kernel prints to. Its lines get the name of the notebook; what is redrawn with
    a carriage return is progress, which goes to the ``bar`` of the notebook.

    Where standard error is no terminal, there are no bars: progress is then a line a minute.
    """

    def __init__(self, name: str, bar: tqdm) -> None:
        self.name, self.bar = name, bar
        self._rest, self._progress_at = "", time.monotonic()

    def write(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            plain = CONTROL.sub("", line).rstrip()
            if plain and "\r" not in plain.rstrip("\r"):
                say(f"{self.name}: {plain}")
        if progress := CONTROL.sub("", self._rest).strip().rpartition("\r")[2].strip():
            self._show(progress)

    def flush(self) -> None:
        """Nothing to do: each write is shown at once."""

    def _show(self, progress: str) -> None:
        self.bar.set_postfix_str(progress)
        if self.bar.disable and time.monotonic() > self._progress_at + SECONDS_BETWEEN_LINES:
            say(f"{self.name}: {progress}")
            self._progress_at = time.monotonic()
