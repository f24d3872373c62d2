"""The path of a downloaded file, which is always inside the folder; the content of a local one."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from pathlib import Path
from unicodedata import normalize

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import DownloadError

_PIECE = 1 << 20
_DRIVE = re.compile(r"[A-Za-z]:")
# Names that Windows reserves for devices, with any extension, and characters that it forbids.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|con(in|out)\$) *(\.|$)", re.IGNORECASE
)
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\x00-\x1f]|[ .]$')


def path_inside(folder: Path, name: str, *, windows: bool = os.name == "nt") -> Path:
    """The path of the file of this name in the folder, or a `DownloadError` if it is not inside.

    The names of files are chosen by those who write to a run, and cannot be trusted.

    >>> path_inside(Path("out"), "media/table.json").as_posix()
    'out/media/table.json'
    """
    if problem := _problem_with(name, windows):
        raise DownloadError(f"A file named {name!r} is refused: {problem}.", name=name)
    path = folder / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise DownloadError(
            f"A file named {name!r} is refused: a symbolic link in {folder} leads out of it.",
            name=name,
        )
    return path


def is_device(name: str) -> bool:
    """Whether Windows reserves the name for a device, like `con` or `nul.txt`."""
    return bool(_DEVICE.match(name))


def _problem_with(name: str, windows: bool) -> str | None:
    # A backslash is a separator on some systems only, and must not lead out of the folder on any.
    parts = name.replace("\\", "/").split("/")
    if parts[-1] in ("", "."):
        return "it is not the name of a file"
    if "\0" in name:
        return "it has a NUL character"
    if not parts[0] or _DRIVE.match(name):
        return "it is absolute or names a drive"
    if ".." in parts:
        return "it leads out of the folder"
    if windows and any(map(is_device, parts)):
        return "Windows reserves it for a device"
    if windows and any(_NOT_ON_WINDOWS.search(part) for part in parts if part != "."):
        return "Windows does not allow it"
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return None


def require_distinct(paths: Iterable[Path]) -> None:
    """Raise a `DownloadError` if two downloaded files are one, of which only one content is left.

    That is so for names that differ in case only, or in the way accents are written, if the
    file system does not distinguish them: on Windows, macOS, and shares of either.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(normalize("NFC", str(path)).casefold(), path)
        if other != path and _are_one(path, other):
            raise DownloadError(
                f"{path} and {other.name} are one file on this file system, which does not"
                " distinguish their names: download them into different folders.",
                name=path.name,
            )


def _are_one(path: Path, other: Path) -> bool:
    if not (path.exists() and other.exists()):
        return False
    if path.samefile(other):
        return True
    # Not all file systems give a file one number: but only one of the names is in the folder.
    return not (_is_listed(path, other.parents) and _is_listed(other, path.parents))


def _is_listed(path: Path, common: Sequence[Path]) -> bool:
    """Whether all parts of the path that the other one does not have are spelt so on the disk."""
    for part in (path, *path.parents):
        if part in common:
            return True
        if part.name not in os.listdir(part.parent):
            return False
    return True


async def pieces_of(path: Path) -> AsyncGenerator[bytes]:
    """The content of a local file."""

    def piece_at(start: int) -> bytes:
        # Opened for each piece: a reader that stops early does not always close the generator.
        with path.open("rb") as file:
            file.seek(start)
            return file.read(_PIECE)

    start = 0
    while piece := await run_sync(piece_at, start):
        yield piece
        start += len(piece)
