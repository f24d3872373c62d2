"""The long layout: a row a value, instead of a column a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.export.schema import NAME, Keys, RowSchema, as_kind
from aiowandb.history.columns import STEP
from aiowandb.history.kinds import Kind, kind_of

KEY, VALUE = "key", "value"
_ZERO = pa.scalar(0, pa.int32())
_NO_ROWS = pa.array([], pa.uint64())
_NO_KEYS = pa.array([], pa.int32())


class LongSchema(RowSchema):
    """Run, step, key and value. The values are of the kind in which those of all keys meet."""

    own: ClassVar[Sequence[pa.Field]] = (*RowSchema.own, pa.field(KEY, NAME))

    def widened(self, keys: Keys) -> Self:
        return super().widened((VALUE, kind) for name, kind in keys if name != STEP)

    def fit(self, run: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        names = sorted(set(batch.schema.names) - {STEP})
        fields = [batch.schema.field(name) for name in names]
        self._check_room((VALUE, kind_of(field)) for field in fields)
        wanted = self.kinds.get(VALUE, Kind.NULL)
        rows, keys, values = [_NO_ROWS], [_NO_KEYS], [pa.array([], wanted.arrow)]
        for place, field in enumerate(fields):
            column = as_kind(batch.column(field.name), kind_of(field), wanted)
            rows.append(pc.indices_nonzero(column.is_valid()))
            keys.append(pa.repeat(pa.scalar(place, pa.int32()), len(rows[-1])))
            values.append(column.take(rows[-1]))
        row = pa.concat_arrays(rows)
        # A stable sort: the values of a row stay in the order of their keys.
        order = pc.array_sort_indices(row)
        key = pa.DictionaryArray.from_arrays(pa.concat_arrays(keys), pa.array(names, pa.string()))
        run_id = pa.DictionaryArray.from_arrays(pa.repeat(_ZERO, len(row)), pa.array([run]))
        columns = [
            run_id,
            batch.column(STEP).cast(pa.int64()).take(row.take(order)),
            key.take(order),
            pa.concat_arrays(values).take(order),
        ]
        return pa.RecordBatch.from_arrays(columns[: len(self.arrow)], schema=self.arrow)
