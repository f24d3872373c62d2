"""Where a file of W&B may lie in a folder of ours: inside it, whatever the file is called."""

from __future__ import annotations

import os
import re
from pathlib import Path

from aiowandb.errors import DownloadError

_DRIVE = re.compile(r"[A-Za-z]:")
# What Windows takes for a device, whatever the extension, and what it has no names with.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|con(in|out)\$) *(\.|$)", re.IGNORECASE
)
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\x00-\x1f]|[ .]$')


def inside(folder: Path, name: str, *, windows: bool = os.name == "nt") -> Path:
    """Where the file of this name lies in the folder, or a `DownloadError` if nowhere.

    Whoever writes to a run chooses the names of its files, and they are not to be trusted.

    >>> inside(Path("out"), "media/table.json").as_posix()
    'out/media/table.json'
    """
    if objection := _objection(name, windows):
        raise DownloadError(f"A file named {name!r} is refused: {objection}.", name=name)
    path = folder / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise DownloadError(
            f"A file named {name!r} is refused: a symbolic link in {folder} leads out of it.",
            name=name,
        )
    return path


def _objection(name: str, windows: bool) -> str | None:
    # A backslash separates on one system and not on the other, and should climb on neither.
    parts = name.replace("\\", "/").split("/")
    if parts[-1] in ("", "."):
        return "it names no file"
    if "\0" in name:
        return "it holds a NUL"
    if not parts[0] or _DRIVE.match(name):
        return "it is absolute or names a drive"
    if ".." in parts:
        return "it climbs out of the folder"
    if windows and any(_DEVICE.match(part) for part in parts):
        return "Windows reserves it for a device"
    if windows and any(_NOT_ON_WINDOWS.search(part) for part in parts if part != "."):
        return "Windows has no such names"
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return "it is not Unicode"
    return None
