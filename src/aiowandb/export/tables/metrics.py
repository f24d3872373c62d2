"""The table of metrics: for each key of a run its type, its x axis, and the rule of its summary.

`define_metric` writes its part into W&B's own entry of the config, with numbers for names.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from fnmatch import fnmatchcase
from typing import Any, ClassVar, NamedTuple
from zlib import crc32

import msgspec
import pyarrow as pa

from aiowandb.export.row_source import RowSource
from aiowandb.export.schema import NAME, RUN_ID, RowSchema
from aiowandb.export.stored import RunSnapshot
from aiowandb.history.concurrent import RunBatches, scan_each
from aiowandb.history.pages import Page, RowsPage
from aiowandb.history.reading import Start
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire.record import RunRecord

_COLUMNS: Sequence[pa.Field[Any]] = (
    pa.field("key", pa.string()),
    pa.field("types", pa.list_(pa.string())),
    pa.field("count", pa.int64()),
    pa.field("x_axis", pa.string()),
    pa.field("summary", pa.list_(pa.string())),
    pa.field("goal", pa.string()),
    pa.field("hidden", pa.bool_()),
    pa.field("is_pattern", pa.bool_()),
)
_ARROW = pa.schema(_COLUMNS)
_MODES = {1: "min", 2: "max", 3: "mean", 4: "best", 5: "last", 6: "none", 7: "copy", 8: "first"}
_GOALS = {1: "minimize", 2: "maximize"}
_HIDDEN = 2


class MetricSchema(RowSchema):
    """The run, and what is known of one of its keys."""

    fixed: ClassVar[Sequence[pa.Field[Any]]] = (pa.field(RUN_ID, NAME), *_COLUMNS)


class _Slice(NamedTuple):
    """Where the rows of a run are: in which page, from which row on, and how many they are."""

    page: int
    start: int
    rows: int


class Metrics:
    """The metrics of runs, added page by page and kept as columns."""

    def __init__(self) -> None:
        self.runs: dict[RunRef, RunSnapshot] = {}
        self._pages: list[pa.RecordBatch] = []
        self._slices: dict[RunRef, _Slice] = {}

    def add(self, runs: Sequence[RunRecord]) -> None:
        """Add the metrics of these runs."""
        rows: list[dict[str, Any]] = []
        for run in runs:
            found = list(_metrics_of(run))
            self._slices[run.ref] = _Slice(len(self._pages), len(rows), len(found))
            state = crc32(msgspec.json.encode(found)) if found else -1
            self.runs[run.ref] = RunSnapshot(run.id, run.storage_id, len(found), state)
            rows += found
        self._pages.append(pa.RecordBatch.from_pylist(rows, _ARROW))

    def source(self) -> RowSource:
        """The table of these metrics."""

        async def pages(ref: RunRef) -> AsyncGenerator[Page]:
            where = self._slices[ref]
            rows = self._pages[where.page].slice(where.start, where.rows)
            yield RowsPage(rows, where.rows)

        def read(
            session: Session, starts: Mapping[RunRef, Start]
        ) -> AbstractAsyncContextManager[AsyncIterator[RunBatches]]:
            return scan_each(session, starts, pages)

        return RowSource("metrics", self.runs, MetricSchema(), read)


def _metrics_of(run: RunRecord) -> Iterator[dict[str, Any]]:
    own = run.raw_config.get("_wandb")
    own = own.get("value", own) if isinstance(own, dict) else {}
    entries = own.get("m") if isinstance(own, dict) else None
    # Kept in their places: entries refer to each other by number.
    defined = [entry if isinstance(entry, dict) else {} for entry in _list(entries)]
    names = {entry["1"]: entry for entry in defined if isinstance(entry.get("1"), str)}
    patterns = {entry["2"]: entry for entry in defined if isinstance(entry.get("2"), str)}
    known = run.history_keys.keys if run.history_keys else {}
    for key in dict.fromkeys((*known, *names)):
        matching = (each for pattern, each in patterns.items() if fnmatchcase(key, pattern))
        entry = names.get(key) or next(matching, {})
        row = {"key": _text(key), "is_pattern": False} | _rules(entry, defined)
        if key in known:
            row |= {"types": sorted(known[key].types), "count": known[key].count}
        yield row
    for pattern, entry in patterns.items():
        yield {"key": _text(pattern), "is_pattern": True} | _rules(entry, defined)


def _rules(entry: Mapping[str, Any], defined: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    axis = entry.get("4")
    index = entry.get("5")
    if axis is None and isinstance(index, int) and 1 <= index <= len(defined):
        axis = defined[index - 1].get("1")
    modes = [_MODES.get(mode, str(mode)) for mode in _numbers(entry.get("7"))]
    return {
        "x_axis": _text(axis) if isinstance(axis, str) else None,
        "summary": modes or None,
        "goal": next((_GOALS[goal] for goal in _GOALS if goal == entry.get("8")), None),
        "hidden": _HIDDEN in _numbers(entry.get("6")),
    }


def _text(text: str) -> str:
    # Half a surrogate pair is no text that Arrow could have.
    return text.encode(errors="replace").decode()


def _numbers(value: Any) -> list[int]:
    return [item for item in _list(value) if isinstance(item, int)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
