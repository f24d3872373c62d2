"""One schema for the rows of all runs, and batches converted to it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.export.stored import ROUNDED
from aiowandb.history.columns import Kind, json_text, kind_of, meet
from aiowandb.suggestions import listed
from aiowandb.user_warnings import warn
from aiowandb.wire.rows import STEP

RUN_ID = "run_id"
NAME = pa.dictionary(pa.int32(), pa.string())

_RESERVED_NAME = re.compile(f"{RUN_ID}(_logged)*")

Keys = Iterable[tuple[str, Kind]]


class SchemaSurprise(Exception):
    """The rows have keys or kinds that W&B did not announce; `keys` are the actual ones."""

    def __init__(self, keys: Sequence[tuple[str, Kind]]) -> None:
        super().__init__(f"unannounced columns: {', '.join(name for name, _ in keys)}")
        self.keys = keys


class _Place(NamedTuple):
    """Where a key is among the columns of a batch, and what it is converted from, if it is."""

    number: int
    converted_from: Kind | None


class RowSchema:
    """The columns of a dataset: the run, the step, then the keys by name.

    `clashes` names the columns that are JSON text because their values are of different kinds,
    like numbers and strings.
    """

    fixed: ClassVar[Sequence[pa.Field[Any]]] = (pa.field(RUN_ID, NAME), Kind.INT.field(STEP))

    def __init__(
        self, kinds: Mapping[str, Kind] | None = None, clashes: Collection[str] = ()
    ) -> None:
        kinds, fixed = kinds or {}, {field.name for field in self.fixed}
        self.kinds = {name: kinds[name] for name in sorted(kinds) if name not in fixed}
        # Those that rows have. The run is not: a key of that name is another one.
        self._given = frozenset(fixed - {RUN_ID})
        self.clashes = frozenset(clashes)
        fields = (kind.field(name) for name, kind in self.kinds.items())
        self.arrow = pa.schema([*self.fixed, *fields])
        # The columns of floats that got integers which no float has, since it was cleared.
        self.rounded: set[str] = set()
        # The last columns that fitted, and where each of ours is among them. The runs of a
        # project mostly have the same ones, and to look at each takes longer than to use it.
        self._fitted: tuple[pa.Schema, Sequence[_Place | None]] | None = None

    def widened(self, keys: Keys) -> Self:
        """This schema with these keys added."""
        met = dict(self.kinds)
        clashes = set(self.clashes)
        for key, kind in keys:
            name = self._column(key)
            before = met.get(name, Kind.NULL)
            met[name] = meet(before, kind)
            if met[name] is Kind.JSON and Kind.NULL not in (before, kind) and before is not kind:
                clashes.add(name)
        wider = type(self)(met, clashes.intersection(met))
        wider.rounded = self.rounded
        return wider

    def fit(self, run: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch of a run with exactly these columns; `SchemaSurprise` if values do not fit."""
        known, places = self._fitted or (None, ())
        if known is None or not batch.schema.equals(known, check_metadata=True):
            found = [(field.name, kind_of(field)) for field in batch.schema]
            surprises = self._surprises(each for each in found if each[0] not in self._given)
            if empty := [name for name, _ in surprises if _is_empty(batch.column(name))]:
                return self.fit(run, _without_types(batch, empty))
            if surprises:
                raise SchemaSurprise(surprises)
            places = self._places(batch.schema, map(self._column, batch.schema.names))
            self._fitted = batch.schema, places
        zeros = pa.repeat(_ZERO, batch.num_rows)
        run_id = pa.DictionaryArray.from_arrays(zeros, pa.array([run]))
        steps = (_cast(batch.column(field.name), field.type) for field in self.fixed[1:])
        return self._arrange([run_id, *steps], batch, places)

    def fit_or_widen(self, run: str, batch: pa.RecordBatch) -> tuple[Self, pa.RecordBatch]:
        """The batch fitted to this schema, or to a wider one, and the schema that was used."""
        try:
            return self, self.fit(run, batch)
        except SchemaSurprise as surprise:
            wider = self.widened(surprise.keys)
            return wider, wider.fit(run, batch)

    def warn_of_rounded(self, table: str) -> None:
        """Warn that columns of a table got integers that their floats do not have."""
        if self.rounded:
            warn(f"{table}, {listed(sorted(self.rounded))}: {ROUNDED}.")

    def holding(self, stored: pa.Schema) -> Self:
        """This schema, wider if stored rows have columns that it lacks.

        That is only so if the journal has lost records of them, and would lose the values.
        """
        if stored.equals(self.arrow, check_metadata=True):
            return self
        fixed, kinds = {field.name for field in self.fixed}, dict(self.kinds)
        for field in stored:
            if field.name not in fixed:
                kinds[field.name] = meet(kinds.get(field.name, Kind.NULL), kind_of(field))
        if kinds == self.kinds:
            return self
        wider = type(self)(kinds, self.clashes)
        wider.rounded = self.rounded
        return wider

    def recast(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch, which has an earlier, narrower schema, with the columns of this one."""
        if batch.schema.equals(self.arrow, check_metadata=True):
            return batch
        fixed = [_column(batch, field) for field in self.fixed]
        return self._arrange(fixed, batch, self._places(batch.schema, batch.schema.names))

    def _places(self, found: pa.Schema, names: Iterable[str]) -> Sequence[_Place | None]:
        """For each of our keys, where it is among columns of these names; None if it is not."""
        numbers = {name: number for number, name in enumerate(names)}
        places: list[_Place | None] = []
        for name, kind in self.kinds.items():
            number = numbers.get(name)
            if number is None:
                places.append(None)
                continue
            field = found.field(number)
            before = kind_of(field)
            fits = field.type == kind.arrow and (kind is not Kind.JSON or before is kind)
            places.append(_Place(number, None if fits else before))
        return places

    def _arrange(
        self, fixed: Sequence[pa.Array[Any]], batch: pa.RecordBatch, places: Sequence[_Place | None]
    ) -> pa.RecordBatch:
        """The fixed columns, then the keys in our order and of our kinds."""
        columns = list(fixed)
        for (name, kind), place in zip(self.kinds.items(), places, strict=True):
            if place is None:
                columns.append(pa.nulls(batch.num_rows, kind.arrow))  # type: ignore[call-overload]
            elif place.converted_from is None:
                columns.append(batch.column(place.number))
            else:
                column = batch.column(place.number)
                columns.append(as_kind(column, place.converted_from, kind))
                if kind in _FLOATS and place.converted_from in _INTEGERS and _rounds(column, kind):
                    self.rounded.add(name)
        return pa.RecordBatch.from_arrays(columns, schema=self.arrow)

    def _column(self, key: str) -> str:
        """The column of a key; a key with a reserved name gets a suffix."""
        return f"{key}_logged" if _RESERVED_NAME.fullmatch(key) else key

    def _surprises(self, found: Keys) -> list[tuple[str, Kind]]:
        """The columns that do not fit."""
        return [
            (name, kind)
            for name, kind in found
            if meet(here := self.kinds.get(self._column(name), Kind.NULL), kind) is not here
        ]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RowSchema):
            return NotImplemented
        return (self.kinds, self.clashes) == (other.kinds, other.clashes)

    def __hash__(self) -> int:
        return hash((tuple(self.kinds.items()), self.clashes))


class SystemSchema(RowSchema):
    """The columns of system metrics, which have no steps."""

    fixed: ClassVar[Sequence[pa.Field[Any]]] = (pa.field(RUN_ID, NAME),)


def _column(batch: pa.RecordBatch, field: pa.Field[Any]) -> pa.Array[Any]:
    """A fixed column; staged rows lack it if they have no values in it."""
    index = batch.schema.get_field_index(field.name)
    if index < 0:
        return pa.nulls(batch.num_rows, field.type)  # type: ignore[no-any-return]
    return _cast(batch.column(index), field.type)


def _is_empty(column: pa.Array[Any]) -> bool:
    return column.null_count == len(column)


def _without_types(batch: pa.RecordBatch, names: Collection[str]) -> pa.RecordBatch:
    """The batch without the types that files give to these columns, which have no values."""
    for name in names:
        index = batch.schema.get_field_index(name)
        batch = batch.set_column(index, name, pa.nulls(batch.num_rows))
    return batch


def _cast(array: pa.Array[Any], wanted: pa.DataType) -> pa.Array[Any]:
    return array if array.type == wanted else array.cast(wanted)


def as_kind(array: pa.Array[Any], found: Kind, wanted: Kind) -> pa.Array[Any]:
    """The values of one kind as values of a wider one."""
    if wanted is Kind.JSON and found not in (Kind.JSON, Kind.NULL):
        values: list[Any] = array.to_pylist()
        return pa.array([None if v is None else json_text(v) for v in values], pa.string())
    return array.cast(wanted.arrow, safe=False) if array.type != wanted.arrow else array


def _rounds(integers: pa.Array[Any], kind: Kind) -> bool:
    """Whether there are integers that floats cannot have, as they are beyond 2^53."""
    try:
        integers.cast(kind.arrow)
    except pa.ArrowInvalid:
        floats = integers.cast(kind.arrow, safe=False)
        try:
            return not floats.cast(integers.type).equals(integers)
        except pa.ArrowInvalid:  # rounded to 2^63, which is no integer of 64 bits
            return True
    return False


_FLOATS = (Kind.FLOAT, Kind.FLOATS)
_INTEGERS = (Kind.INT, Kind.INTS)
KEY, VALUE = "key", "value"
_ZERO = pa.scalar(0, pa.int32())
_NO_ROWS = pa.array([], pa.uint64())
_NO_KEYS = pa.array([], pa.int32())


class LongSchema(RowSchema):
    """Run, step, key and value. The kind of the values is the one that holds those of all keys."""

    fixed: ClassVar[Sequence[pa.Field[Any]]] = (*RowSchema.fixed, pa.field(KEY, NAME))

    def widened(self, keys: Keys) -> Self:
        return super().widened((VALUE, kind) for name, kind in keys if name != STEP)

    def fit(self, run: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        named = sorted(set(batch.schema.names) - {STEP})
        names = [name for name in named if not _is_empty(batch.column(name))]
        fields = [batch.schema.field(name) for name in names]
        if surprises := self._surprises((VALUE, kind_of(field)) for field in fields):
            raise SchemaSurprise(surprises)
        wanted = self.kinds.get(VALUE, Kind.NULL)
        rows, keys, values = [_NO_ROWS], [_NO_KEYS], [pa.array([], wanted.arrow)]
        for index, field in enumerate(fields):
            column = as_kind(batch.column(field.name), kind_of(field), wanted)
            rows.append(pc.indices_nonzero(column.is_valid()))
            keys.append(pa.repeat(pa.scalar(index, pa.int32()), len(rows[-1])))
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
