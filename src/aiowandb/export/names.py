"""The names of an export's tables, and of their files while they are not published.

The table of a key is in `tables`; characters that no file name can have are quoted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from aiowandb.choices import EVERYTHING, What
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.files.folder import is_device

# Exports of other things than these have files, or no rows of their own.
_NO_ROWS = frozenset({"runs", "sweeps", "reports", "files", "artifacts", "tables"})
DATASETS: Final = tuple(name for name in EVERYTHING if name not in _NO_ROWS)
# Tables that are one file, written again by each export.
PLAIN_TABLES: Final = ("runs", "sweeps")
# The table of sweeps in Parquet, which is kept beside other formats for its types.
SWEEPS_FILE: Final = "sweeps.parquet"
# What is exported of single runs; the others are of the project.
RUN_KINDS: Final[tuple[What, ...]] = tuple(
    name for name in EVERYTHING if name not in ("runs", "sweeps", "reports")
)
# The folder in a Delta table with the list of its parts.
DELTA_LOG: Final = "_delta_log"
# The folder of the project's reports.
REPORTS: Final = "reports"
# The folder of the tables that runs have logged.
LOGGED_TABLES: Final = "tables"
# File systems allow 255 bytes; some are left for a suffix and for temporary names.
_MAX_NAME = 200


def file_name(text: str, *, windows: bool = os.name == "nt") -> str:
    """A file name, without a suffix, that is different for each text."""
    # Readers of datasets skip names that start with a dot or an underscore.
    name = quote(text, safe="-_.", errors="backslashreplace") or "%"
    if windows and name[-1] == ".":  # which Windows leaves out
        name = f"{name[:-1]}%2E"
    if name[0] in "._" or (windows and is_device(name)):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if len(name) > _MAX_NAME:
        name = f"{name[:_MAX_NAME]}~{sha256(text.encode()).hexdigest()[:16]}"
    return name


def logged_table(key: str) -> str:
    """The name of the table of a key, with `~2F` for a slash, as URLs have `%2F`.

    Libraries that take a path for a URL would make a slash of `%2F`.
    """
    return f"{LOGGED_TABLES}/{file_name(key).replace('~', '~7E').replace('%', '~')}"


def staged_part(dataset: str, number: int) -> str:
    """The file of a part that is not published, among the staged files."""
    return f"{_flat(dataset)}-{number}.parquet"


def staged_runs(dataset: str, number: int, token: str) -> str:
    """A file of runs whose part is not complete, among the staged files."""
    return f"{_flat(dataset)}-{number}-{token}"


def has_staged_runs(dataset: str, name: str) -> bool:
    """Whether a staged file has such a name, with the suffix of its format."""
    return bool(re.fullmatch(rf"{re.escape(_flat(dataset))}-\d+-[0-9a-f]{{8}}-\d+\.arrows", name))


def all_datasets(folder: Folder, known: Iterable[str]) -> list[str]:
    """The datasets that the folder may have: those that are known, and those with usual names."""
    logged = {
        f"{LOGGED_TABLES}/{name.split('/')[0]}"
        for home in (LOGGED_TABLES, f"{STATE_DIR}/{LOGGED_TABLES}")
        for name in folder.files(home, recursive=True)
        if "/" in name
    }
    return list(dict.fromkeys((*DATASETS, *known, *sorted(logged))))


def _flat(dataset: str) -> str:
    return quote(dataset, safe="")
