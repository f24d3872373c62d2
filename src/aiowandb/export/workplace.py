"""The folder of an export: held by us alone, and of the same export as before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pyarrow as pa
from pyarrow.fs import FileSystem, LocalFileSystem

from aiowandb.errors import ExportError, UsageError
from aiowandb.export.folder import WORKPLACE, Folder
from aiowandb.export.journal import VERSION, Begun, Journal, Record, Source
from aiowandb.export.local_folder import LocalFolder
from aiowandb.export.options import ExportOptions
from aiowandb.export.remote_folder import RemoteFolder

_JOURNAL = f"{WORKPLACE}/journal.jsonl"
_FILE = re.compile(r"(runs|history|system)\.(parquet|csv|jsonl|arrow)")
_FILE_OF_DATASET = re.compile(r".+\.(parquet|csv|jsonl|arrow)")
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
        found, path = FileSystem.from_uri(target)
    except (pa.ArrowException, ImportError, OSError, ValueError) as error:
        raise UsageError(f"{_named(target)} cannot be exported into: {error}") from error
    if isinstance(found, LocalFileSystem):
        return LocalFolder(Path(path))
    return RemoteFolder(found, path, _named(target), target)


def _named(url: str) -> str:
    """The URL without credentials, which may stand before an @ or behind a question mark."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


@contextmanager
def opened(
    folder: Folder, source: Source, options: ExportOptions, *, overwrite: bool
) -> Iterator[Journal]:
    """Hold the folder while the block runs, and go on with the journal that is there."""
    with folder.held():
        if overwrite:
            for name in (*_exported(folder), _JOURNAL):
                folder.remove(name)
        with closing(Journal(folder, _JOURNAL)) as journal:
            if journal.records:
                _check_same(folder, journal.records[0], Begun(VERSION, source, options))
            else:
                _check_free(folder)
                journal.append(Begun(VERSION, source, options))
            yield journal


def _exported(folder: Folder) -> list[str]:
    """The files that look as if an export had made them."""
    names = [name for name in folder.files("") if _FILE.fullmatch(name)]
    for place in ("history", "system", f"{WORKPLACE}/history", f"{WORKPLACE}/system"):
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
    differing = [
        f"{name} {getattr(old, name)!r} there, {getattr(new, name)!r} here"
        for old, new in ((before.source, now.source), (before.options, now.options))
        for name in old.__struct_fields__
        if msgspec.to_builtins(getattr(old, name)) != msgspec.to_builtins(getattr(new, name))
    ]
    if differing:
        raise ExportError(f"{folder} has another export ({'; '.join(differing)}). {_ANEW}")
