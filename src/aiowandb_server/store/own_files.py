"""The files of a data folder, which somebody else may have prepared: none leads out of it.

Through a link, the folder of uploads could be that of the user's documents, which would be removed
as files that no run has. The data folder itself may be a link, because the user has named it.
"""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

from aiowandb_server.errors import DataFolderError, RequestError

if TYPE_CHECKING:
    from pathlib import Path

_FOLDERS = frozenset({"segments", "blobs", "login-links"})
_DATABASE = frozenset(f"store.sqlite{end}" for end in ("", "-wal", "-shm", "-journal"))
OWN_NAMES = _FOLDERS | _DATABASE | {"local-key", "link-secret", "server-address"}
# The name of one file: no way to another folder.
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


def check_own_files(folder: Path) -> None:
    """Raise DataFolderError if a file of the data folder is a link, or of another kind."""
    for name in sorted(OWN_NAMES):
        path = folder / name
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if name in _FOLDERS:
            check_kind(path, is_right=stat.S_ISDIR(found.st_mode), kind="folder")
            continue
        check_kind(path, is_right=stat.S_ISREG(found.st_mode), kind="file")
        if found.st_nlink > 1:
            raise DataFolderError(
                f"{path} has a second name (it is a hard link), and the file of that name would"
                " be changed too. Replace it by a copy of its own, or remove it"
            )


def check_kind(path: Path, *, is_right: bool, kind: str) -> None:
    """Raise DataFolderError unless what is at the path is of this kind."""
    if not is_right:
        what = "a symbolic link" if path.is_symlink() else f"not a {kind}"
        raise DataFolderError(
            f"{path} is {what}, and must be a {kind} in the data folder itself. Remove it"
        )


def path_in(folder: Path, name: str) -> Path:
    """The file of this name in the folder. The names are those in the database."""
    if not _NAME.fullmatch(name):
        raise RequestError(f"{name!r} in the database is not the name of a file in {folder}", 500)
    return folder / name
