"""The folder of an export: claimed for one export, cleared of an earlier one.

The journal names what an earlier export has made. Where there is none, or none that can be
read, what looks like an export is taken for one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

import msgspec

from aiowandb.config.hosts import names_of
from aiowandb.errors import ExportError
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.journal import VERSION, Begun, ExportState, Journal, Record, Source
from aiowandb.export.listing import TABLE
from aiowandb.export.options import MAY_CHANGE, ExportOptions
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


JOURNAL = f"{STATE_DIR}/journal.jsonl"
_ANEW = "Export into another folder, or with overwrite to start anew in this one."


@contextmanager
def opened(
    folder: Folder, source: Source, options: ExportOptions, *, overwrite: bool
) -> Iterator[Callable[[], Journal]]:
    """Hold the folder while the block runs, if this export may go into it.

    What is given begins or goes on with the export; before it is called, nothing that
    is there is changed: an export whose runs cannot even be listed costs nothing.
    """
    with folder.lock(), ExitStack() as journals:

        def opened_journal() -> Journal:
            return journals.enter_context(closing(Journal(folder, JOURNAL)))

        there = None if overwrite else opened_journal()
        before = there.state.begun if there else None
        # Whoever reads a Delta table may still know the names of the parts that it had before.
        token = secrets.token_hex(4) if overwrite and options.format == "delta" else ""
        continued = options.continuing(before.options if before else None)
        begun = Begun(VERSION, source, continued, token)
        if there:
            _check(folder, there.records, begun)

        def begin() -> Journal:
            if overwrite:
                discard_export(folder, JOURNAL)
            journal = there or opened_journal()
            if not journal.records:
                journal.append(begun)
            return journal

        yield begin


def _check(folder: Folder, records: Sequence[Record], begun: Begun) -> None:
    if records:
        _check_same(folder, records[0], begun)
    else:
        _check_free(folder)


def _check_free(folder: Folder) -> None:
    if taken := exported_names(folder):
        raise ExportError(
            f"{folder} has {taken[0]}, and no journal of the export that made it. {_ANEW}"
        )


def _check_same(folder: Folder, before: Record, now: Begun) -> None:
    if not isinstance(before, Begun) or before.version != VERSION:
        raise ExportError(f"{folder} was exported by another version of aiowandb. {_ANEW}")
    options = before.options.continuing(before.options).effective()
    source = before.source
    if now.source.host in names_of(source.host):  # another name of the same cloud
        source = msgspec.structs.replace(source, host=now.source.host)
    differing = [
        f"{name} {getattr(old, name)!r} there, {getattr(new, name)!r} here"
        for old, new in ((source, now.source), (options, now.options.effective()))
        for name in old.__struct_fields__
        if name not in MAY_CHANGE
        and msgspec.to_builtins(getattr(old, name)) != msgspec.to_builtins(getattr(new, name))
    ]
    if differing:
        raise ExportError(f"{folder} has another export ({'; '.join(differing)}). {_ANEW}")
