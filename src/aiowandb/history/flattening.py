"""Nested columns of a Parquet file as the dotted ones that JSON rows have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from aiowandb.history.columns import Kind, json_text, kind_of


def leaf_names(fields: Iterable[pa.Field[Any]], prefix: str = "") -> Iterator[str]:
    """The names of the columns that `flatten` makes of these."""
    for field in fields:
        if _is_plain_object(field.type):
            yield from leaf_names(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def flatten(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with structs as dotted columns, so that nested keys look as in JSON rows."""
    batch = _media_as_text(batch)
    while any(pa.types.is_struct(field.type) for field in batch.schema):
        literal = {field.name for field in batch.schema if not pa.types.is_struct(field.type)}
        flat = pa.Table.from_batches([batch]).flatten()  # without a batch if there are no rows
        columns = [column.combine_chunks() for column in flat.columns]
        batch = pa.RecordBatch.from_arrays(columns, schema=flat.schema)
        names = list(batch.schema.names)
        batch = batch.rename_columns(
            [
                name.replace(".", r"\.") if name in literal and names.count(name) > 1 else name
                for name in names
            ]
        )
        batch = _media_as_text(batch)
    return batch


def _media_as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with media and lists of other things than numbers as JSON text, as in JSON rows."""
    for index, field in enumerate(batch.schema):
        if not pa.types.is_nested(field.type) or _is_plain_object(field.type):
            continue
        if kind_of(field) is Kind.JSON:
            values = batch.column(index).to_pylist()
            texts = [None if value is None else _text_of(value) for value in values]
            column = pa.array(texts, pa.string())
            batch = batch.set_column(index, Kind.JSON.field(field.name), column)
    return batch


def _text_of(value: Any) -> str:
    # NaN stays NaN here: rows are made of this text, and have the values that were logged.
    try:
        return json.dumps(value, separators=(",", ":"))
    except (TypeError, RecursionError):
        return json_text(value)


def _is_plain_object(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index("_type") < 0)
