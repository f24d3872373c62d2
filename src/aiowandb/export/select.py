"""Which runs are exported, and what is known of their columns before a row is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec
import pyarrow as pa

from aiowandb.export.table import Row, runs_table, table_row
from aiowandb.history.kinds import Kind, meet
from aiowandb.paths import RunRef
from aiowandb.wire.record import HistoryKeys, RunRecord

# The names that W&B gives to the types of history values. Numbers may turn out to
# be floats in any run, so that they are floats from the start.
_KINDS = {
    "number": Kind.FLOAT,
    "string": Kind.TEXT,
    "boolean": Kind.BOOL,
    "bool": Kind.BOOL,
    "nil": Kind.NULL,
    "null": Kind.NULL,
}


class SelectedRuns(msgspec.Struct, frozen=True):
    """The runs of an export: where they are, one table of them, and the kinds of their keys."""

    refs: list[RunRef]
    table: pa.Table
    keys: dict[str, Kind]


async def select_runs(pages: AsyncIterator[Sequence[RunRecord]]) -> SelectedRuns:
    """Read all pages; of each run only its name and one table row are kept."""
    refs: list[RunRef] = []
    rows: list[Row] = []
    keys: dict[str, Kind] = {}
    async for page in pages:
        for run in page:
            refs.append(run.ref)
            rows.append(table_row(run))
            for name, kind in _key_kinds(run.history_keys):
                keys[name] = meet(keys.get(name, Kind.NULL), kind)
    return SelectedRuns(refs, runs_table(rows), keys)


def _key_kinds(history_keys: HistoryKeys | None) -> Iterable[tuple[str, Kind]]:
    for name, info in (history_keys.keys if history_keys else {}).items():
        kind = Kind.NULL
        for count in info.type_counts:
            kind = meet(kind, _KINDS.get(count.type, Kind.JSON))
        yield name, kind
