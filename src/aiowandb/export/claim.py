"""Claims the folder for one export, and discards an earlier one with `overwrite`.

The journal has the files of an earlier export. Without a readable journal, files with the names of
exported files count as such.
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
from aiowandb.export.journal import (
    VERSION,
    Begun,
    ExportIdentity,
    ExportState,
    Journal,
    Record,
    read_state,
)
from aiowandb.export.manifest import JOURNAL_COPY, MANIFEST, SEAL
from aiowandb.export.names import (
    DATASETS,
    DELTA_LOG,
    LOGGED_TABLES,
    PLAIN_TABLES,
    REPORTS,
    SWEEPS_FILE,
    all_datasets,
)
from aiowandb.export.options import ExportOptions, differences
from aiowandb.export.originals import ARTIFACTS_FOLDER, ORIGINALS_FILE
from aiowandb.export.runs_table import RUNS_FILE
from aiowandb.export.staging import STAGED

_TABLE_FILE = re.compile(rf"({'|'.join((*PLAIN_TABLES, *DATASETS))})\.(parquet|csv|jsonl|arrow)")
_DATASET_FILE = re.compile(r".+\.(parquet|csv|jsonl|arrow)")
_PART = re.compile(r"part-\d{5,}(-[0-9a-f]{8})?\.parquet")
# The names that the Delta Lake library gives to its files.
_DELTA_FILE = re.compile(r"part-\d{5}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-c\d{3}\..*parquet")
_REMOVALS_AT_ONCE = 16

JOURNAL = f"{STATE_DIR}/journal.jsonl"
_HINT = "Export into another folder, or use overwrite to discard the existing export."
_REPAIR = "Use repair to make it again from the files that are whole, or overwrite to start over."


@contextmanager
def claim_folder(
    folder: Folder, identity: ExportIdentity, options: ExportOptions, *, overwrite: bool
) -> Iterator[Callable[[], tuple[Journal, ExportOptions]]]:
    """Lock the folder while the block runs, if it can be used for this export.

    The block gets a function that starts or resumes the export. Nothing in the folder changes
    before it is called, so an export whose runs cannot be listed does no harm. It returns the
    journal, and the options with those that were left open as they were in this folder.
    """
    with folder.lock(), ExitStack() as journals:

        def open_journal() -> Journal:
            return journals.enter_context(closing(Journal(folder, JOURNAL)))

        with _not_taken_over(folder):
            existing = None if overwrite else open_journal()
            before = existing.state.begun if existing else None
            # Readers of a Delta table may still refer to the names of its former parts.
            token = secrets.token_hex(4) if overwrite and options.format == "delta" else ""
            continued = options.continuing(before.options if before else None)
            begun = Begun(VERSION, identity, continued, token, sealed=True)
            if existing:
                _check(folder, existing.records, begun)

        def begin() -> tuple[Journal, ExportOptions]:
            if overwrite:
                _discard_export(folder)
            journal = existing or open_journal()
            if not journal.records:
                journal.append(begun)
            return journal, continued

        yield begin


@contextmanager
def _not_taken_over(folder: Folder) -> Iterator[None]:
    """Say of a folder that cannot be used that another process has it, if that is the reason.

    While this process was asleep, that one may have written what does not fit what was read before.
    """
    try:
        yield
    except ExportError:
        folder.check()
        raise


def read_claimed(
    folder: Folder, identity: ExportIdentity, options: ExportOptions, *, overwrite: bool
) -> tuple[ExportState, ExportOptions]:
    """What `claim_folder` would find in the folder, without changing anything there.

    Raises if it could not be used for this export.
    """
    existing = ExportState() if overwrite else read_state(folder, JOURNAL)
    before = existing.begun
    continued = options.continuing(before.options if before else None)
    if not overwrite:
        _check(folder, list(existing.records()), Begun(VERSION, identity, continued))
    return existing, continued


def check_same(
    folder: Folder, begun: Begun, identity: ExportIdentity, options: ExportOptions
) -> None:
    """Raise unless what has begun in the folder is this export."""
    _check_same(folder, begun, Begun(VERSION, identity, options.continuing(begun.options)))


def _check(folder: Folder, records: Sequence[Record], begun: Begun) -> None:
    if records:
        _check_same(folder, records[0], begun)
    else:
        _check_empty(folder)


def _check_empty(folder: Folder) -> None:
    if taken := _exported_names(folder):
        raise ExportError(f"{folder} has {taken[0]}, but no journal of its export. {_REPAIR}")


def _check_same(folder: Folder, before: Record, now: Begun) -> None:
    if not isinstance(before, Begun) or before.version != VERSION:
        raise ExportError(f"{folder} was exported by another version of aiowandb. {_HINT}")
    options = before.options.continuing(before.options).effective()
    identity = before.identity
    if now.identity.host in names_of(identity.host):  # another name of the same cloud
        identity = msgspec.structs.replace(identity, host=now.identity.host)
    differing = differences(identity, now.identity)
    differing += differences(options, now.options.effective())
    if differing:
        raise ExportError(f"{folder} has another export ({'; '.join(differing)}). {_HINT}")


def _exported_names(folder: Folder) -> list[str]:
    """The files with the names of exported files."""
    names = [name for name in folder.files("") if _TABLE_FILE.fullmatch(name)]
    datasets = all_datasets(folder, ())
    for place in (*datasets, LOGGED_TABLES, *(f"{STATE_DIR}/{name}" for name in datasets)):
        names += [
            f"{place}/{name}" for name in folder.files(place) if _DATASET_FILE.fullmatch(name)
        ]
    for name in (*PLAIN_TABLES, *datasets):
        names += [f"{name}/{file}" for file in folder.files(name) if _DELTA_FILE.fullmatch(file)]
        names += [f"{name}/{DELTA_LOG}/{file}" for file in folder.files(f"{name}/{DELTA_LOG}")]
    return names


def _discard_export(folder: Folder) -> None:
    """Remove the files of the last export into the folder, in any format, and its journal."""
    state = _read_state(folder)
    names = list(_files_of(folder, state)) if state else _exported_names(folder)
    datasets = all_datasets(folder, state.datasets if state else ())
    for name in (*PLAIN_TABLES, *datasets):  # first, so that no table lists files that were removed
        folder.remove_folder(f"{name}/{DELTA_LOG}")
    with ThreadPoolExecutor(_REMOVALS_AT_ONCE) as pool:
        list(pool.map(folder.remove, names))
    for name in (STAGED, ARTIFACTS_FOLDER, *(f"{STATE_DIR}/{name}" for name in datasets)):
        folder.remove_folder(name)
    for name in (
        f"{STATE_DIR}/{RUNS_FILE}",
        f"{STATE_DIR}/{SWEEPS_FILE}",
        ORIGINALS_FILE,
        MANIFEST,
        SEAL,
        JOURNAL_COPY,
    ):
        folder.remove(name)
    # Last: if this process is killed before, the journal still has the files to remove.
    folder.log(JOURNAL, fresh=True).close()


def _read_state(folder: Folder) -> ExportState | None:
    """The state in the journal; None if it cannot be read, or is empty."""
    try:
        with closing(Journal(folder, JOURNAL)) as journal:
            return journal.state if journal.state.begun else None
    except ExportError:
        return None


def _files_of(folder: Folder, state: ExportState) -> Iterator[str]:
    """The files of the export that are meant for users."""
    if state.begun:
        yield from (f"{name}.{state.begun.options.format}" for name in PLAIN_TABLES)
    for name in all_datasets(folder, state.datasets):
        dataset = state.dataset(name)
        yield from dataset.rendered
        parts = dataset.files if _publishes_parts(state) else set()
        # No other files have such names: an earlier version left them behind.
        yield from (
            f"{name}/{file}"
            for file in folder.files(name)
            if file in parts or _PART.fullmatch(file)
        )
    if state.begun and REPORTS in state.begun.options.what:
        reports = folder.files(REPORTS)
        yield from (f"{REPORTS}/{file}" for file in reports if file.endswith(".json"))
    for name in PLAIN_TABLES:
        if folder.files(f"{name}/{DELTA_LOG}"):
            files = folder.files(name)
            yield from (f"{name}/{file}" for file in files if _DELTA_FILE.fullmatch(file))
    for (kind, _), fetched in state.fetched.items():
        yield from (f"{kind}/{file.name}" for file in fetched.files or ())


def _publishes_parts(state: ExportState) -> bool:
    """Whether users get the parts, and not files made from them."""
    return state.begun is not None and state.begun.options.publishes_parts
