"""What of the runs is exported, and in which form."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from aiowandb.errors import UsageError

Format = Literal["parquet", "csv"]


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What of the runs is exported, and in which form. Wrong values are refused when it is made."""

    format: Format = "parquet"

    def __post_init__(self) -> None:
        _check("format", self.format, get_args(Format))


def _check(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"The {name} {value!r} is not one of {', '.join(allowed)}.")
