"""Makes the standard streams usable, whatever the command was started with.

A program may be started without some of them (`>&-`), and with an encoding that lacks most
characters (a POSIX locale).
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress


def prepare_streams() -> None:
    """Let every write to the standard streams succeed. Call it before any file is opened.

    Files that are opened get the lowest free number. If that were 1 or 2, what other libraries
    print would end up in them, such as in the journal of an export.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _open_nothing(number, name)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _open_nothing(number: int, name: str) -> None:
    mode = "r" if number == 0 else "w"
    descriptor = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    if descriptor != number and not _is_open(number):
        os.dup2(descriptor, number)
        os.close(descriptor)
        descriptor = number
    stream = os.fdopen(descriptor, mode, encoding="utf-8", errors="backslashreplace")
    setattr(sys, name, stream)


def _is_open(number: int) -> bool:
    with suppress(OSError):
        os.fstat(number)
        return True
    return False
