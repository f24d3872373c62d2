"""The whole way of an export, from pages of runs to committed files.

pages of runs -> select -> a plan of parts -> scan what is not there yet, many runs at once
              -> one schema -> parts, each committed when whole -> one file, if that is wanted
"""

from __future__ import annotations

import copy
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import pyarrow as pa
from anyio.to_thread import run_sync

from aiowandb.export.collect import carry_out
from aiowandb.export.dataset import Dataset
from aiowandb.export.folder import WORKPLACE, Folder
from aiowandb.export.journal import Journal, Source
from aiowandb.export.options import ExportOptions
from aiowandb.export.parts import places
from aiowandb.export.plan import PART_ROWS, Plan, plan_parts
from aiowandb.export.render import render
from aiowandb.export.result import ExportResult, RunFailure
from aiowandb.export.select import SelectedRuns, select_runs
from aiowandb.export.sinks import sink_for
from aiowandb.export.workplace import opened
from aiowandb.history import Selection, scan_runs
from aiowandb.net import Session
from aiowandb.wire.record import RunRecord

T = TypeVar("T")

# A run that fails is tried again at the end of the export, then by the next export.
_TRIES = 2


async def export_runs(
    session: Session,
    pages: AsyncIterator[Sequence[RunRecord]],
    source: Source,
    folder: str | Path,
    options: ExportOptions,
    *,
    overwrite: bool = False,
) -> ExportResult:
    """Bring the folder up to date with the runs and their whole histories."""
    started, before = time.monotonic(), copy.copy(session.traffic)
    target = Folder(Path(folder))
    async with _in_threads(opened(target, source, options, overwrite=overwrite)) as journal:
        runs = await select_runs(pages)
        runs_file = await _write_runs(runs.table, target, options)
        history = await run_sync(_history, target, options, journal)
        failed = await _collect(session, runs, history)
        history_files = await _write_history(history, options)
        files = tuple(target.path(name) for name in (runs_file, *history_files))
        traffic = session.traffic.since(before)
        return ExportResult(
            runs=len(runs.listed),
            rows=sum(part.rows for part in history.parts),
            requests=traffic.requests,
            downloads=traffic.downloads,
            received_bytes=traffic.received_bytes,
            written_bytes=sum(file.stat().st_size for file in files),
            seconds=time.monotonic() - started,
            files=files,
            failed=failed,
            clashes=await run_sync(history.clashes),
        )


async def _write_runs(table: pa.Table, folder: Folder, options: ExportOptions) -> str:
    name = f"runs.{options.format}"
    await render(iter(table.to_batches()), table.schema, sink_for(options), folder, name)
    return name


def _history(folder: Folder, options: ExportOptions, journal: Journal) -> Dataset:
    home = "history" if options.format == "parquet" else f"{WORKPLACE}/history"
    return Dataset("history", home, folder, journal)


async def _collect(
    session: Session, runs: SelectedRuns, dataset: Dataset
) -> tuple[RunFailure, ...]:
    """Have every row of the runs in the dataset, except of those that fail again and again."""
    refs = {ref.run: ref for ref in runs.listed}
    failures: dict[str, list[RunFailure]] = {}
    await run_sync(dataset.widen, dataset.schema.widened(runs.keys))
    while plan := _plan(runs, dataset, failures):
        first_steps = {refs[work.listed.run]: work.first_step for work in plan.fetched}
        async with scan_runs(session, first_steps, Selection(), first_steps) as lanes:
            for failure in await carry_out(plan, dataset, lanes):
                failures.setdefault(failure.run, []).append(failure)
    return tuple(found[-1] for found in failures.values() if len(found) == _TRIES)


def _plan(runs: SelectedRuns, dataset: Dataset, failures: dict[str, list[RunFailure]]) -> Plan:
    given_up = {run for run, found in failures.items() if len(found) == _TRIES}
    where = places(dataset.parts)
    wanted = [
        # What there is of a run that is given up stays.
        where[listed.run].held.listed if listed.run in given_up else listed
        for listed in runs.listed.values()
        if listed.run not in given_up or listed.run in where
    ]
    return plan_parts(
        wanted,
        dataset.parts,
        schema=dataset.schema_number,
        next_number=dataset.next_number,
        part_rows=PART_ROWS,
    )


async def _write_history(dataset: Dataset, options: ExportOptions) -> list[str]:
    """Show the history in the format that is wanted; give the names of its files."""
    if options.format == "parquet":
        return [dataset.place(part) for part in dataset.parts]
    name = f"history.{options.format}"
    if not await run_sync(dataset.is_rendered, name):
        await render(
            dataset.batches(), dataset.schema.arrow, sink_for(options), dataset.folder, name
        )
        await run_sync(dataset.note_rendered, name)
    return [name]


@asynccontextmanager
async def _in_threads(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """A context whose entry and exit block."""
    value = await run_sync(context.__enter__)
    try:
        yield value
    finally:
        with anyio.CancelScope(shield=True):
            await run_sync(context.__exit__, None, None, None)
