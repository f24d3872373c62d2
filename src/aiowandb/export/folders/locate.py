"""Opens the folder that a path or a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
from pyarrow.fs import FileSystem, LocalFileSystem

from aiowandb.errors import UsageError
from aiowandb.export.folders.base import Folder
from aiowandb.export.folders.exclusive import exclusive_at, exclusive_in
from aiowandb.export.folders.local import LocalFolder
from aiowandb.export.folders.remote import RemoteFolder
from aiowandb.redaction import hide_secrets, redacted

# pyarrow would retry for a quarter of an hour, even without credentials.
GOOGLE_DEADLINE_SECONDS = 60
_OBJECT_STORES = ("s3", "gs", "gcs", "abfs", "abfss")
_HINT = " without the extra: pip install 'aiowandb[cloud]'"


def folder_at(target: str | Path, filesystem: Any = None) -> Folder:
    """The folder of a path or URL, in a file system of pyarrow or fsspec if one is given."""
    if target == "":
        raise UsageError("The name of the folder to export into is empty.")
    if filesystem is not None:
        name = str(target)
        return RemoteFolder(filesystem, name, name, exclusive=exclusive_in(filesystem))
    if isinstance(target, Path) or "://" not in target:
        return LocalFolder(Path(target))
    try:
        found, path = FileSystem.from_uri(_with_deadline(target))
    except (pa.ArrowException, ImportError, OSError, ValueError) as error:
        reason = hide_secrets(str(error), target)
        # Not `from error`, whose text may have the URL with its credentials.
        raise UsageError(f"{redacted(target)} cannot be exported into: {reason}") from None
    if not path.strip("/"):
        raise UsageError(f"{redacted(target)} has no folder: add its path to the URL.")
    if isinstance(found, LocalFileSystem):
        return LocalFolder(Path(path))
    hint = _HINT if urlsplit(target).scheme in _OBJECT_STORES else ""
    return RemoteFolder(found, path, redacted(target), target, exclusive_at(target, found), hint)


def _with_deadline(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("gs", "gcs") or "retry_limit_seconds" in parts.query:
        return url
    query = f"{parts.query}&retry_limit_seconds={GOOGLE_DEADLINE_SECONDS}".removeprefix("&")
    return urlunsplit(parts._replace(query=query))
