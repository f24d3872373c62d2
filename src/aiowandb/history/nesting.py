"""Nested keys as one column each, for those who do not want them flattened."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from aiowandb.history.columns import json_text
from aiowandb.history.kinds import Kind
from aiowandb.history.pages import column_values
from aiowandb.wire.dotted import nests_of, split_name


def nested_as_json(batch: pa.RecordBatch) -> pa.RecordBatch:
    r"""The batch with the columns `val.loss`, `val.acc` as one column `val` of JSON text.

    A literal key with a dot, `val\.loss`, is no nest and stays a column by that name.
    """
    heads: dict[str, list[str]] = {}
    for name in batch.schema.names:
        heads.setdefault(next(iter(nests_of(name)), name), []).append(name)
    fields, arrays = [], []
    for head, names in heads.items():
        if names == [head]:
            fields.append(batch.schema.field(head))
            arrays.append(batch.column(head))
        else:
            fields.append(Kind.JSON.field(head))
            arrays.append(_objects(names, batch))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _objects(names: list[str], batch: pa.RecordBatch) -> pa.Array:
    columns = [column_values(batch, name) for name in names]
    paths = list(map(split_name, names))
    head = paths[0][0]
    texts = []
    for values in zip(*columns, strict=True):
        found: dict[str, Any] = {}
        for path, value in zip(paths, values, strict=True):
            if value is not None:
                _put(found, path, value)
        texts.append(json_text(found[head]) if found else None)
    return pa.array(texts, pa.string())


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        below = values.setdefault(key, {})
        if not isinstance(below, dict):
            # A key that has both a value and keys below it: the value goes under no name.
            below = values[key] = {"": below}
        values = below
    below = values.get(path[-1])
    if isinstance(below, dict):
        below[""] = value
    else:
        values[path[-1]] = value
