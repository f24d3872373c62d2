"""The folder of an export: held by us alone, and of the same export as before."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

import msgspec

from aiowandb.errors import ExportError
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.journal import VERSION, Begun, Journal, Record, Source
from aiowandb.export.options import ExportOptions

_JOURNAL = f"{STATE_DIR}/journal.jsonl"
_FILE = re.compile(r"(runs|history|system)\.(parquet|csv|jsonl|arrow)")
_FILE_OF_DATASET = re.compile(r".+\.(parquet|csv|jsonl|arrow)")
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
            return journals.enter_context(closing(Journal(folder, _JOURNAL)))

        there = None if overwrite else opened_journal()
        before = there.state.begun if there else None
        begun = Begun(VERSION, source, options.continuing(before.options if before else None))
        if there:
            _check(folder, there.records, begun)

        def begin() -> Journal:
            if overwrite:
                for name in _exported(folder):
                    folder.remove(name)
                folder.log(_JOURNAL, fresh=True).close()
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


def _exported(folder: Folder) -> list[str]:
    """The files that look as if an export had made them."""
    names = [name for name in folder.files("") if _FILE.fullmatch(name)]
    for place in ("history", "system", f"{STATE_DIR}/history", f"{STATE_DIR}/system"):
        names += [
            f"{place}/{name}" for name in folder.files(place) if _FILE_OF_DATASET.fullmatch(name)
        ]
    return names


def _check_free(folder: Folder) -> None:
    if taken := _exported(folder):
        raise ExportError(
            f"{folder} has {taken[0]}, and no journal of the export that made it. {_ANEW}"
        )


def _check_same(folder: Folder, before: Record, now: Begun) -> None:
    if not isinstance(before, Begun) or before.version != VERSION:
        raise ExportError(f"{folder} was exported by another version of aiowandb. {_ANEW}")
    options = before.options.continuing(before.options)
    differing = [
        f"{name} {getattr(old, name)!r} there, {getattr(new, name)!r} here"
        for old, new in ((before.source, now.source), (options, now.options))
        for name in old.__struct_fields__
        if msgspec.to_builtins(getattr(old, name)) != msgspec.to_builtins(getattr(new, name))
    ]
    if differing:
        raise ExportError(f"{folder} has another export ({'; '.join(differing)}). {_ANEW}")
