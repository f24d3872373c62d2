"""The folder of an export as a source: Parquet tables, files and artifacts of runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import ExportError
from aiowandb.export.claim import JOURNAL
from aiowandb.export.folders.base import read_errors
from aiowandb.export.journal import Begun, decode_record
from aiowandb.export.names import SWEEPS_FILE
from aiowandb.export.originals import ORIGINALS_FILE
from aiowandb.export.runs_table import EXPORTED, RUNS_FILE
from aiowandb.files.folder import path_inside
from aiowandb.history.pages import column_values
from aiowandb.ingest.exported_artifacts import ExportedArtifacts, used_source_artifact
from aiowandb.ingest.facts import dotted_keys, machine_of
from aiowandb.ingest.lines import json_lines
from aiowandb.ingest.local_files import lines_of, local_file
from aiowandb.ingest.mark import without_mark
from aiowandb.ingest.parquet_rows import ParquetRows, batches_of, readable
from aiowandb.ingest.source import RunFacts, Source, SourceArtifact, SourceFile, SourceRun
from aiowandb.net import MemoryBudget
from aiowandb.symlinks import files_without_links, path_without_links
from aiowandb.trees import entries_of
from aiowandb.wire.console import ConsoleLogLine
from aiowandb.wire.copying import SweepFacts
from aiowandb.wire.dotted import split_name

_RUN = "run_id"
_RUNS_AT_ONCE = 256
_LONGEST_LINE = 16 << 20
# The files in which W&B's client saves the console output of a run.
_CONSOLE = "output.log"

# What an export lacks of a run, by what its table of runs says of a kind of data.
_LACKING = {
    "sampled": "rows that are not in the sample of the export",
    "selected": "what the options of the export did not select",
    "failed": "what the export could not read",
}
_RESTORED = ("history", "system", "logs", "files", "artifacts")

# Config, summary and description of a run, as W&B returned them.
_Original = tuple[str | None, str | None, str | None]


class ExportSource(Source):
    """The runs in the folder of an export."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._table = path_without_links(folder, RUNS_FILE)
        begun = _begun(folder)
        # A folder may be moved, and still has the same runs.
        place = f"{begun.identity.host}/{begun.identity.project}" if begun else folder.resolve()
        self.name = f"export of {place}"
        self._is_long = bool(begun and begun.options.layout == "long")
        self._history = ParquetRows(_parts(folder, "history"), _RUN)
        self._system = ParquetRows(_parts(folder, "system"), _RUN)
        self._logs = ParquetRows(_parts(folder, "logs"), _RUN)
        self._artifacts = ExportedArtifacts(folder)

    async def count(self) -> int | None:
        if not await anyio.Path(self._folder).is_dir():
            raise ExportError(f"{self._folder} is not a folder, and has no export.")
        if not await anyio.Path(self._table).is_file():
            raise ExportError(
                f"{self._folder} has no {RUNS_FILE}: only exports in Parquet with the table of"
                " runs, which `what` includes by default, can be restored."
            )
        if self._is_long:
            raise ExportError(
                f"{self._folder} was exported with layout='long', which cannot be restored:"
                " export again with layout='wide'."
            )
        return int((await run_sync(_metadata, self._table)).num_rows)

    async def runs(self) -> AsyncGenerator[SourceRun]:
        await self.count()
        for rows in (self._history, self._system, self._logs):
            await rows.index(self.memory)
        await run_sync(self._artifacts.index)
        pages = self._pages()
        while (page := await run_sync(next, pages, None)) is not None:
            for row, original in page:
                yield await run_sync(self._run, row, original)

    async def sweep(self, sweep_id: str) -> SweepFacts | None:
        table = path_without_links(self._folder, SWEEPS_FILE)
        return await run_sync(_sweep, table, sweep_id, self.memory) if table.is_file() else None

    def _pages(self) -> Iterator[list[tuple[dict[str, Any], _Original | None]]]:
        """The rows of the table of runs with their original records, in lists."""
        originals = _Originals(path_without_links(self._folder, ORIGINALS_FILE), self.memory)
        with readable(self._table) as file:
            for batch in batches_of(file, self._table, self.memory, most_rows=_RUNS_AT_ONCE):
                columns = {name: column_values(batch, name) for name in batch.schema.names}
                rows = [
                    {name: values[index] for name, values in columns.items()}
                    for index in range(batch.num_rows)
                ]
                yield [(row, originals.of(str(row[_RUN]))) for row in rows]

    def _run(self, row: Mapping[str, Any], original: _Original | None) -> SourceRun:
        # Those who made the folder have chosen the names of the runs.
        files = path_inside(self._folder / "files", str(row[_RUN]))
        run = ExportedRun(
            _facts(row, original),
            path_without_links(self._folder, files.relative_to(self._folder).as_posix()),
            self._history,
            self._system,
            self._logs,
            self._artifacts,
        )
        run.dropped = tuple(
            f"{kind}: {_LACKING[found]}"
            for kind in _RESTORED
            if (found := row.get(f"{EXPORTED}{kind}")) in _LACKING
        )
        return run


