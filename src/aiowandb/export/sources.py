"""What rows there are to export, and how those of each kind are read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial

import msgspec

from aiowandb.errors import NotFoundError
from aiowandb.export.listing import SelectedRuns
from aiowandb.export.options import ExportOptions
from aiowandb.export.schema import LongSchema, RowSchema, SystemSchema
from aiowandb.export.stored import RunSnapshot
from aiowandb.history.columns import Kind
from aiowandb.history.concurrent import RunBatches, scan_each, scan_runs
from aiowandb.history.decode import RowDecoder
from aiowandb.history.pages import JsonPage, Page
from aiowandb.history.reading import Start
from aiowandb.history.scan import scan_system
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire.history import sampled_rows

# Reads these runs in their order, each from its start on.
Runs = AbstractAsyncContextManager[AsyncIterator[RunBatches]]
Read = Callable[[Mapping[RunRef, Start]], Runs]


class RowSource(msgspec.Struct, frozen=True):
    """Rows of one kind: of which runs, with which keys as far as W&B says, and how they are read.

    `unknown_keys` are of types that we do not know, so that only their values can tell their
    kinds. With `follows`, a run that has gone on is read from its last row that is known, else
    anew.
    """

    name: str
    runs: Mapping[RunRef, RunSnapshot]
    schema: RowSchema
    keys: Collection[tuple[str, Kind]]
    unknown_keys: frozenset[str]
    follows: bool
    read: Read


def row_sources(session: Session, runs: SelectedRuns, options: ExportOptions) -> list[RowSource]:
    """The rows that the options ask for."""
    found = []
    if "history" in options.what:
        found.append(_history(session, runs, options))
    if "system" in options.what:
        found.append(_system(session, runs))
    return found


def _history(session: Session, runs: SelectedRuns, options: ExportOptions) -> RowSource:
    selection = Selection(
        keys=options.keys,
        any_key=options.any_key,
        exclude=options.exclude,
        min_step=options.min_step or 0,
        max_step=options.max_step,
    )
    announced = runs.announced.selected(selection)

    def read(starts: Mapping[RunRef, Start]) -> Runs:
        if options.samples is None:
            return scan_runs(session, starts, selection, starts)
        sample = partial(_sample, session, selection, RowDecoder(), options.samples)
        return scan_each(session, starts, sample)

    return RowSource(
        "history",
        runs.histories,
        LongSchema() if options.layout == "long" else RowSchema(),
        announced.keys,
        frozenset(announced.unknown_keys),
        follows=options.samples is None,
        read=read,
    )


def _system(session: Session, runs: SelectedRuns) -> RowSource:
    def read(starts: Mapping[RunRef, Start]) -> Runs:
        return scan_each(session, starts, lambda ref: scan_system(session, ref, Selection()))

    return RowSource(
        "system", runs.heartbeats, SystemSchema(), (), frozenset(), follows=False, read=read
    )


async def _sample(
    session: Session, selection: Selection, decoder: RowDecoder, samples: int, ref: RunRef
) -> AsyncGenerator[Page]:
    found = await session.ask(sampled_rows(ref, samples))
    if found is None:
        raise NotFoundError(f"Could not find run {ref}.", operation="RunFullHistory")
    yield JsonPage([found.history or []], selection, decoder)
