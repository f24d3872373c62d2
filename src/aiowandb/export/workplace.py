"""The folder of an export: held by us alone, and of the same export as before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from aiowandb.errors import ExportError
from aiowandb.export.folder import WORKPLACE, Folder
from aiowandb.export.journal import VERSION, Begun, Journal, Record, Source
from aiowandb.export.lock import held
from aiowandb.export.options import ExportOptions

_JOURNAL = f"{WORKPLACE}/journal.jsonl"
_FILE = re.compile(r"(runs|history|system)\.(parquet|csv|jsonl|arrow)")
_FILE_OF_DATASET = re.compile(r".+\.(parquet|csv|jsonl|arrow)")
_ANEW = "Export into another folder, or with overwrite to start anew in this one."


@contextmanager
def opened(
    folder: Folder, source: Source, options: ExportOptions, *, overwrite: bool
) -> Iterator[Journal]:
    """Hold the folder while the block runs, and go on with the journal that is there."""
    with held(folder.root):
        if overwrite:
            for name in _exported(folder):
                folder.remove(name)
            folder.remove(_JOURNAL)
        folder.prepare()
        journal = Journal(folder.path(_JOURNAL))
        try:
            journal.open()
            if journal.records:
                _check_same(folder, journal.records[0], Begun(VERSION, source, options))
            else:
                _check_free(folder)
                journal.append(Begun(VERSION, source, options))
            yield journal
        finally:
            journal.close()


def _exported(folder: Folder) -> list[str]:
    """The files that look as if an export had made them."""
    names = [name for name in folder.names("") if _FILE.fullmatch(name)]
    for place in ("history", "system", f"{WORKPLACE}/history", f"{WORKPLACE}/system"):
        names += [
            f"{place}/{name}" for name in folder.names(place) if _FILE_OF_DATASET.fullmatch(name)
        ]
    return names


def _check_free(folder: Folder) -> None:
    if taken := _exported(folder):
        raise ExportError(
            f"{folder.root} has {taken[0]}, and no journal of the export that made it. {_ANEW}"
        )


def _check_same(folder: Folder, before: Record, now: Begun) -> None:
    if not isinstance(before, Begun) or before.version != VERSION:
        raise ExportError(f"{folder.root} was exported by another version of aiowandb. {_ANEW}")
    differing = [
        f"{name} {getattr(old, name)!r} there, {getattr(new, name)!r} here"
        for old, new in ((before.source, now.source), (before.options, now.options))
        for name in old.__struct_fields__
        if msgspec.to_builtins(getattr(old, name)) != msgspec.to_builtins(getattr(new, name))
    ]
    if differing:
        raise ExportError(f"{folder.root} has another export ({'; '.join(differing)}). {_ANEW}")
