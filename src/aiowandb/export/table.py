"""Runs as a table: one row a run, config and summary flattened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from aiowandb.export.result import Clash
from aiowandb.history.columns import to_column
from aiowandb.history.kinds import Kind, kind_of
from aiowandb.wire.dotted import flattened
from aiowandb.wire.record import RunRecord

_TIME = pa.timestamp("us", tz="UTC")
_OWN_FIELDS = {
    "run_id": pa.string(),
    "name": pa.string(),
    "state": pa.string(),
    "tags": pa.list_(pa.string()),
    "group": pa.string(),
    "job_type": pa.string(),
    "created_at": _TIME,
    "heartbeat_at": _TIME,
    "user": pa.string(),
    "sweep": pa.string(),
    "commit": pa.string(),
    "notes": pa.string(),
}

Row = dict[str, Any]


def table_row(run: RunRecord) -> Row:
    """The run's row: its own fields, then `config.*` and `summary.*`."""
    row: Row = {
        "run_id": run.id,
        "name": run.name,
        "state": run.state,
        "tags": run.tags,
        "group": run.group,
        "job_type": run.job_type,
        "created_at": run.created_at,
        "heartbeat_at": run.heartbeat_at,
        "user": run.username,
        "sweep": run.sweep_name,
        "commit": run.commit,
        "notes": run.notes,
    }
    row.update(flattened(run.config, "config."))
    row.update(flattened(run.summary_metrics, "summary."))
    return row


def runs_table(rows: Sequence[Row]) -> pa.Table:
    """The rows under one schema; a run that lacks a key has null there."""
    names: dict[str, Any] = {**_OWN_FIELDS}
    for row in rows:
        names.update(row)
    fields: list[pa.Field] = []
    arrays: list[pa.Array] = []
    for name in names:
        values = [row.get(name) for row in rows]
        if name in _OWN_FIELDS:
            field = pa.field(name, _OWN_FIELDS[name])
            array = pa.array(values, field.type)
        else:
            kind, array = to_column(values)
            field = kind.field(name)
        fields.append(field)
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def clashes(table: pa.Table, rows: Sequence[Row]) -> Iterator[Clash]:
    """The columns of JSON text that the table of these rows has because their kinds clash."""
    for field in table.schema:
        if field.name not in _OWN_FIELDS and kind_of(field) is Kind.JSON:
            kinds = Counter(to_column([row.get(field.name)])[0] for row in rows)
            del kinds[Kind.NULL]
            if len(kinds) > 1:
                yield Clash(field.name, kinds.total())
