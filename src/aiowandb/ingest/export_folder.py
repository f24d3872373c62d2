"""What `runs.export` has written, as a source: Parquet tables, and the runs' files."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pyarrow.parquet as pq

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import ExportError
from aiowandb.history.pages import column_values
from aiowandb.ingest.lines import json_lines
from aiowandb.ingest.parquet_rows import ParquetRows
from aiowandb.ingest.source import RunFacts, Source, SourceFile, SourceRun
from aiowandb.wire.dotted import split_name

if TYPE_CHECKING:
    import pyarrow as pa

_RUN = "run_id"
_PIECE = 1 << 20
_RUNS_AT_ONCE = 256


class ExportSource(Source):
    """The runs of an export's folder."""

    def __init__(self, folder: Path) -> None:
        self.name = f"export {folder.resolve()}"
        self._folder = folder
        self._table = folder / "runs.parquet"
        self._history = ParquetRows(_files(folder / "history"), _RUN)
        self._system = ParquetRows(_files(folder / "system"), _RUN)

    async def count(self) -> int | None:
        if not await anyio.Path(self._table).is_file():
            raise ExportError(
                f"{self._folder} has no runs.parquet: only exports in Parquet with the table of"
                " runs, as `what` has by default, can be restored."
            )
        metadata = await run_sync(pq.read_metadata, self._table)
        return int(metadata.num_rows)

    async def runs(self) -> AsyncGenerator[SourceRun]:
        await self.count()
        await self._history.index()
        await self._system.index()
        file = await run_sync(pq.ParquetFile, self._table)
        batches = file.iter_batches(_RUNS_AT_ONCE)
        while (batch := await run_sync(next, batches, None)) is not None:
            columns = {name: column_values(batch, name) for name in batch.schema.names}
            for index in range(batch.num_rows):
                row = {name: values[index] for name, values in columns.items()}
                yield ExportedRun(self._folder, row, self._history, self._system)


class ExportedRun(SourceRun):
    """A run of an export."""

    def __init__(
        self, folder: Path, row: Mapping[str, Any], history: ParquetRows, system: ParquetRows
    ) -> None:
        super().__init__(_facts(row))
        self._files = folder / "files" / self.facts.id
        self._history = history
        self._system = system

    def estimate(self, stored: int) -> dict[str, int]:
        rows = max(0, self._history.count(self.facts.id) - stored)
        return {"rows": rows, "requests": 6 + rows // 10_000}

    def rows(self) -> AsyncGenerator[pa.RecordBatch]:
        return self._history.batches(self.facts.id)

    async def system_metrics(self) -> AsyncGenerator[Sequence[str]]:
        async with aclosing(self._system.batches(self.facts.id)) as batches:
            async for batch in batches:
                # Their keys have dots, and are no nests.
                yield await run_sync(json_lines, batch, frozenset(batch.schema.names))

    async def files(self) -> AsyncGenerator[SourceFile]:
        for path in await run_sync(_below, self._files):
            yield await local_file(path, path.relative_to(self._files).as_posix())


async def local_file(path: Path, name: str) -> SourceFile:
    """A file of this machine, to be uploaded under this name."""

    async def content() -> AsyncIterator[bytes]:
        async with await anyio.open_file(path, "rb") as file:
            while piece := await file.read(_PIECE):
                yield piece

    def digest() -> str:
        found = md5(usedforsecurity=False)
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                found.update(piece)
        return found.hexdigest()

    size = (await anyio.Path(path).stat()).st_size
    return SourceFile(name, size, await run_sync(digest), content)


def _facts(row: Mapping[str, Any]) -> RunFacts:
    return RunFacts.of(
        str(row[_RUN]),
        config=_nested(row, "config."),
        summary=_nested(row, "summary."),
        name=row.get("name"),
        state=row.get("state"),
        tags=tuple(row.get("tags") or ()),
        notes=row.get("notes"),
        group=row.get("group"),
        job_type=row.get("job_type"),
        commit=row.get("commit"),
        created_at=row.get("created_at"),
        heartbeat_at=row.get("heartbeat_at"),
        username=row.get("user"),
    )


def _nested(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The values of the columns with this prefix, in the objects that they were in."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if name.startswith(prefix) and value is not None:
            *above, last = split_name(name.removeprefix(prefix))
            place = found
            for key in above:
                below = place.setdefault(key, {})
                if not isinstance(below, dict):
                    break
                place = below
            else:
                place[last] = value
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
