"""One schema for the histories of all runs, and every batch made to fit it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from aiowandb.history.columns import STEP, json_text
from aiowandb.history.kinds import Kind, kind_of, meet
from aiowandb.paths import RunRef

RUN_ID = "run_id"


class SchemaSurprise(Exception):
    """The rows have columns or kinds that W&B had not announced; `kinds` are the true ones."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        super().__init__(f"unannounced columns: {', '.join(kinds)}")
        self.kinds = kinds


class HistorySchema:
    """The columns of an export's history: the run, the step, then the keys by name."""

    def __init__(self, keys: Mapping[str, Kind]) -> None:
        self.kinds = {name: keys[name] for name in sorted(keys) if name != STEP}
        self._fields = [kind.field(name) for name, kind in self.kinds.items()]
        run_id = pa.field(RUN_ID, pa.dictionary(pa.int32(), pa.string()))
        self.arrow = pa.schema([run_id, Kind.INT.field(STEP), *self._fields])

    def widened(self, kinds: Mapping[str, Kind]) -> HistorySchema:
        """This schema with room for columns of these kinds too."""
        return HistorySchema(
            self.kinds
            | {name: meet(self.kinds.get(name, Kind.NULL), kind) for name, kind in kinds.items()}
        )

    def fit(self, ref: RunRef, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with exactly these columns, no value lost; else `SchemaSurprise`."""
        found = {field.name: kind_of(field) for field in batch.schema if field.name != STEP}
        surprises = {
            name: kind
            for name, kind in found.items()
            if meet(self.kinds.get(name, Kind.NULL), kind) is not self.kinds.get(name)
        }
        if surprises:
            raise SchemaSurprise(surprises)
        rows = batch.num_rows
        run_id = pa.DictionaryArray.from_arrays(
            pa.array([0] * rows, pa.int32()), pa.array([ref.run])
        )
        columns = [
            _cast(batch.column(name), found[name], kind) if name in found else _nulls(rows, kind)
            for name, kind in self.kinds.items()
        ]
        return pa.RecordBatch.from_arrays(
            [run_id, batch.column(STEP).cast(pa.int64()), *columns], schema=self.arrow
        )


def _nulls(rows: int, kind: Kind) -> pa.Array:
    return pa.nulls(rows, kind.arrow)


def _cast(array: pa.Array, found: Kind, wanted: Kind) -> pa.Array:
    if wanted is Kind.JSON and found not in (Kind.JSON, Kind.NULL):
        values: list[Any] = array.to_pylist()
        return pa.array([None if v is None else json_text(v) for v in values], pa.string())
    return array.cast(wanted.arrow, safe=False) if array.type != wanted.arrow else array
