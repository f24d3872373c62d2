"""Which runs are exported, and what is known of their columns before a row is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from aiowandb.history.columns import flattened, to_column
from aiowandb.history.kinds import Kind, meet
from aiowandb.paths import RunRef
from aiowandb.wire.runs import HistoryKeys, RunRecord

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
    rows: list[dict[str, Any]] = []
    keys: dict[str, Kind] = {}
    async for page in pages:
        for run in page:
            refs.append(run.ref)
            rows.append(_table_row(run))
            for name, kind in _key_kinds(run.history_keys):
                keys[name] = meet(keys.get(name, Kind.NULL), kind)
    return SelectedRuns(refs, _table(rows), keys)


def _key_kinds(history_keys: HistoryKeys | None) -> Iterable[tuple[str, Kind]]:
    for name, info in (history_keys.keys if history_keys else {}).items():
        kind = Kind.NULL
        for count in info.type_counts:
            kind = meet(kind, _KINDS.get(count.type, Kind.JSON))
        yield name, kind


def _table_row(run: RunRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "run_id": run.id,
        "name": run.name,
        "state": run.state,
        "tags": run.tags,
        "group": run.group,
        "job_type": run.job_type,
        "created_at": run.created_at,
        "heartbeat_at": run.heartbeat_at,
        "user": run.user.username if run.user else None,
        "sweep": run.sweep_name,
        "commit": run.commit,
        "notes": run.notes,
    }
    row.update(flattened(run.config, "config."))
    row.update(flattened(run.summary, "summary."))
    return row


_TABLE_FIELDS = {
    "tags": pa.list_(pa.string()),
    "created_at": pa.timestamp("us", tz="UTC"),
    "heartbeat_at": pa.timestamp("us", tz="UTC"),
}
_TEXT_FIELDS = ("run_id", "name", "state", "group", "job_type", "user", "sweep", "commit", "notes")


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    fields: list[pa.Field] = []
    arrays: list[pa.Array] = []
    for name in names:
        values = [row.get(name) for row in rows]
        if name in _TABLE_FIELDS or name in _TEXT_FIELDS:
            field = pa.field(name, _TABLE_FIELDS.get(name, pa.string()))
            array = pa.array(values, field.type)
        else:
            kind, array = to_column(values)
            field = kind.field(name)
        fields.append(field)
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))
