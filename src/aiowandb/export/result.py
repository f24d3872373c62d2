"""What an export has done."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Format = Literal["parquet", "csv"]


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was written and what it cost. `requests` are those that W&B's limits count."""

    runs: int
    rows: int
    requests: int
    downloads: int
    received_bytes: int
    written_bytes: int
    seconds: float
    files: tuple[Path, ...]
