"""Reading the small text files of settings, which somebody else may have put there.

A folder that came with somebody else's code may have a `wandb/settings` that is a pipe, which
would be waited for, or a link to a device or file without end.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from aiowandb.errors import UsageError

_MOST = 1 << 20
# Opening a pipe does not wait for somebody who writes into it. Windows has no such flag.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)


def read_text(path: Path) -> str | None:
    """The text of a file, or None if it is not there, or cannot be opened."""
    try:
        return text_in(path)
    except OSError:
        return None


def text_in(
    path: Path,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> str:
    """The text of a file.

    A device is taken for an empty file, as settings may be hidden by a link to /dev/null.
    """
    with open(path, encoding=encoding, errors=errors, newline=newline, opener=_opener) as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISCHR(mode):
            return ""
        check_kind(path, mode)
        text = file.read(_MOST + 1)
    check_size(path, len(text))
    return text


def named_text(path: Path) -> str:
    """The text of a file that a command names, which may be a pipe, as of `--job <(...)`."""
    with path.open(encoding="utf-8") as file:
        text = file.read(_MOST + 1)
    check_size(path, len(text))
    return text


def check_kind(path: Path, mode: int) -> None:
    """Raise unless it is a file."""
    if not stat.S_ISREG(mode):
        raise UsageError(f"Cannot read {path}: it is a pipe, and must be a file.")


def check_size(path: Path, size: int) -> None:
    """Raise if the file is too large for what a person has written."""
    if size > _MOST:
        raise UsageError(f"Cannot read {path}: it is larger than {_MOST >> 20} MB.")


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | _AT_ONCE)
