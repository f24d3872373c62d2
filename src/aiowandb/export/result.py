"""What an export has done."""

from __future__ import annotations

from pathlib import Path

import msgspec

from aiowandb.errors import AiowandbError


class RunFailure(msgspec.Struct, frozen=True):
    """A run of which something could not be had. The next export tries it again."""

    run: str
    error: AiowandbError


class Clash(msgspec.Struct, frozen=True):
    """A column whose values have no kind in common, and are JSON texts therefore."""

    column: str
    values: int


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What there is now, and what it cost. `requests` are those that W&B's limits count;
    what else the session did meanwhile is not in the numbers.

    `deleted` are runs that are kept although W&B has them no more. `unknown_keys` are keys that
    were named, and that none of the runs has.
    """

    runs: int
    rows: int
    requests: int
    downloads: int
    received_bytes: int
    written_bytes: int
    seconds: float
    files: tuple[Path | str, ...]
    failed: tuple[RunFailure, ...] = ()
    clashes: tuple[Clash, ...] = ()
    deleted: tuple[str, ...] = ()
    unknown_keys: tuple[str, ...] = ()
