"""A part of a plan: some rows of a project, which any process can read without a key."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
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
from aiowandb.net import Session
from aiowandb.readplan.origin import Origin
from aiowandb.readplan.pickling import pickled
from aiowandb.readplan.reading import read_slices
from aiowandb.readplan.runs import RunSlice
from aiowandb.suggestions import no_such

_RENAMED = re.compile(r"run_id(_logged)+")


class Columns(msgspec.Struct, frozen=True, array_like=True):
    """The columns of a plan with their kinds, as announced by W&B."""

    kinds: dict[str, Kind] = {}
    clashes: tuple[str, ...] = ()
    is_system: bool = False

    @classmethod
    def of(cls, schema: RowSchema) -> Columns:
        is_system = isinstance(schema, SystemSchema)
        return cls(dict(schema.kinds), tuple(sorted(schema.clashes)), is_system)

    def schema(self, names: Collection[str] | None = None) -> RowSchema:
        """The schema of all rows, or with only these keys."""
        kind = SystemSchema if self.is_system else RowSchema
        if names is None:
            return kind(self.kinds, self.clashes)
        return kind({name: kind for name, kind in self.kinds.items() if name in names})


class PartData(msgspec.Struct, frozen=True, array_like=True):
    """The data of a part."""

    origin: Origin
    columns: Columns
    selection: Selection
    slices: tuple[RunSlice, ...]


class ReadPart:
    """Some of the rows of a plan. It is small, and can be sent to any process and read there.

    Reading needs no event loop and no API key, and returns the same rows each time. Anyone with
    the part can read its rows until its links expire: protect it as you protect them.

    >>> for batch in part.read(columns=["loss"]):
    ...     print(batch.num_rows)
    """

    def __init__(self, data: PartData) -> None:
        self._data = data

    @property
    def schema(self) -> pa.Schema:
        """The columns, the same for all parts of a plan."""
        return self._data.columns.schema().arrow

    @property
    def rows(self) -> int:
        """The approximate number of rows."""
        return sum(one.rows for one in self._data.slices)

    @property
    def runs(self) -> tuple[str, ...]:
        """The ids of its runs, of which it has all rows or some."""
        return tuple(one.run.run for one in self._data.slices)

    def read(
        self, columns: Sequence[str] | None = None, *, refresh: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows as Arrow record batches, run after run, each in step order.

        With `columns`, only these, in this order; the others are not downloaded if files are
        large. Expired links are a `LinkError`; with `refresh`, new ones are requested with the API
        key of this process.
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
            # Our own columns are always read, and keys with their names may not be requested.
            own = {field.name for field in schema.fixed}
            keys = frozenset(_key_of(name) for name in columns if name not in own)
            selection = msgspec.structs.replace(selection, projection=keys)
        portal = Portal()
        read = partial(self._read, selection=selection, schema=schema, refresh=refresh)
        try:
            session = portal.keep_open(data.origin.session)

            def start() -> Stream[pa.RecordBatch]:
                return session.ahead(read(session))

            with closing(portal.iterate(start)) as batches:
                for batch in batches:
                    yield batch if columns is None else batch.select(columns)
        finally:
            portal.close()

    def _all_by(self, session: Session) -> AsyncGenerator[pa.RecordBatch]:
        """All rows, read by a session that there is."""
        schema = self._data.columns.schema()
        return self._read(session, self._data.selection, schema, refresh=False)

    def _read(
        self, session: Session, selection: Selection, schema: RowSchema, *, refresh: bool
    ) -> AsyncGenerator[pa.RecordBatch]:
        data = self._data
        return read_slices(session, data.origin, data.slices, selection, schema, refresh=refresh)

    def reader(
        self, columns: Sequence[str] | None = None, *, refresh: bool = False
    ) -> pa.RecordBatchReader:
        """The rows as an Arrow stream, which duckdb, polars and pandas read directly."""
        schema = self.schema
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in self._checked(columns)])
        return pa.RecordBatchReader.from_batches(schema, self.read(columns, refresh=refresh))

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Lets pandas, polars and duckdb read the part directly."""
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
    """The key of a column; a key with the name of one of our columns has another name there."""
    return column.removesuffix("_logged") if _RENAMED.fullmatch(column) else column


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema for engines without dictionaries and columns of nulls, which become text."""
    return pa.schema(
        [
            pa.field(field.name, pa.string())
            if pa.types.is_dictionary(field.type) or pa.types.is_null(field.type)
            else pa.field(field.name, field.type)
            for field in schema
        ]
    )