class ExportedRun(SourceRun):
    """A run in an export."""

    def __init__(
        self,
        facts: RunFacts,
        files: Path,
        history: ParquetRows,
        system: ParquetRows,
        logs: ParquetRows,
        artifacts: ExportedArtifacts,
    ) -> None:
        super().__init__(facts)
        self._files = files
        self._history = history
        self._system = system
        self._logs = logs
        self._artifacts = artifacts
        made, used = artifacts.of(facts.id), artifacts.used_by(facts.id)
        self.literal_keys = dotted_keys(facts.summary)
        self.has_artifacts = bool(made or used)
        with read_errors(files):
            found = [(path, path.stat()) for path in files_without_links(files)]
        self._sizes = {path: stat.st_size for path, stat in found}
        rows = [history.count(facts.id), system.count(facts.id)]
        if logs.count(facts.id):  # copies of exports without them keep their stamp
            rows.append(logs.count(facts.id))
        times = [(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in found]
        more = [[each.id for each in used]] if used else []  # as above
        versions = [(each.id, each.aliases) for each in made]
        self.stamp = facts.stamp(rows, times, versions, *more)

    def estimate(self, stored: int) -> dict[str, int]:
        rows = max(0, self._history.count(self.facts.id) - stored)
        size, files = sum(self._sizes.values()), len(self._sizes)
        requests = 6 + rows // 10_000 + files
        return {"rows": rows, "files": files, "bytes": size, "requests": requests}

    def rows(self) -> AsyncGenerator[pa.RecordBatch]:
        return self._history.batches(self.facts.id)

    async def system_metrics(self) -> AsyncGenerator[Sequence[str]]:
        async with aclosing(self._system.batches(self.facts.id)) as batches:
            async for batch in batches:
                # The dots in their keys do not mean nested keys.
                yield await run_sync(json_lines, batch, frozenset(batch.schema.names))

    async def console(self) -> AsyncGenerator[Sequence[ConsoleLogLine]]:
        if self._logs.count(self.facts.id):
            # With the times of the lines, which the file does not have.
            async with aclosing(self._logs.batches(self.facts.id)) as batches:
                async for batch in batches:
                    yield await run_sync(_log_lines, batch)
            return
        log = self._files / _CONSOLE
        if log in self._sizes:
            async with aclosing(lines_of(log)) as pages:
                async for lines in pages:
                    yield lines

    async def files(self) -> AsyncGenerator[SourceFile]:
        for path in self._sizes:
            yield await local_file(path, path.relative_to(self._files).as_posix())

    async def artifacts(self) -> AsyncGenerator[SourceArtifact]:
        for artifact in self._artifacts.of(self.facts.id):
            yield self._artifacts.source_artifact(artifact)

    async def used_artifacts(self) -> AsyncGenerator[SourceArtifact]:
        for used in self._artifacts.used_by(self.facts.id):
            yield used_source_artifact(used)


def _sweep(table: Path, sweep_id: str, memory: MemoryBudget) -> SweepFacts | None:
    columns = ["sweep", "config", "name", "description", "state"]
    with readable(table) as file:
        for batch in batches_of(file, table, memory, columns):
            for row in batch.to_pylist():
                if row["sweep"] == sweep_id:
                    return SweepFacts(row["config"], row["name"], row["description"], row["state"])
    return None


def _log_lines(batch: pa.RecordBatch) -> list[ConsoleLogLine]:
    """Lines of the table of console output; a column without values is not in the batch."""
    return [
        ConsoleLogLine(
            row["line"],
            time.astimezone(UTC) if (time := row.get("time")) else None,
            row.get("level") or "",
            row.get("label") or "",
            row.get("text") or "",
        )
        for row in batch.to_pylist()
    ]


class _Originals:
    """The originals of the runs, read along with the table of runs, which has the same order."""

    def __init__(self, path: Path, memory: MemoryBudget) -> None:
        self._pages = _original_pages(path, memory) if path.is_file() else iter(())
        self._waiting: dict[str, _Original] = {}

    def of(self, run: str) -> _Original | None:
        while run not in self._waiting and (page := next(self._pages, None)):
            self._waiting |= page
        return self._waiting.pop(run, None)


def _original_pages(path: Path, memory: MemoryBudget) -> Iterator[dict[str, _Original]]:
    names = [_RUN, *_ORIGINAL_COLUMNS]
    with readable(path) as file:
        for batch in batches_of(file, path, memory, names, most_rows=_RUNS_AT_ONCE):
            columns = [batch.column(name).to_pylist() for name in names]
            yield {run: tuple(rest) for run, *rest in zip(*columns, strict=True)}


_ORIGINAL_COLUMNS = ("config", "summary", "description")


def _facts(row: Mapping[str, Any], original: _Original | None) -> RunFacts:
    facts = RunFacts.of(
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
        sweep=row.get("sweep"),
        created_at=row.get("created_at"),
        heartbeat_at=row.get("heartbeat_at"),
        username=row.get("user"),
    )
    if original is None:
        return facts
    config, summary, description = original
    machine = machine_of(config or "{}")
    return msgspec.structs.replace(
        facts,
        config=without_mark(config or "{}"),
        summary=summary or "{}",
        description=description,
        host=machine.get("host"),
        program=machine.get("program"),
    )


def _nested(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The values of the columns with this prefix, as nested objects."""
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


def _begun(folder: Path) -> Begun | None:
    """The options of the export, if its journal exists."""
    try:
        with path_without_links(folder, JOURNAL).open("rb") as file:
            record = decode_record(file.readline(_LONGEST_LINE))
    except (OSError, msgspec.MsgspecError):
        return None
    return record if isinstance(record, Begun) else None


def _metadata(path: Path) -> pq.FileMetaData:
    with readable(path) as file:
        return file.metadata


def _parts(folder: Path, dataset: str) -> list[Path]:
    home = path_without_links(folder, dataset)
    with read_errors(home):  # `glob` takes a folder that cannot be read for an empty one
        names = sorted(name for name, _ in entries_of(home)) if folder.is_dir() else []
    return [path_without_links(home, name) for name in names if name.endswith(".parquet")]
