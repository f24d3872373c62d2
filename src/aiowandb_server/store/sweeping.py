"""Removes files that are no longer used: replaced, deleted, or left behind by a crash."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from aiowandb_server.store.database import Database

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

    Recent unknown files are kept: another process may be about to register them.
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
            (folder / path).unlink(missing_ok=True)
    for kind in ("segments", "blobs"):
        for file in (folder / kind).iterdir():
            if f"{kind}/{file.name}" not in known and file.stat().st_mtime < oldest_kept:
                file.unlink(missing_ok=True)
