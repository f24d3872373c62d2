"""A folder in an object store, or in any other file system of pyarrow or fsspec.

An object appears when its upload is complete. A copy within the store replaces renaming, and a
lease that its holder renews replaces locking. If objects can be created on condition that they
do not exist, an export can never overwrite files of a later holder.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
from pyarrow import fs

from aiowandb.errors import ExportError
from aiowandb.export.folders.appending import LocalGrowingFile
from aiowandb.export.folders.base import STATE_DIR, plain_errors, warn_once
from aiowandb.export.folders.exclusive import Exclusive
from aiowandb.export.folders.lease import Lease, leased
from aiowandb.export.folders.remote_log import RemoteLog

_PIECE = 1 << 20
_WITHOUT_FOLDERS = frozenset({"s3", "gcs", "abfs"})
_UPLOADS = f"{STATE_DIR}/uploads"
# Files up to this size are sent in one request, within its timeout even over a slow line.
_SMALL = 16 << 20
# The largest object that stores copy in one request.
_LARGEST_COPY = 5_000_000_000


class RemoteFolder:
    """See `Folder`. `name` is for messages, `url` for libraries that open it themselves."""

    def __init__(
        self,
        filesystem: Any,
        root: str,
        name: str,
        url: str | None = None,
        exclusive: Exclusive | None = None,
        hint: str = "",
    ) -> None:
        self._is_fsspec = not isinstance(filesystem, fs.FileSystem)
        self._fsspec = filesystem
        self._fs: fs.FileSystem = (
            fs.PyFileSystem(fs.FSSpecHandler(filesystem)) if self._is_fsspec else filesystem  # type: ignore[abstract]
        )
        self._root = root.rstrip("/")
        self._name = name.rstrip("/")
        self._url = url
        self._exclusive = exclusive
        self._is_proven = False
        self._hint = hint
        self._drafts = Path()
        self._lease: Lease | None = None
        self._numbers = itertools.count()

    def __str__(self) -> str:
        return self._name

    @contextmanager
    def lock(self) -> Iterator[None]:
        if self._exclusive is None:
            self._warn(self._hint)
        with (
            leased(self) as self._lease,
            TemporaryDirectory(prefix="aiowandb-export-") as drafts,
        ):
            self._drafts = Path(drafts)
            for name in self.files(_UPLOADS):  # left by exports that were killed
                self.remove(f"{_UPLOADS}/{name}")
            try:
                yield
            finally:
                self._lease = None

    def check(self) -> None:
        if self._lease:
            self._lease.check()

    def draft(self, name: str) -> Path:
        return self._drafts / name.replace("/", "-")

    def put(self, draft: Path, name: str) -> None:
        self.upload(draft, name)
        draft.unlink()

    def upload(self, draft: Path, name: str) -> None:
        """Upload a copy of the draft under this name, atomically."""
        with plain_errors(self.location(name)):
            self._make_folder(name)
            self.check()
            size = draft.stat().st_size
            if self._exclusive and size <= _SMALL and name.startswith(STATE_DIR):
                self._put_exclusively(draft.read_bytes(), name, self._exclusive)
                return
            is_direct = size <= _SMALL or size > _LARGEST_COPY
            if is_direct and self._upload_atomically(draft, name):
                return
            if size > _LARGEST_COPY and self._fs.type_name in _WITHOUT_FOLDERS:
                self._stream(draft, name)
                return
            self._upload_and_move(draft, name)

    def create(self, name: str, content: bytes) -> bool:
        """Create the file unless it exists; returns whether it was created.

        Different holders never create files with the same content.
        """
        with plain_errors(self.location(name)):
            self._make_folder(name)
            exclusive = self._exclusive
            made = self._create(self._path(name), content, exclusive) if exclusive else None
        if made is None:
            if self.size(name) is not None:
                return False
            self.write(name, content)
            return True
        # A request whose response was lost is sent again, and then finds its own file.
        return made or self.read(name) == content

    def write(self, name: str, content: bytes) -> None:
        """Write a file with this content, atomically."""
        with plain_errors(self.location(name)):
            self._make_folder(name)
            with self._fs.open_output_stream(self._path(name)) as stream:
                stream.write(content)

    def read(self, name: str) -> bytes:
        """The content of the file; empty if it does not exist."""
        with plain_errors(self.location(name)):
            try:
                with self.open(name) as file:
                    content: bytes = file.read()
                    return content
            except FileNotFoundError:
                return b""

    def age(self, name: str) -> float | None:
        """How many seconds ago the file was written, by the clock of the store."""
        clock = f"{STATE_DIR}/clock-{os.getpid()}-{time.monotonic_ns()}"
        then = self._modified(name)
        if then is None:
            return None
        self.write(clock, b"now")
        try:
            now = self._modified(clock)
        finally:
            self.remove(clock)
        return None if now is None else now - then

    def move(self, name: str, to: str) -> None:
        with plain_errors(self.location(to)):
            self.check()
            self._make_folder(to)
            self._fs.move(self._path(name), self._path(to))

    def remove(self, name: str) -> None:
        if self.size(name) is not None:
            with plain_errors(self.location(name)):
                self.check()
                self._fs.delete_file(self._path(name))

    def open(self, name: str) -> pa.NativeFile:
        return self._fs.open_input_file(self._path(name))

    def log(self, name: str, *, fresh: bool = False) -> RemoteLog:
        return RemoteLog(self, name, fresh=fresh)

    def read_log(self, name: str) -> bytes:
        return RemoteLog(self, name).text

    def grow(self, name: str) -> RemoteGrowingFile:
        return RemoteGrowingFile(self, name)

    def size(self, name: str) -> int | None:
        with plain_errors(self.location(name)):
            self._forget_listings(name)
            found = self._fs.get_file_info(self._path(name))
            return int(found.size) if found.type == fs.FileType.File else None

    def remove_folder(self, folder: str) -> None:
        with plain_errors(self.location(folder)):
            self.check()
            if self.files(folder, recursive=True):
                self._fs.delete_dir(self._path(folder))

    def files(self, folder: str, *, recursive: bool = False) -> dict[str, int]:
        path = self._path(folder)
        with plain_errors(self.location(folder)):
            self._forget_listings(folder)
            selector = fs.FileSelector(path, allow_not_found=True, recursive=recursive)
            return {
                info.path[len(path) :].lstrip("/") if recursive else info.base_name: info.size
                for info in self._fs.get_file_info(selector)
                if info.type == fs.FileType.File
            }

    def location(self, name: str) -> str:
        return f"{self._name}/{name}"

    def url(self, name: str) -> str | None:
        if self._url is None:
            return None
        parts = urlsplit(self._url)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))

    def token(self) -> str:
        """Identifies the holder of the folder."""
        return self._lease.token if self._lease else ""

    def taken_over(self) -> ExportError:
        """The error for a holder that has noticed a later one."""
        return self._lease.lost() if self._lease else ExportError(f"{self} is in use.")

    def _create(self, path: str, content: bytes, exclusive: Exclusive) -> bool | None:
        """Whether the file was created; None if the store turns out not to support conditions."""
        try:
            made = exclusive.create(path, content)
            if made and not self._is_proven and exclusive.create(path, content):
                self._without_conditions("it created the same file twice")
            self._is_proven = True
        except Exception as error:
            if self._is_proven:
                raise
            self._without_conditions(str(error))
            return None
        return made

    def _without_conditions(self, reason: str) -> None:
        self._exclusive = None
        self._warn(f" ({reason})")

    def _warn(self, why: str) -> None:
        warn_once(
            f"{self} cannot create files on condition that they do not exist{why}. So two exports"
            " that start at the same time may both run, and one whose machine slept may overwrite"
            " a later one. Do not export into it from two places at a time."
        )

    def _put_exclusively(self, content: bytes, name: str, exclusive: Exclusive) -> None:
        """Upload a file of the folder's state, without overwriting one of a later holder."""
        path = self._path(name)
        if exclusive.create(path, content) or self.read(name) == content:
            return
        # The file is of an export that was killed or taken over, or of a later one.
        if self._lease:
            self._lease.renew()
        self._fs.delete_file(path)
        if not exclusive.create(path, content):
            raise self.taken_over()

    def _upload_and_move(self, draft: Path, name: str) -> None:
        temporary = f"{_UPLOADS}/{self.token()}-{next(self._numbers)}"
        self._make_folder(temporary)
        try:
            if not self._upload_atomically(draft, temporary):
                self._stream(draft, temporary)
            self.check()
            self._fs.move(self._path(temporary), self._path(name))
        except BaseException:
            with suppress(OSError):
                self._fs.delete_file(self._path(temporary))
            raise

    def _upload_atomically(self, draft: Path, name: str) -> bool:
        return self._exclusive is not None and self._exclusive.upload(self._path(name), draft)

    def _stream(self, draft: Path, name: str) -> None:
        """Upload without atomicity: a part of the file appears if the upload fails."""
        with draft.open("rb") as file:
            if self._is_fsspec:
                self._stream_into_fsspec(file, name)
                return
            with self._fs.open_output_stream(self._path(name)) as stream:
                shutil.copyfileobj(file, stream, _PIECE)

    def _stream_into_fsspec(self, file: Any, name: str) -> None:
        stream = self._fsspec.open(self._path(name), "wb")
        try:
            shutil.copyfileobj(file, stream, _PIECE)
        except BaseException:
            # Otherwise the upload would be completed when the stream is garbage-collected.
            with suppress(Exception):
                stream.discard()
            try:
                stream.closed = True
            except AttributeError:
                with suppress(Exception):
                    stream.close()
            raise
        stream.close()

    def _modified(self, name: str) -> float | None:
        """When the file was written, by the clock of the store; None if it does not tell."""
        with plain_errors(self.location(name)):
            self._forget_listings(name)
            if self._is_fsspec:
                try:
                    return float(self._fsspec.modified(self._path(name)).timestamp())
                except (AttributeError, KeyError, NotImplementedError, FileNotFoundError):
                    return None
            time_ns = self._fs.get_file_info(self._path(name)).mtime_ns
            return None if time_ns is None else time_ns / 1e9

    def _forget_listings(self, name: str) -> None:
        """Many file systems of fsspec cache listings, even if others write."""
        if self._is_fsspec:
            self._fsspec.invalidate_cache(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _make_folder(self, name: str) -> None:
        if self._fs.type_name not in _WITHOUT_FOLDERS:
            self._fs.create_dir(self._path(name).rpartition("/")[0], recursive=True)


class RemoteGrowingFile(LocalGrowingFile):
    """See `GrowingFile`."""

    is_in_place = False

    def __init__(self, folder: RemoteFolder, name: str) -> None:
        super().__init__(folder.draft(name))
        self._folder = folder
        self._name = name

    def publish(self) -> None:
        self._folder.upload(self.path, self._name)

    def close(self) -> None:
        super().close()
        self.path.unlink(missing_ok=True)
