"""The tables that runs have logged, a table of the export per key, and those in artifacts.

The index of media says where they are. The file of a run may be cut off, and has only the names of
classes in place of images and the like: the artifact of the same table has all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from io import BytesIO
from typing import Any, ClassVar
from zlib import crc32

import anyio
import msgspec
import pyarrow as pa

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import CommError, LinkError, NotFoundError, ServerError
from aiowandb.export.names import LOGGED_TABLES, logged_table
from aiowandb.export.row_source import RowSource
from aiowandb.export.schema import RUN_ID, RowSchema
from aiowandb.export.stored import RunSnapshot
from aiowandb.export.tables.table_files import ARTIFACT, TableRows, read_table
from aiowandb.files.artifact_reader import ArtifactReader
from aiowandb.files.lookup import find_files
from aiowandb.history.concurrent import RunBatches
from aiowandb.history.grouped import scan_grouped
from aiowandb.history.pages import Page, RowsPage
from aiowandb.history.reading import Start
from aiowandb.net import BatchSize, Session
from aiowandb.paths import RunRef
from aiowandb.redaction import Link
from aiowandb.wire.files import FileRecord
from aiowandb.wire.manifest import ArtifactFileRef
from aiowandb.wire.rows import STEP

_TYPES = frozenset(
    {
        "table-file",
        "incremental-table-file",
        "table",
        "joined-table",
        "partitioned-table",
    }
)
# A table may have hundreds of thousands of rows, and is in memory as a whole.
_TABLES_AT_ONCE = 4
# Of an incremental table, W&B counts the rows of all increments.
_COUNTED = "table-file"


class TableSchema(RowSchema):
    """The run, the step or the artifact, and the columns of the table."""

    fixed: ClassVar[Sequence[pa.Field[Any]]] = (
        *RowSchema.fixed,
        pa.field(ARTIFACT, pa.string()),
    )


class LoggedTable(msgspec.Struct, frozen=True, gc=False):
    """A table as the index of media has it."""

    step: int | None
    type: str
    path: str | None
    sha256: str | None
    artifact_path: str | None
    artifact: str | None
    rows: int | None
    md5: str | None = None


# By key, then by the id of the run.
TablesByKey = Mapping[str, Mapping[str, Sequence[LoggedTable]]]


def is_table(called: str) -> bool:
    """Whether W&B gives this name to tables."""
    return called in _TYPES


def tables_in(batches: Iterable[pa.RecordBatch]) -> TablesByKey:
    """The tables in the index of media."""
    found: dict[str, dict[str, list[LoggedTable]]] = {}
    for batch in batches:
        names = ("type", RUN_ID, "key", STEP, *LoggedTable.__struct_fields__[2:])
        columns = [batch.column(name).to_pylist() for name in names]
        for kind, run, key, step, *rest in zip(*columns, strict=True):
            if kind in _TYPES:
                tables = found.setdefault(key, {}).setdefault(run, [])
                tables.append(LoggedTable(step, kind, *rest))
    return found


def table_sources(
    tables: TablesByKey, runs: Collection[RunRef], known: Iterable[str]
) -> list[RowSource]:
    """A source for each key; those of the `known` names that no run has any more are empty."""
    sources = [_source(key, tables[key], runs) for key in sorted(tables)]
    gone = set(known).difference(source.name for source in sources)
    gone = {name for name in gone if name.startswith(f"{LOGGED_TABLES}/")}
    return sources + [_named(name, {}, {}) for name in sorted(gone)]


def _source(
    key: str, tables: Mapping[str, Sequence[LoggedTable]], runs: Collection[RunRef]
) -> RowSource:
    found = {ref: tables[ref.run] for ref in runs if ref.run in tables}
    snapshots = {
        # Nothing but the tables themselves matters: they do not change once they were logged.
        ref: RunSnapshot(
            ref.run,
            "",
            sum(table.rows or 1 for table in logged),
            crc32(msgspec.json.encode(logged)),
        )
        for ref, logged in found.items()
    }
    return _named(logged_table(key), snapshots, found)


def _named(
    name: str,
    runs: Mapping[RunRef, RunSnapshot],
    tables: Mapping[RunRef, Sequence[LoggedTable]],
) -> RowSource:
    def read(
        session: Session, starts: Mapping[RunRef, Start]
    ) -> AbstractAsyncContextManager[AsyncIterator[RunBatches]]:
        reader = _TableReader(session, tables)
        expected = {ref: runs[ref].estimated_rows for ref in starts}
        return scan_grouped(session, expected, reader.ask, reader.pages)

    return RowSource(name, runs, TableSchema(), read)


class _TableReader:
    """Reads the tables of one key, whose files are looked up for many runs at once."""

    def __init__(self, session: Session, tables: Mapping[RunRef, Sequence[LoggedTable]]) -> None:
        self._session = session
        self._tables = tables
        self._artifacts = ArtifactReader(session)
        self._at_once = anyio.Semaphore(_TABLES_AT_ONCE)

    async def ask(
        self, session: Session, refs: Sequence[RunRef], size: BatchSize
    ) -> list[Mapping[str, FileRecord] | CommError]:
        wanted = {
            ref: sorted({table.path for table in self._tables[ref] if table.path}) for ref in refs
        }
        found = await find_files(session, wanted, size)
        return [found[ref] for ref in refs]

    async def pages(self, ref: RunRef, files: Mapping[str, FileRecord]) -> AsyncGenerator[Page]:
        for table in self._tables[ref]:
            async with self._at_once:
                found = await self._read(ref, table, files)
                batch = await run_sync(partial(found.batch, table.step, table.artifact))
            yield RowsPage(batch, batch.num_rows)

    async def _read(
        self, ref: RunRef, table: LoggedTable, files: Mapping[str, FileRecord]
    ) -> TableRows:
        file = files.get(table.path or "")
        if file is None and table.artifact_path is None:
            raise NotFoundError(f"Run {ref} has no file {table.path}, which it logged as a table.")
        found = await self._of_run(ref, table, file) if file else None
        if found is None or table.artifact_path is None:
            return found or await self._of_artifact(table.artifact_path or "")
        if table.type == _COUNTED and len(found.rows) < (table.rows or 0):
            return await self._of_artifact(table.artifact_path)
        if found.stand_ins:
            return found.with_media_of(await self._of_artifact(table.artifact_path))
        return found

    async def _of_run(self, ref: RunRef, table: LoggedTable, file: FileRecord) -> TableRows:
        try:
            content = await self._download(file)
        except LinkError:  # it has expired while other tables were read
            again = (await find_files(self._session, {ref: [file.name]}, BatchSize(1, 1)))[ref]
            if isinstance(again, CommError) or file.name not in again:
                raise
            content = await self._download(again[file.name])
        if table.sha256 and hashlib.sha256(content).hexdigest() != table.sha256:
            raise ServerError(f"{file.name} of run {ref} is not the table that was logged.")

        async def none(name: str) -> bytes:
            raise NotFoundError(f"{file.name} of run {ref} refers to {name}.")

        async def no_files(_: str) -> list[str]:
            return []

        return await read_table(content, file.name, none, no_files)

    async def _download(self, file: FileRecord) -> bytes:
        if file.url is None:
            raise NotFoundError(f"W&B sent no link to {file.name}.")
        content = BytesIO()
        await self._session.download(Link(file.url), content)
        return content.getvalue()

    async def _of_artifact(self, reference: str) -> TableRows:
        artifacts = self._artifacts
        place = await artifacts.find(await artifacts.locate(reference))

        async def read(name: str) -> bytes:
            other = await artifacts.find(ArtifactFileRef(place.artifact_id, name))
            return await artifacts.read(other)

        async def files_in(folder: str) -> list[str]:
            entries = (await artifacts.manifest(place.artifact_id)).entries
            return [name for name in entries if name.startswith(f"{folder}/")]

        return await read_table(await artifacts.read(place), place.name, read, files_in)
