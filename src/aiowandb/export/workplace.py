"""The folder of an export: held by us alone, and of the same export as before."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

import msgspec

from aiowandb.cloud import names_of
from aiowandb.errors import ExportError
from aiowandb.export.discard import discard_export, exported_names
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.journal import VERSION, Begun, Journal, Record, Source
from aiowandb.export.options import MAY_CHANGE, ExportOptions

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
    options = before.options.continuing(before.options)
    source = before.source
    if now.source.host in names_of(source.host):  # another name of the same cloud
        source = msgspec.structs.replace(source, host=now.source.host)
    differing = [
        f"{name} {getattr(old, name)!r} there, {getattr(new, name)!r} here"
        for old, new in ((source, now.source), (options, now.options))
        for name in old.__struct_fields__
        if name not in MAY_CHANGE
        and msgspec.to_builtins(getattr(old, name)) != msgspec.to_builtins(getattr(new, name))
    ]
    if differing:
        raise ExportError(f"{folder} has another export ({'; '.join(differing)}). {_ANEW}")
