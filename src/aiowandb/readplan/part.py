"""A part of a plan: some rows of a project, which any process can read without a key."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from functools import partial

import msgspec
import pyarrow as pa

from aiowandb.concurrency.portal import Portal
from aiowandb.concurrency.tasks import Stream
from aiowandb.errors import UsageError
from aiowandb.export.schema import RowSchema, SystemSchema
from aiowandb.history.columns import Kind
from aiowandb.history.selection import Selection
from aiowandb.readplan.origin import Origin
from aiowandb.readplan.pickling import pickled
from aiowandb.readplan.reading import read_slices
from aiowandb.readplan.runs import RunSlice
from aiowandb.suggestions import no_such

_RENAMED = re.compile(r"run_id(_logged)+")


class Columns(msgspec.Struct, frozen=True, array_like=True):
    """The columns of a plan: those that W&B announced of the runs, with their kinds."""

    kinds: dict[str, Kind] = {}
    clashes: tuple[str, ...] = ()
    is_system: bool = False

    @classmethod
    def of(cls, schema: RowSchema) -> Columns:
        is_system = isinstance(schema, SystemSchema)
        return cls(dict(schema.kinds), tuple(sorted(schema.clashes)), is_system)

    def schema(self, names: Collection[str] | None = None) -> RowSchema:
        """The schema of all rows, or one with those of the keys that are named."""
        kind = SystemSchema if self.is_system else RowSchema
        if names is None:
            return kind(self.kinds, self.clashes)
        return kind({name: kind for name, kind in self.kinds.items() if name in names})


class PartData(msgspec.Struct, frozen=True, array_like=True):
    """Everything that a part is."""

    origin: Origin
    columns: Columns
    selection: Selection
    slices: tuple[RunSlice, ...]


class ReadPart:
    """Some of the rows of a plan. It is small, and reads itself in whatever process it is sent to.

    Reading needs neither an event loop nor an API key, and gives the same rows each time.
    Whoever has the part has its rows until its links end: keep it as you keep them.

    >>> for batch in part.read(columns=["loss"]):
    ...     print(batch.num_rows)
    """

    def __init__(self, data: PartData) -> None:
        self._data = data

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows, the same for all parts of a plan."""
        return self._data.columns.schema().arrow

    @property
    def rows(self) -> int:
        """About how many rows it has."""
        return sum(one.rows for one in self._data.slices)

    @property
    def runs(self) -> tuple[str, ...]:
        """The ids of the runs whose rows it has, all of them or some."""
        return tuple(one.run.run for one in self._data.slices)

    def read(
        self, columns: Sequence[str] | None = None, *, refresh: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows as Arrow record batches, run after run, each run's in step order.

        Only `columns` of them, in their order, if these are named: the others are not even
        fetched where the files are large. Links that have ended are a `LinkError`; with `refresh`
        fresh ones are asked for, with the API key that this process finds.
        """
        names = None if columns is None else self._checked(columns)
        return self._batches(names, refresh=refresh)

    def _checked(self, columns: Sequence[str]) -> list[str]:
        if isinstance(columns, str):
            raise UsageError(f"columns must be a list of names: write [{columns!r}].")
        known = self.schema.names
        for name in columns:
            if name not in known:
                raise UsageError(no_such("column", name, known, "in the plan"))
        return list(columns)

    def _batches(self, columns: list[str] | None, *, refresh: bool) -> Iterator[pa.RecordBatch]:
        data = self._data
        selection, schema = data.selection, data.columns.schema(columns)
        if columns is not None:
            # Our own columns are always there, and may be called like keys that are not asked for.
            own = {field.name for field in schema.fixed}
            keys = frozenset(_key_of(name) for name in columns if name not in own)
            selection = msgspec.structs.replace(selection, projection=keys)
        portal = Portal()
        try:
            session = portal.keep_open(data.origin.session)

            def start() -> Stream[pa.RecordBatch]:
                read = partial(read_slices, session, data.origin, data.slices, selection, schema)
                return session.ahead(read(refresh=refresh))

            with closing(portal.iterate(start)) as batches:
                for batch in batches:
                    yield batch if columns is None else batch.select(columns)
        finally:
            portal.close()

    def reader(
        self, columns: Sequence[str] | None = None, *, refresh: bool = False
    ) -> pa.RecordBatchReader:
        """The same as one Arrow stream, which duckdb, polars and pandas read directly."""
        schema = self.schema
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in self._checked(columns)])
        return pa.RecordBatchReader.from_batches(schema, self.read(columns, refresh=refresh))

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """What pandas, polars and duckdb read the part through."""
        return self.reader().__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]

    def __reduce__(self) -> tuple[object, ...]:
        return pickled(ReadPart, self._data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadPart) and self._data == other._data

    def __hash__(self) -> int:
        return hash((self.runs, self.rows))

    def __repr__(self) -> str:
        where = f"{self._data.origin.entity}/{self._data.origin.project}"
        return f"<ReadPart {where}: {len(self.runs)} runs, about {self.rows:,} rows>"


def _key_of(column: str) -> str:
    """The key that a column is of: one that is called like ours was given another name."""
    return column.removesuffix("_logged") if _RENAMED.fullmatch(column) else column


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema for engines that know neither dictionaries nor columns of nulls: as text."""
    return pa.schema(
        [
            pa.field(field.name, pa.string())
            if pa.types.is_dictionary(field.type) or pa.types.is_null(field.type)
            else pa.field(field.name, field.type)
            for field in schema
        ]
    )
