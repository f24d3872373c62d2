"""Removes files that are no longer used: replaced, deleted, or left behind by a crash."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from aiowandb_server.errors import DataFolderError
from aiowandb_server.store.own_files import check_kind

if TYPE_CHECKING:
    from pathlib import Path

    from aiowandb_server.store.database import Database

_RETIRED = re.compile(r"(segments|blobs)/\w[\w.-]*", re.ASCII)
# Longer than signed links are valid, so that every valid link has its file.
_GRACE_S = 2 * 3600.0

_KNOWN = """
    SELECT 'segments/' || token || '.columns.parquet' FROM segment
    UNION SELECT 'segments/' || token || '.lines.parquet' FROM segment
    UNION SELECT 'blobs/' || blob FROM file
    UNION SELECT 'blobs/' || blob FROM content
    UNION SELECT 'blobs/' || blob FROM manifest WHERE blob IS NOT NULL
    UNION SELECT path FROM retired_file
"""


def sweep(folder: Path, database: Database) -> None:
    """Remove files that were retired long enough ago, and old files that are not in the database.

    Recent unknown files are kept: another process may be about to register them. Raises
    DataFolderError for links, and whatever else is no file.
    """
    oldest_kept = time.time() - _GRACE_S
    with database.write() as connection:
        retired = connection.execute(
            "DELETE FROM retired_file WHERE retired_at < ? RETURNING path", (int(oldest_kept),)
        ).fetchall()
    # Other processes need not wait for this: what they store meanwhile is recent.
    with database.read() as connection:
        known = {path for (path,) in connection.execute(_KNOWN)}
    for (path,) in retired:
        if path not in known:
            if not _RETIRED.fullmatch(path):
                raise DataFolderError(f"{path!r} in the database is not a file of {folder}")
            (folder / path).unlink(missing_ok=True)
    for kind in ("segments", "blobs"):
        with os.scandir(folder / kind) as entries:
            for entry in entries:
                path = folder / kind / entry.name
                is_file = entry.is_file(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False) or not (is_file or os.path.lexists(path)):
                    continue
                # Clients would be sent what a link leads to, and would wait for a pipe.
                check_kind(path, is_right=is_file, kind="file")
                if f"{kind}/{entry.name}" not in known and path.stat().st_mtime < oldest_kept:
                    path.unlink(missing_ok=True)
