"""Which runs are exported, and what is known of their columns before a row is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import msgspec
import pyarrow as pa

from aiowandb.export.parts import Listed
from aiowandb.export.result import Clash
from aiowandb.export.table import Row, clashes, runs_table, table_row
from aiowandb.history.kinds import Kind
from aiowandb.paths import RunRef
from aiowandb.wire.record import HistoryKeys, RunRecord

# The names that W&B gives to the types of history values. Numbers may turn out to
# be floats in any run, so that they are floats from the start.
_KINDS = {
    "number": Kind.FLOAT,
    "string": Kind.TEXT,
    "boolean": Kind.BOOL,
    "bool": Kind.BOOL,
}
_NOTHING = frozenset({"nil", "null"})


class SelectedRuns(msgspec.Struct, frozen=True):
    """The runs of an export in their order, a table of them, and what W&B says of their keys.

    `clashes` are those of the table.
    """

    histories: dict[RunRef, Listed]
    alive: dict[RunRef, Listed]
    table: pa.Table
    clashes: tuple[Clash, ...]
    keys: frozenset[tuple[str, Kind]]


async def select_runs(pages: AsyncIterator[Sequence[RunRecord]]) -> SelectedRuns:
    """Read all pages; of each run only what is listed and one table row are kept."""
    histories: dict[RunRef, Listed] = {}
    alive: dict[RunRef, Listed] = {}
    rows: list[Row] = []
    types: set[tuple[str, str]] = set()
    async for page in pages:
        for run in page:
            if run.ref in histories:
                continue  # the order changed while we read, and it came once more
            histories[run.ref] = Listed.of_history(run)
            alive[run.ref] = Listed.of_life(run)
            rows.append(table_row(run))
            types.update(_key_types(run.history_keys))
    keys = frozenset((name, _KINDS.get(called, Kind.JSON)) for name, called in types)
    table = runs_table(rows)
    return SelectedRuns(histories, alive, table, tuple(clashes(table, rows)), keys)


def _key_types(history_keys: HistoryKeys | None) -> Iterator[tuple[str, str]]:
    for name, info in (history_keys.keys if history_keys else {}).items():
        for count in info.type_counts:
            if count.type not in _NOTHING:
                yield name, count.type
