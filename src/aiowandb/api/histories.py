"""Reads rows of runs: a sample, all rows, or all rows as Arrow batches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiowandb.api.rows import RowType, row_type
from aiowandb.arguments import (
    ANY_NAMES,
    FLAG,
    NAMES,
    Check,
    check_steps,
    choice,
    integer,
    optional,
    shown,
    text,
)
from aiowandb.choices import EventStream, Nested
from aiowandb.concurrency.tasks import Stream, each_of
from aiowandb.concurrency.threads import import_in_thread
from aiowandb.errors import UsageError
from aiowandb.history.neighbours import Position
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.suggestions import no_such
from aiowandb.user_warnings import warn
from aiowandb.wire.dotted import OWN_KEYS, unknown_keys
from aiowandb.wire.record import RunRecord

if TYPE_CHECKING:
    import pyarrow as pa

    from aiowandb.history.pages import Page

R = TypeVar("R")

# Samples are small; the session limits how many are requested at once.
_SAMPLES_AT_ONCE = 16


class HasRecord(Protocol):
    """A run, as far as its rows are concerned."""

    @property
    def record(self) -> RunRecord: ...


# Arguments that select rows, of one run or of many.
SCAN_CHECKS = {
    "keys": optional(NAMES),
    "min_step": optional(integer(0)),
    "max_step": optional(integer(0)),
    "any_key": FLAG,
    "exclude": ANY_NAMES,
}
SCAN_RUN_CHECKS = SCAN_CHECKS | {"page_size": integer(1), "stream": choice(EventStream)}
SAMPLE_CHECKS = {
    "samples": integer(1),
    "keys": optional(NAMES),
    "x_axis": text("the name of a key"),
    "stream": choice(EventStream),
}
ROW_TYPE = Check(
    "a msgspec.Struct, dataclass, attrs class, TypedDict, NamedTuple or pydantic model", row_type
)


def check_scan(run: RunRecord, wanted: Selection, stream: EventStream) -> None:
    """Warn of keys that the run does not have; raise for arguments without effect."""
    if stream == "default":
        warn_of_unknown(run, wanted.keys or ())
        warn_of_unknown(run, wanted.exclude)
    elif (wanted.min_step, wanted.max_step) != (0, None):
        raise UsageError(
            "System metrics have no steps: min_step and max_step cannot be used with them."
        )


async def row_pages(
    pages: AsyncGenerator[Page], kind: RowType | None, run: str
) -> AsyncGenerator[list[Any]]:
    """The rows as dicts, or converted to `kind`, page by page."""
    async with aclosing(pages):
        async for page in pages:
            for rows in page.rows():
                yield rows if kind is None else kind.rows(rows, run)


async def row_batches(
    pages: AsyncGenerator[Page], nested: Nested
) -> AsyncGenerator[pa.RecordBatch]:
    """The rows as Arrow record batches."""
    await import_in_thread("aiowandb.history.pages")
    from aiowandb.history.pages import nested_as_json

    async with aclosing(pages):
        async for page in pages:
            for batch in await page.batches():
                yield nested_as_json(batch) if nested == "json" else batch


async def history_pages(
    session: Session,
    ref: RunRef,
    wanted: Selection,
    stream: EventStream,
    position: Position | None,
) -> AsyncGenerator[Page]:
    """The rows of a run as W&B sent them. If the run is one of a list, the next ones are expected
    to be read, too."""
    await import_in_thread("aiowandb.history.loops")
    from aiowandb.history.loops import ScanLoop
    from aiowandb.history.scan import scan_run, scan_system

    if stream != "default":
        found = scan_system(session, ref, wanted)
    elif position is None:
        found = scan_run(session, ref, wanted)
    else:
        loop = position.neighbours.loop(wanted, partial(ScanLoop, session, wanted))
        found = loop.pages(position, ref)
    async with aclosing(found) as pages:
        async for page in pages:
            yield page


def warn_of_unknown(run: RunRecord, keys: Sequence[str]) -> None:
    """Warn of keys that the run does not have, if its keys are known."""
    unknown = UnknownKeys(keys)
    unknown.look_at(run)
    unknown.warn(f"in run {run.ref}")


class UnknownKeys:
    """Requested keys that none of the runs seen so far has."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._known: dict[str, None] = {}

    def look_at(self, run: RunRecord) -> None:
        """Remove the keys of this run. If they are not known, no key counts as unknown."""
        if not self._keys:
            return
        if run.history_keys:
            names = [*run.history_keys.keys, *OWN_KEYS]
            self._keys = unknown_keys(self._keys, names)
            self._known |= dict.fromkeys(names)
        elif run.history_line_count != 0:
            self._keys = []

    def warn(self, place: str = "in any of the runs") -> None:
        """Warn of the remaining keys, unless no run had any key at all."""
        for key in self._keys if self._known else ():
            warn(no_such("key", key, self._known, place))


def scan_ahead(
    session: Session, runs: AsyncIterable[R] | Iterable[R], wanted: Selection, ordered: bool
) -> Stream[tuple[R, pa.RecordBatch]]:
    """The batches of many runs with their runs, as they arrive or run by run."""
    if not session.is_entered:
        raise UsageError("scan_histories() runs background tasks: use `async with AsyncApi()`.")
    return session.ahead(_scan_many(session, runs, wanted, ordered))


async def _scan_many(
    session: Session, runs: AsyncIterable[R] | Iterable[R], wanted: Selection, ordered: bool
) -> AsyncGenerator[tuple[R, pa.RecordBatch]]:
    await import_in_thread("aiowandb.history.concurrent")
    from aiowandb.history.concurrent import scan_batches

    under_way: dict[RunRef, R] = {}
    unknown = UnknownKeys([*(wanted.keys or ()), *wanted.exclude])

    async def refs() -> AsyncGenerator[RunRef]:
        async with aclosing(each_of(runs)) as every:
            async for run in every:
                record = getattr(run, "record", None)
                if not isinstance(record, RunRecord):
                    raise UsageError(f"runs must contain only runs, not {shown(run)}.")
                unknown.look_at(record)
                under_way[record.ref] = run
                yield record.ref
        unknown.warn()

    async with (
        aclosing(refs()) as own,
        aclosing(scan_batches(session, own, wanted, ordered=ordered)) as batches,
    ):
        async for ref, batch in batches:
            if batch is None:
                under_way.pop(ref, None)
            else:
                yield under_way[ref], batch


def make_selection(
    keys: Sequence[str] | None,
    page_size: int = 1000,
    min_step: int | None = None,
    max_step: int | None = None,
    any_key: bool = False,
    exclude: Sequence[str] = (),
) -> Selection:
    """The selection that the arguments of a scan describe; raises if it cannot match."""
    check_steps(min_step, max_step)
    if any_key and not keys:
        raise UsageError("any_key requires keys: without them, all rows are read.")
    if any(pattern.strip("*") == "" for pattern in exclude):
        raise UsageError(f"exclude={list(exclude)!r} leaves no columns.")
    return Selection(
        keys=tuple(keys or ()) or None,
        any_key=any_key,
        exclude=tuple(exclude),
        min_step=min_step or 0,
        max_step=max_step,
        page_size=page_size,
    )
