"""The folder of an export: held by us alone, and of the same export as before."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pyarrow as pa
from pyarrow.fs import FileSystem, LocalFileSystem

from aiowandb.errors import ExportError, UsageError
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.folders.local import LocalFolder
from aiowandb.export.folders.remote import RemoteFolder
from aiowandb.export.journal import VERSION, Begun, Journal, Record, Source
from aiowandb.export.options import ExportOptions

_JOURNAL = f"{STATE_DIR}/journal.jsonl"
_FILE = re.compile(r"(runs|history|system)\.(parquet|csv|jsonl|arrow)")
_FILE_OF_DATASET = re.compile(r".+\.(parquet|csv|jsonl|arrow)")
# pyarrow would try for a quarter of an hour, also where nobody is logged in.
_GOOGLE_PATIENCE_S = 60
_ANEW = "Export into another folder, or with overwrite to start anew in this one."


def folder_at(target: str | Path, filesystem: Any = None) -> Folder:
    """The folder of a path or URL, in a file system of pyarrow or fsspec if one is given."""
    if target == "":
        raise UsageError("The folder to export into has no name.")
    if filesystem is not None:
        return RemoteFolder(filesystem, str(target), str(target))
    if isinstance(target, Path) or "://" not in target:
        return LocalFolder(Path(target))
    try:
        found, path = FileSystem.from_uri(_in_finite_time(target))
    except (pa.ArrowException, ImportError, OSError, ValueError) as error:
        raise UsageError(f"{_named(target)} cannot be exported into: {error}") from error
    if not path.strip("/"):
        raise UsageError(f"{_named(target)} names no folder.")
    if isinstance(found, LocalFileSystem):
        return LocalFolder(Path(path))
    return RemoteFolder(found, path, _named(target), target)


def _in_finite_time(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("gs", "gcs") or "retry_limit_seconds" in parts.query:
        return url
    query = f"{parts.query}&retry_limit_seconds={_GOOGLE_PATIENCE_S}".removeprefix("&")
    return urlunsplit(parts._replace(query=query))


def _named(url: str) -> str:
    """The URL without credentials, which may stand before an @ or behind a question mark."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


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
                for name in (*_exported(folder), _JOURNAL):
                    folder.remove(name)
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
