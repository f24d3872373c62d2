"""Reads the rows of a plan as frames or tables of polars, duckdb, pandas and Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import UsageError, extra_needed
from aiowandb.readplan.part import ReadPart

if TYPE_CHECKING:
    import polars as pl

    from aiowandb.choices import FrameFormat
    from aiowandb.net import Session


def scanner(
    part: ReadPart, columns: Any, filter: ds.Expression | None, options: Mapping[str, Any]
) -> ds.Scanner:
    """Arrow's scanner over the rows of the part, which reads only what it needs."""
    names = _needed(part.schema.names, columns, filter)
    reader = part.reader(names)
    known = {name: options[name] for name in ("batch_size", "use_threads") if name in options}
    return ds.Scanner.from_batches(reader, columns=columns, filter=filter, **known)


def _needed(names: list[str], columns: Any, filter: ds.Expression | None) -> list[str] | None:
    """The columns that a scan needs, or None if that cannot be known from its expressions."""
    if columns is None or isinstance(columns, Mapping):
        return None
    asked = set(columns)
    if filter is not None:
        # An expression does not list its columns, but fails if one of them is missing.
        asked |= {name for name in names if not _does_without(filter, name, names)}
    # Arrow supports rows without columns, but not all of its users do.
    return [name for name in names if name in asked] or names[:1]


def _does_without(filter: ds.Expression, name: str, names: list[str]) -> bool:
    if name not in str(filter):
        return True
    others = pa.schema([pa.field(other, pa.null()) for other in names if other != name])
    try:
        ds.Scanner.from_batches(iter(()), schema=others, filter=filter)
    except (pa.ArrowException, KeyError, ValueError) as error:
        return name not in str(error)
    return True


def to_duckdb(plan: ds.Dataset, connection: Any) -> Any:
    """The plan, which is a dataset, as a relation of duckdb."""
    with extra_needed("duckdb", "to_duckdb()"):
        import duckdb
    return (connection or duckdb).from_arrow(plan)


def to_lazy(rows: ReadPart) -> pl.LazyFrame:
    """The rows as a source of polars."""
    with extra_needed("polars", "to_lazy()"):
        import polars as pl
        from polars.io.plugins import register_io_source

    def read(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        rows_left = n_rows
        for batch in rows.read(with_columns):
            for piece in _pieces(batch, batch_size):
                frame = pl.DataFrame(piece)
                if rows_left is not None:
                    frame = frame.head(rows_left)
                    rows_left -= frame.height
                yield frame if predicate is None else frame.filter(predicate)
                if rows_left == 0:
                    return

    schema = pl.DataFrame(rows.schema.empty_table()).schema
    return register_io_source(read, schema=schema)


def _pieces(batch: pa.RecordBatch, size: int | None) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, size or batch.num_rows):
        yield batch.slice(start, size)


def to_frame(rows: ReadPart, format: FrameFormat) -> Any:
    """All rows as one frame."""
    require(format)
    return frame_of(rows.reader().read_all(), format)


async def read_frame(session: Session, rows: ReadPart, format: FrameFormat) -> Any:
    """All rows as one frame, read by this session: within its limits, and until it is cancelled."""
    await run_sync(require, format)
    async with aclosing(rows._all_by(session)) as batches:
        read = [batch async for batch in batches]
    return await run_sync(frame_of, pa.Table.from_batches(read, rows.schema), format)


def require(format: FrameFormat) -> None:
    """Raise if the library of the format is not installed."""
    if format == "polars":
        _polars()
    elif format == "pandas":
        with extra_needed("pandas", "to_frame(format='pandas')"):
            import pandas as pd  # noqa: F401 - pyarrow needs it
    elif format != "arrow":
        raise UsageError(f"format must be 'polars', 'pandas' or 'arrow', not {format!r}.")


def frame_of(table: pa.Table, format: FrameFormat) -> Any:
    """The table in this format."""
    if format == "polars":
        return _polars().DataFrame(table)
    return table.to_pandas() if format == "pandas" else table


def _polars() -> Any:
    with extra_needed("polars", "to_frame()"):
        import polars as pl
    return pl
