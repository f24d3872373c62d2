"""Tables of rows as a source: Parquet, CSV, JSON Lines, one run in each file or many in one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import RowError, ServerError, UsageError
from aiowandb.export.folders.base import plain_errors
from aiowandb.history.columns import rows_to_batch
from aiowandb.history.pages import column_values
from aiowandb.ingest.local_files import require_file_or_folder
from aiowandb.ingest.parquet_rows import ParquetRows, readable
from aiowandb.ingest.source import RunFacts, Source, SourceRun
from aiowandb.suggestions import did_you_mean
from aiowandb.wire import lenient
from aiowandb.wire.rows import STEP, TIME

_RUN_COLUMNS = ("run_id", "run", "_run")
_STEP_COLUMNS = (STEP, "step", "global_step")
_TIME_COLUMNS = (TIME, "timestamp", "wall_time")
_LINES_AT_ONCE = 10_000
_BYTES_AT_ONCE = 32 << 20
SUFFIXES = frozenset({".parquet", ".csv", ".jsonl", ".ndjson"})


class TableSource(Source):
    """The rows of a table, or of all tables in a folder.

    `run` is the column with the id of each row's run; without one, each file is a run. `step` and
    `time` are the columns with steps and with seconds since 1970; columns with common names are
    found automatically. The first values of the columns in `config` are the config of a run.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        run: str | None = None,
        step: str | None = None,
        time: str | None = None,
        config: Sequence[str] = (),
    ) -> None:
        self._path = Path(path)
        self.name = f"table {self._path.resolve()}"
        self._columns = {"run": run, "step": step, "time": time}
        self._config = tuple(config)
        # Other formats are converted to Parquet, which takes the space of the table on the disk.
        self._folder: TemporaryDirectory[str] | None = None
        self._files: list[Path] = []

    async def runs(self) -> AsyncGenerator[SourceRun]:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="aiowandb-")
            made = Path(self._folder.name)
            self._files = await run_sync(lambda: list(self._as_parquet(made)))
        chosen = self._chosen(await run_sync(_names, self._files))
        rows = ParquetRows(self._files, chosen["run"])
        await rows.index(self.memory)
        for run in rows.ranges:
            yield await self._run(run, rows, chosen)

    async def aclose(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            await run_sync(folder.cleanup)

    async def _run(self, run: str, rows: ParquetRows, chosen: dict[str, str | None]) -> TableRun:
        config: dict[str, Any] = {}
        async with aclosing(rows.batches(run)) as batches:
            async for batch in batches:
                for name in self._config:
                    if name in batch.schema.names and name not in config:
                        (value,) = column_values(batch.slice(0, 1), name)
                        if value is not None:
                            config[name] = value
                break
        return TableRun(RunFacts.of(run, config=config), rows, chosen, self._config)

    def _chosen(self, names: Sequence[str]) -> dict[str, str | None]:
        usual = {"run": _RUN_COLUMNS, "step": _STEP_COLUMNS, "time": _TIME_COLUMNS}
        found: dict[str, str | None] = {}
        for what, given in self._columns.items():
            if given is not None and given not in names:
                hint = did_you_mean(given, names)
                raise UsageError(f"{self._path} has no column {given!r}{hint or '.'}")
            found[what] = given or next((name for name in usual[what] if name in names), None)
        return found

    def _as_parquet(self, folder: Path) -> Iterator[Path]:
        """The files; other formats than Parquet are converted."""
        for number, path in enumerate(_tables(self._path)):
            if path.suffix == ".parquet":
                yield path
                continue
            batches = _csv(path) if path.suffix == ".csv" else _json_lines(path)
            for part, table in enumerate(batches):
                # Without a column of runs, each file is a run with the name of the file.
                made = folder / f"{number}-{part}" / f"{path.stem}.parquet"
                with plain_errors(made):
                    made.parent.mkdir()
                    pq.write_table(table, made)
                yield made


class TableRun(SourceRun):
    """The rows of one run."""

    def __init__(
        self,
        facts: RunFacts,
        rows: ParquetRows,
        columns: dict[str, str | None],
        config: Sequence[str],
    ) -> None:
        super().__init__(facts)
        self._rows = rows
        self._names = {columns["step"]: STEP, columns["time"]: TIME}
        self._config = frozenset(config)

    def estimate(self, stored: int) -> dict[str, int]:
        rows = max(0, self._rows.count(self.facts.id) - stored)
        return {"rows": rows, "requests": 5 + rows // 10_000}

    async def rows(self) -> AsyncGenerator[pa.RecordBatch]:
        last = -1
        async with aclosing(self._rows.batches(self.facts.id)) as batches:
            async for batch in batches:
                batch = batch.select([n for n in batch.schema.names if n not in self._config])
                batch = batch.rename_columns([self._names.get(n, n) for n in batch.schema.names])
                if STEP in batch.schema.names:
                    batch, last = _checked_steps(batch, last, self.facts.id)
                yield batch


def _checked_steps(batch: pa.RecordBatch, last: int, run: str) -> tuple[pa.RecordBatch, int]:
    """The batch with integer steps, which must not decrease."""
    place = batch.schema.get_field_index(STEP)
    try:
        steps = batch.column(place).cast(pa.int64())
    except pa.ArrowException as error:
        raise RowError(
            f"Run {run}: a step is not an integer: {error}", key=STEP, value=None
        ) from None
    for step in steps.to_pylist():
        if step is None or step < last:
            raise RowError(
                f"Run {run}: step {step} follows step {last}: sort the rows by run and step.",
                step=step,
                key=STEP,
                value=step,
            )
        last = step
    return batch.set_column(place, STEP, steps), last


def _tables(path: Path) -> list[Path]:
    if not path.exists():
        raise UsageError(f"{path} does not exist.")
    require_file_or_folder(path)
    found = sorted(path.iterdir()) if path.is_dir() else [path]
    found = [each for each in found if each.suffix in SUFFIXES]
    if not found:
        raise UsageError(f"{path} has no tables, whose names end in {', '.join(sorted(SUFFIXES))}.")
    for each in found:
        if not each.is_file():  # a pipe would be waited for
            raise UsageError(f"{each} is not a file. Move it away, or rename it.")
    return found


def _names(files: Sequence[Path]) -> list[str]:
    names: dict[str, None] = {}
    for path in files:
        with readable(path) as file:
            names |= dict.fromkeys(file.schema_arrow.names)
    return list(names)


def _csv(path: Path) -> Iterator[pa.Table]:
    """The table in pieces, each with types of its own, as the rows of JSON Lines have."""
    names: list[str] | None = None
    with path.open("rb") as file:
        while block := file.read(_BYTES_AT_ONCE):
            block += _rest_of_line(path, file)
            if names and not block.strip():
                continue
            options = pyarrow.csv.ReadOptions(column_names=names)
            try:
                table = pyarrow.csv.read_csv(BytesIO(block), read_options=options)
                names = table.column_names
            except (pa.ArrowException, UnicodeDecodeError) as error:
                raise RowError(
                    f"{path} cannot be read as CSV: {error}", key=None, value=None
                ) from error
            yield table


def _rest_of_line(path: Path, file: BinaryIO) -> bytes:
    line = file.readline(_BYTES_AT_ONCE)
    if len(line) == _BYTES_AT_ONCE:
        raise RowError(
            f"{path} has a line of more than {_BYTES_AT_ONCE >> 20} MB.", key=None, value=None
        )
    return line


def _lines(path: Path) -> Iterator[list[bytes]]:
    """The lines of a file in lists, each of a few MB."""
    lines: list[bytes] = []
    size = 0
    with path.open("rb") as file:
        while line := _rest_of_line(path, file):
            lines.append(line)
            size += len(line)
            if len(lines) == _LINES_AT_ONCE or size >= _BYTES_AT_ONCE:
                yield lines
                lines, size = [], 0
    if lines:
        yield lines


def _json_lines(path: Path) -> Iterator[pa.Table]:
    number = 0
    for lines in _lines(path):
        rows = []
        for line in lines:
            number += 1
            if not line.strip():
                continue
            try:
                rows.append(lenient.loads_object(line))
            except ServerError:
                text = line[:80].decode(errors="replace").strip()
                raise RowError(
                    f"{path}, line {number}: not a JSON object: {text}", key=None, value=text
                ) from None
        if rows:
            yield pa.Table.from_batches([rows_to_batch(rows, first=())])
