"""One schema for the rows of all runs, and every batch made to fit it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from aiowandb.history.columns import STEP, json_text
from aiowandb.history.kinds import Kind, kind_of, meet

RUN_ID = "run_id"
_RUN_ID_FIELD = pa.field(RUN_ID, pa.dictionary(pa.int32(), pa.string()))


class SchemaSurprise(Exception):
    """The rows have columns or kinds that W&B had not announced; `kinds` are the true ones."""

    def __init__(self, kinds: Sequence[tuple[str, Kind]]) -> None:
        super().__init__(f"unannounced columns: {', '.join(name for name, _ in kinds)}")
        self.kinds = kinds


class RowSchema:
    """The columns of a dataset: the run, the step, then the keys by name.

    `clashes` names the columns of JSON text whose values are of kinds that have nothing
    else in common, like numbers and strings.
    """

    def __init__(self, kinds: Mapping[str, Kind], clashes: Collection[str] = ()) -> None:
        self.kinds = {name: kinds[name] for name in sorted(kinds) if name not in (RUN_ID, STEP)}
        self.clashes = frozenset(clashes)
        fields = [kind.field(name) for name, kind in self.kinds.items()]
        self.arrow = pa.schema([_RUN_ID_FIELD, Kind.INT.field(STEP), *fields])

    def widened(self, kinds: Iterable[tuple[str, Kind]]) -> RowSchema:
        """This schema with room for columns of these names and kinds too."""
        met = dict(self.kinds)
        clashes = set(self.clashes)
        for name, kind in kinds:
            before = met.get(name, Kind.NULL)
            met[name] = meet(before, kind)
            if met[name] is Kind.JSON and Kind.NULL not in (before, kind) and before is not kind:
                clashes.add(name)
        return RowSchema(met, clashes.intersection(met))

    def fit(self, run: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A run's batch with exactly these columns, no value lost; else `SchemaSurprise`."""
        surprises = [
            (field.name, kind_of(field))
            for field in batch.schema
            if field.name != STEP and not self._has_room(field)
        ]
        if surprises:
            raise SchemaSurprise(surprises)
        zeros = pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows)
        run_id = pa.DictionaryArray.from_arrays(zeros, pa.array([run]))
        return self._cast(run_id, batch)

    def recast(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch that an earlier, narrower schema has made, with the columns of this one."""
        if batch.schema.equals(self.arrow, check_metadata=True):
            return batch
        return self._cast(batch.column(RUN_ID), batch)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RowSchema):
            return NotImplemented
        return (self.kinds, self.clashes) == (other.kinds, other.clashes)

    def __hash__(self) -> int:
        return hash((tuple(self.kinds.items()), self.clashes))

    def _has_room(self, field: pa.Field) -> bool:
        here = self.kinds.get(field.name, Kind.NULL)
        return meet(here, kind_of(field)) is here

    def _cast(self, run_id: pa.Array, batch: pa.RecordBatch) -> pa.RecordBatch:
        places = {field.name: (i, kind_of(field)) for i, field in enumerate(batch.schema)}
        columns = [run_id, batch.column(STEP).cast(pa.int64())]
        for name, kind in self.kinds.items():
            if name in places:
                index, found = places[name]
                columns.append(_as_kind(batch.column(index), found, kind))
            else:
                columns.append(pa.nulls(batch.num_rows, kind.arrow))
        return pa.RecordBatch.from_arrays(columns, schema=self.arrow)


def _as_kind(array: pa.Array, found: Kind, wanted: Kind) -> pa.Array:
    if wanted is Kind.JSON and found not in (Kind.JSON, Kind.NULL):
        values: list[Any] = array.to_pylist()
        return pa.array([None if v is None else json_text(v) for v in values], pa.string())
    return array.cast(wanted.arrow, safe=False) if array.type != wanted.arrow else array
