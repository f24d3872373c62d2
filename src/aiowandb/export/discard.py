"""What an export has made in a folder, so that another one can begin there.

The journal says so name by name. Where there is none, or none that can be read, what looks
like an export is taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from aiowandb.errors import ExportError
from aiowandb.export.archive import TABLE
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.journal import ExportState, Journal
from aiowandb.export.staging import STAGED

_TABLES = ("runs", "history", "system")
_DATASETS = ("history", "system")
_FILE = re.compile(r"(runs|history|system)\.(parquet|csv|jsonl|arrow)")
_FILE_OF_DATASET = re.compile(r".+\.(parquet|csv|jsonl|arrow)")
_PART = re.compile(r"part-\d{5,}(-[0-9a-f]{8})?\.parquet")
# As the library for Delta tables names what it writes.
_FILE_OF_TABLE = re.compile(
    r"part-\d{5}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-c\d{3}\..*parquet"
)
_DELTA_LOG = "_delta_log"
_REMOVED_AT_ONCE = 16


def exported_names(folder: Folder) -> list[str]:
    """The files that look as if an export had made them."""
    names = [name for name in folder.files("") if _FILE.fullmatch(name)]
    for place in (*_DATASETS, *(f"{STATE_DIR}/{name}" for name in _DATASETS)):
        names += [
            f"{place}/{name}" for name in folder.files(place) if _FILE_OF_DATASET.fullmatch(name)
        ]
    for name in _TABLES:
        names += [f"{name}/{file}" for file in folder.files(name) if _FILE_OF_TABLE.fullmatch(file)]
        names += [f"{name}/{_DELTA_LOG}/{file}" for file in folder.files(f"{name}/{_DELTA_LOG}")]
    return names


def discard_export(folder: Folder, journal: str) -> None:
    """Remove what the last export into the folder has made, in any format, and its journal."""
    state = _state(folder, journal)
    names = list(_made(folder, state)) if state else exported_names(folder)
    for name in _TABLES:  # first, so that no table has files that are gone
        folder.remove_folder(f"{name}/{_DELTA_LOG}")
    with ThreadPoolExecutor(_REMOVED_AT_ONCE) as pool:
        list(pool.map(folder.remove, names))
    for name in (STAGED, *(f"{STATE_DIR}/{name}" for name in _DATASETS)):
        folder.remove_folder(name)
    folder.remove(f"{STATE_DIR}/{TABLE}")
    # Last: if we are killed before, it is known what there is to remove.
    folder.log(journal, fresh=True).close()


def _state(folder: Folder, journal: str) -> ExportState | None:
    """What the journal says; None if it cannot be understood, or says nothing."""
    try:
        with closing(Journal(folder, journal)) as opened:
            return opened.state if opened.state.begun else None
    except ExportError:
        return None


def _made(folder: Folder, state: ExportState) -> Iterator[str]:
    """The files that the export has made, without those that are only its own."""
    if state.begun:
        yield f"runs.{state.begun.options.format}"
    for name in _DATASETS:
        dataset = state.dataset(name)
        yield from dataset.rendered
        parts = dataset.files if _has_parts(state) else set()
        # Such names nobody else gives: an earlier version has left them behind.
        yield from (
            f"{name}/{file}"
            for file in folder.files(name)
            if file in parts or _PART.fullmatch(file)
        )
    if folder.files(f"runs/{_DELTA_LOG}"):
        yield from (
            f"runs/{file}" for file in folder.files("runs") if _FILE_OF_TABLE.fullmatch(file)
        )
    for (kind, _), fetched in state.fetched.items():
        yield from (f"{kind}/{file.name}" for file in fetched.files or ())


def _has_parts(state: ExportState) -> bool:
    """Whether readers find the parts themselves, and not what was made of them."""
    return state.begun is not None and state.begun.options.format in ("parquet", "delta")
