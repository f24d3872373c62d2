"""Converts rows to the type or format that was asked for."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast, get_type_hints, is_typeddict

import msgspec

from aiowandb.arguments import Unfit
from aiowandb.choices import RowsFormat
from aiowandb.errors import RowError, extra_needed

if TYPE_CHECKING:
    import pandas as pd

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_MISSING = re.compile(r"missing required field `(.*)`")


class RowType:
    """Converts rows to a class."""

    def __init__(self, kind: type, convert: Callable[[dict[str, Any]], Any]) -> None:
        self._kind = kind
        self._convert = convert

    def rows(self, rows: Sequence[dict[str, Any]], run: str) -> list[Any]:
        """The rows as instances; raises a `RowError` that names a value that does not fit."""
        made = []
        for row in rows:
            try:
                made.append(self._convert(row))
            except ValueError as error:  # msgspec's and pydantic's
                raise self._misfit(row, error, run) from error
        return made

    def _misfit(self, row: dict[str, Any], error: ValueError, run: str) -> RowError:
        """The error for a row that does not fit: where, why, and what to do."""
        key, what, is_missing = _misfit(error)
        step, value = row.get("_step"), row.get(key or "")
        place = f"Run {run}, step {step}"
        if is_missing:
            needed = [name for name in _required(self._kind) if name != "_step"]
            said = (
                f"{place} has no {key!r}, which {self._kind.__name__} requires: select rows with"
                f" all required fields by keys={needed!r}, or give the field a default."
            )
        else:
            said = f"{place}: {f'{key!r} is {value!r}: ' if key else ''}{what}."
        return RowError(said, step=step, key=key, value=value)


def row_type(kind: Any) -> RowType:
    """The converter for a class; raises `Unfit` if rows cannot be converted to it."""
    if not isinstance(kind, type):
        known = _is_known(type(kind))
        raise Unfit(f": write the class, {type(kind).__name__}" if known else "")
    if not _is_known(kind):
        raise Unfit
    if _is_pydantic(kind):
        return RowType(kind, _pydantic(kind))
    convert: Callable[[dict[str, Any]], Any] = partial(_convert, kind)
    try:
        if _is_named_tuple(kind):
            convert = _named_tuple(kind)
        convert({})
    except msgspec.ValidationError:
        pass  # an empty row does not fit, but all types of fields are supported
    except (TypeError, NameError) as error:
        raise Unfit(f": {error}") from None
    return RowType(kind, convert)


def _convert(kind: Any, row: dict[str, Any]) -> Any:
    return msgspec.convert(row, kind)


def _is_pydantic(kind: Any) -> bool:
    return hasattr(kind, "__pydantic_validator__")


def _is_known(kind: Any) -> bool:
    return (
        _is_pydantic(kind)
        or issubclass(kind, msgspec.Struct)
        or dataclasses.is_dataclass(kind)
        or hasattr(kind, "__attrs_attrs__")
        or _is_named_tuple(kind)
        or is_typeddict(kind)
        or (issubclass(kind, dict) and hasattr(kind, "__required_keys__"))  # typing_extensions'
    )


def _is_named_tuple(kind: Any) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _pydantic(kind: Any) -> Callable[[dict[str, Any]], Any]:
    if hasattr(kind, "model_validate"):
        validate = kind.model_validate
    else:  # a pydantic dataclass, so pydantic is imported
        validate = sys.modules["pydantic"].TypeAdapter(kind).validate_python
    return cast(Callable[[dict[str, Any]], Any], validate)


def _named_tuple(kind: Any) -> Callable[[dict[str, Any]], Any]:
    """The converter to a named tuple, which msgspec only converts from arrays."""
    hints, defaults = get_type_hints(kind), kind._field_defaults
    fields: list[Any] = [
        (name, hints.get(name, Any), msgspec.field(default_factory=partial(defaults.get, name)))
        if name in defaults
        else (name, hints.get(name, Any))
        for name in kind._fields
    ]
    struct = msgspec.defstruct(kind.__name__, fields)
    return lambda row: kind._make(msgspec.structs.astuple(msgspec.convert(row, struct)))


def _required(kind: Any) -> list[str]:
    """The keys of fields without a default."""
    if _is_pydantic(kind):
        fields = kind.__pydantic_fields__
        return [field.alias or name for name, field in fields.items() if field.is_required()]
    if _is_named_tuple(kind):
        return [name for name in kind._fields if name not in kind._field_defaults]
    info: Any = msgspec.inspect.type_info(kind)
    return [field.encode_name for field in info.fields if field.required]


def _misfit(error: Any) -> tuple[str | None, str, bool]:
    """The key of the value that does not fit, the reason, and whether it is missing."""
    if isinstance(error, msgspec.ValidationError):
        found = _PLACE.search(str(error))
        key, what = found[1] if found else None, _PLACE.sub("", str(error))
        if missing := _MISSING.search(what):
            return f"{key}.{missing[1]}" if key else missing[1], what, True
        return key, what, False
    first = error.errors()[0]  # pydantic's
    key = ".".join(map(str, first["loc"])) or None
    return key, first["msg"], first["type"] == "missing" and key is not None


def frame_if_possible(rows: list[dict[str, Any]]) -> pd.DataFrame | list[dict[str, Any]]:
    """A pandas DataFrame if pandas is installed, else the rows."""
    try:
        import pandas as pd
    except ModuleNotFoundError:
        return rows
    return pd.DataFrame.from_records(rows)


def rows_format(format: RowsFormat) -> Callable[[list[dict[str, Any]]], Any]:
    """Returns a function that converts rows to this format; raises if its package is missing."""
    if format == "default":
        return lambda rows: rows
    if format == "pandas":
        with extra_needed("pandas", 'format="pandas"'):
            import pandas as pd

        return lambda rows: pd.DataFrame.from_records(rows).sort_index(axis="columns")
    with extra_needed("polars", 'format="polars"'):
        import polars as pl

    from aiowandb.history.columns import rows_to_batch

    return lambda rows: pl.DataFrame(rows_to_batch(rows, sorted({n for r in rows for n in r})))
