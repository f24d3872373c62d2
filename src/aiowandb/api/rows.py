"""Rows in the form that their user asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from aiowandb.errors import RowError, UsageError

S = TypeVar("S", bound=msgspec.Struct)
RowsFormat = Literal["default", "pandas", "polars"]
_PLACE = re.compile(r" - at `\$\.?(.*)`$")


def as_structs(rows: Sequence[dict[str, Any]], kind: type[S], run: str) -> list[S]:
    """Each row as this struct, or a `RowError` that says which value does not fit."""
    try:
        return [msgspec.convert(row, kind) for row in rows]
    except msgspec.ValidationError:
        pass
    for row in rows:
        try:
            msgspec.convert(row, kind)
        except msgspec.ValidationError as error:
            place = _PLACE.search(str(error))
            key = place[1] if place else None
            what = _PLACE.sub("", str(error))
            step, value = row.get("_step"), row.get(key or "")
            named = f"{key!r} is {value!r}: " if key else ""
            raise RowError(
                f"Run {run}, step {step}: {named}{what}.", step=step, key=key, value=value
            ) from error
    raise AssertionError("a row that did not fit fits now")


def as_frame(rows: list[dict[str, Any]]) -> Any:
    """A pandas DataFrame where pandas is installed, else the rows."""
    try:
        import pandas as pd
    except ModuleNotFoundError:
        return rows
    return pd.DataFrame.from_records(rows)


def rows_format(format: RowsFormat) -> Callable[[list[dict[str, Any]]], Any]:
    """What makes rows into this format, if it is one and its package is there."""
    if format == "default":
        return lambda rows: rows
    if format == "pandas":
        import pandas as pd

        return lambda rows: pd.DataFrame.from_records(rows).sort_index(axis="columns")
    if format == "polars":
        import polars as pl

        from aiowandb.history.columns import rows_to_batch

        return lambda rows: pl.DataFrame(rows_to_batch(rows, sorted({n for r in rows for n in r})))
    raise UsageError(f"format must be default, pandas or polars, not {format!r}.")
