"""Files of runs: store, list by name or pattern, delete."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from posixpath import normpath
from typing import TYPE_CHECKING

import orjson

from aiowandb_server.errors import RequestError
from aiowandb_server.store.records import ListPage
from aiowandb_server.text_limits import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aiowandb_server.store.database import Database
    from aiowandb_server.store.disk import Blob, Blobs
    from aiowandb_server.store.records import RunRow


@dataclass(frozen=True, slots=True)
class RunFile:
    id: int
    run_id: int
    name: str
    blob: str
    size: int
    md5: str
    updated_at: int

    @property
    def mimetype(self) -> str:
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"


class FileTable:
    def __init__(self, database: Database, blobs: Blobs, clock: Callable[[], float]) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock

    def add(self, run: RunRow, name: str, data: bytes) -> RunFile:
        """Store `data` under `name`, replacing an existing file."""
        return self.register(run, name, self._blobs.add(data))

    def register(self, run: RunRow, name: str, blob: Blob) -> RunFile:
        """Store uploaded content as a file of the run."""
        check_name(name)
        with self._database.write() as connection:
            row = connection.execute(
                """
                INSERT INTO file (run_id, name, blob, size, md5, updated_at)
                VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET blob = excluded.blob, size = excluded.size,
                                          md5 = excluded.md5, updated_at = excluded.updated_at
                RETURNING *
                """,
                (run.id, normpath(name), blob.token, blob.size, blob.md5, int(self._clock())),
            ).fetchone()
        return RunFile(*row)

    def get(self, run: RunRow, name: str) -> RunFile | None:
        page = self.page(run, names=[name], first=1)
        return page.items[0] if page.items else None

    def page(
        self,
        run: RunRow,
        *,
        names: Sequence[str] = (),
        pattern: str | None = None,
        first: int = 50,
        after: str | None = None,
    ) -> ListPage[RunFile]:
        """Files sorted by name, only those in `names` or LIKE `pattern` if these are given.

        `./a` and `a` are the same name.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                """
                SELECT * FROM file
                WHERE run_id = :run AND name > :after
                  AND (:all_names OR name IN (SELECT value FROM json_each(:names)))
                  AND (:pattern IS NULL OR name LIKE :pattern ESCAPE '\\')
                ORDER BY name LIMIT :limit
                """,
                {
                    "run": run.id,
                    "after": after or "",
                    "all_names": not names,
                    "names": orjson.dumps([normpath(name) for name in names]).decode(),
                    "pattern": pattern,
                    "limit": first + 1,
                },
            ).fetchall()
        files = [RunFile(*row) for row in rows[:first]]
        return ListPage(files, [file.name for file in files], len(rows) > first)

    def count(self, run: RunRow) -> int:
        with self._database.read() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM file WHERE run_id = ?", (run.id,)
            ).fetchone()
        return int(count)

    def by_id(self, file_id: int) -> RunFile | None:
        with self._database.read() as connection:
            row = connection.execute("SELECT * FROM file WHERE id = ?", (file_id,)).fetchone()
        return RunFile(*row) if row else None

    def delete(self, file_ids: Sequence[int]) -> None:
        with self._database.write() as connection:
            connection.executemany("DELETE FROM file WHERE id = ?", [(i,) for i in file_ids])

    def path(self, file: RunFile) -> Path:
        return self._blobs.path(file.blob)


def check_name(name: str) -> None:
    """Refuse names that would lead outside of the folder to which a client downloads the file."""
    parts = name.replace("\\", "/").split("/")
    if not name or "\0" in name or ".." in parts or parts[0] == "" or len(name) > MAX_NAME:
        raise RequestError(
            f"{name[:80]!r} is not a valid file name: it must be a relative path without '..'"
        )
