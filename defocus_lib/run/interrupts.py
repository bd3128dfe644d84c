"""Ctrl-C before a program can catch it: one sentence, and no traceback out of an import.

Nothing here imports anything large, because it is to be in force before what does. ``python -m
defocus_lib.run.interrupts MODULE ...`` runs another program so.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

CODE = 130  # 128 and the number of SIGINT, as shells say it


def is_verbose() -> bool:
    """Whether the user asks for tracebacks: VERBOSE=1 in the environment."""
    return os.environ.get("VERBOSE", "") not in ("", "0")


def end_at_once(importing_only: bool = False) -> None:
    """From now on Ctrl-C ends the program, which has begun nothing, in one sentence.

    With ``importing_only``, where a module is being imported: an exception out of one may be
    swallowed or turned into another. Elsewhere KeyboardInterrupt is raised as usual. With VERBOSE=1
    nothing is changed.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if importing_only and not _is_importing(frame):
            raise KeyboardInterrupt
        os.write(2, b"interrupted\n")
        os._exit(CODE)

    if not is_verbose():
        signal.signal(signal.SIGINT, end)


def _is_importing(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    end_at_once()
    import runpy

    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
