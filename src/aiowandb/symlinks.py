"""Finds symbolic links in folders that somebody else may have prepared.

With a link, such a folder could make an export empty or overwrite a file elsewhere, and a restore
upload one. The folder itself may be a link, because the user has named it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePath

from aiowandb.errors import ExportError
from aiowandb.trees import walk

# For files that are opened after they were looked at. Windows has no such flag.
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def path_without_links(root: Path, name: str = "") -> Path:
    """The path of this file or folder below `root`, which need not exist.

    Raises ExportError if it, or a folder on the way to it, is a link or a device, and if the name
    leads out of `root`, as one may that somebody has written into the journal.

    >>> path_without_links(Path("out"), "history/part-00000.parquet").as_posix()
    'out/history/part-00000.parquet'
    """
    relative = PurePath(name)
    if relative.anchor or ".." in relative.parts or "\0" in name:
        raise ExportError(f"{name!r} is not the name of a file in {root}.")
    path = os.fspath(root)
    for part in relative.parts:
        path = os.path.join(path, part)
        try:
            mode = os.lstat(path).st_mode
        except OSError:  # it does not exist, or whoever uses it will report the error
            return root / name
        if stat.S_ISLNK(mode) or _is_junction(path):
            raise ExportError(
                f"{path} is a symbolic link, and the files of an export are in its own folder."
                " Remove the link, or use the folder that it leads to."
            )
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ExportError(f"{path} is neither a file nor a folder. Remove it.")
    return root / name


def files_without_links(folder: Path) -> list[Path]:
    """All files in the folder and its subfolders, sorted. Raises ExportError if one is a link."""
    found: list[Path] = []
    for name, entry in walk(folder):
        path = folder / name
        path_without_links(path.parent, path.name)
        if entry.is_file():
            found.append(path)
    return sorted(found)


def require_one_name(path: Path, found: os.stat_result) -> None:
    """Raise ExportError if the file has a second name, under which it would be changed as well."""
    if found.st_nlink > 1:
        raise ExportError(
            f"{path} is a hard link: it has a second name, as of a backup, and the file of that"
            " name would be changed, too. Replace it by a copy of its own."
        )


def _is_junction(path: str) -> bool:
    """Whether it is Windows' other kind of link; Python before 3.12 does not know it."""
    is_junction = getattr(os.path, "isjunction", None)
    return bool(is_junction and is_junction(path))
