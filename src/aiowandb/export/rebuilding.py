"""The state of an export, made again from its tables when no journal of it can be read.

A run in a file is complete if it has as many rows as W&B counts now, up to the same last step. All
others are read again. All calls block.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.errors import ExportError, TooLargeError
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.journal import (
    VERSION,
    Begun,
    Committed,
    ExportIdentity,
    ExportState,
    Restored,
    Widened,
)
from aiowandb.export.names import all_datasets
from aiowandb.export.options import ExportOptions
from aiowandb.export.parquet import bounded_rows, open_parquet
from aiowandb.export.schema import RUN_ID, RowSchema
from aiowandb.export.stored import Part, RunSnapshot, StoredRun
from aiowandb.history.columns import Kind, kind_of, meet
from aiowandb.wire.rows import STEP

_HISTORY = "history"


class _RowsOfRun(NamedTuple):
    """The rows of a run in a file, and its last step."""

    run: str
    rows: int
    last_step: int


class _FoundTable(NamedTuple):
    """A file with the rows of runs."""

    name: str
    size: int
    schema: pa.Schema
    runs: Sequence[_RowsOfRun]


def rebuilt_state(
    folder: Folder,
    identity: ExportIdentity,
    options: ExportOptions,
    listed: Mapping[str, RunSnapshot],
) -> ExportState:
    """The state that the files in the folder give; `listed` are the runs as W&B has them now."""
    state = ExportState()
    token = secrets.token_hex(4) if options.format == "delta" else ""
    state.apply(Begun(VERSION, identity, options.continuing(None), token, sealed=True))
    for dataset in all_datasets(folder, ()):
        home = dataset if options.publishes_parts else f"{STATE_DIR}/{dataset}"
        names = [name for name in folder.files(home) if name.endswith(".parquet")]
        if dataset == _HISTORY and names:
            found = [file for name in sorted(names) if (file := _read(folder, home, name))]
            _check_same_runs(folder, found, listed)
            _restore(state, found, options, listed)
        if names:
            # Those that are no parts are removed when the dataset is opened.
            restored = state.dataset(dataset)
            state.apply(
                Restored(
                    dataset,
                    restored.schema_number,
                    restored.next_number,
                    restored.kinds,
                    restored.clashes,
                    tuple(names),
                )
            )
    return state


def _check_same_runs(
    folder: Folder, found: Sequence[_FoundTable], listed: Mapping[str, RunSnapshot]
) -> None:
    runs = [rows.run for file in found for rows in file.runs]
    if runs and listed.keys().isdisjoint(runs):
        raise ExportError(
            f"{folder} has rows of other runs, such as {runs[0]}, and no journal that says whose"
            " they are. Export into another folder."
        )


def _restore(
    state: ExportState,
    found: Sequence[_FoundTable],
    options: ExportOptions,
    listed: Mapping[str, RunSnapshot],
) -> None:
    """Make the files parts of the history again."""
    if options.layout == "long":
        return  # the number of a run's rows says nothing about them
    kinds: dict[str, Kind] = {}
    for file in found:
        for field in file.schema:
            kinds[field.name] = meet(kinds.get(field.name, Kind.NULL), kind_of(field))
    schema = RowSchema(kinds)
    state.apply(Widened(_HISTORY, schema.kinds))
    for number, file in enumerate(found):
        runs = tuple(_stored(rows, options, listed.get(rows.run)) for rows in file.runs)
        is_same = file.schema.equals(schema.arrow)
        # A part with other columns is written again.
        part = Part(number, file.name, int(is_same), file.size, runs)
        state.apply(Committed(_HISTORY, part))


def _stored(rows: _RowsOfRun, options: ExportOptions, listed: RunSnapshot | None) -> StoredRun:
    has_all_rows = not (options.samples or set(options.selecting).difference({"exclude"}))
    if (
        listed is not None
        and has_all_rows
        and (listed.lines, listed.last_step) == (rows.rows, rows.last_step)
    ):
        return StoredRun(listed, rows.rows, rows.rows)
    return StoredRun(RunSnapshot(rows.run, "", None, rows.last_step), rows.rows)


def _read(folder: Folder, home: str, name: str) -> _FoundTable | None:
    """What a file has; None if it cannot be read, or has other rows than an export's."""
    try:
        with open_parquet(folder, f"{home}/{name}") as file:
            schema = file.schema_arrow
        if not {RUN_ID, STEP} <= set(schema.names):
            return None
        runs = _runs(bounded_rows(folder, f"{home}/{name}", [RUN_ID, STEP]))
        for _ in bounded_rows(folder, f"{home}/{name}"):  # all of it must be readable
            pass
        return _FoundTable(name, folder.size(f"{home}/{name}") or 0, schema, runs)
    except (pa.ArrowException, OSError, ValueError, TooLargeError):
        return None


def _runs(batches: Iterator[pa.RecordBatch]) -> list[_RowsOfRun]:
    """The runs in the order of their rows, which must be next to each other."""
    found: dict[str, _RowsOfRun] = {}
    last = None
    for run, count, step in _pieces(batches):
        before = found.get(run)
        if before and last != run:
            raise ValueError(f"the rows of run {run} are in two places")
        rows = (before.rows if before else 0) + count
        found[run] = _RowsOfRun(run, rows, max(step, before.last_step if before else -1))
        last = run
    return list(found.values())


def _pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, int, int]]:
    """Runs, numbers of rows, and last steps, batch by batch."""
    for batch in batches:
        column: pa.Array[Any] = batch.column(RUN_ID)
        names = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
        ends = pc.run_end_encode(names)  # type: ignore[attr-defined]
        start = 0
        for run, end in zip(ends.values.to_pylist(), ends.run_ends.to_pylist(), strict=True):
            steps = batch.column(STEP).slice(start, end - start)
            yield str(run), end - start, pc.max(steps).as_py() or 0
            start = end
