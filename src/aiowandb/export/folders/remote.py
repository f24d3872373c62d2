"""A folder in an object store, or in any other file system of pyarrow or fsspec.

An object appears when its upload is complete. There is no rename but a copy within the
store, and no lock but a lease that its holder renews.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
from pyarrow import fs

from aiowandb.export.folders.appending import LocalGrowingFile
from aiowandb.export.folders.base import STATE_DIR, plain_errors
from aiowandb.export.folders.lease import leased

_PIECE = 1 << 20
_WITHOUT_FOLDERS = frozenset({"s3", "gcs", "abfs"})


class RemoteFolder:
    """See `Folder`. `name` is what users call it, `url` where others can open it."""

    def __init__(self, filesystem: Any, root: str, name: str, url: str | None = None) -> None:
        self._fs: fs.FileSystem = (
            filesystem
            if isinstance(filesystem, fs.FileSystem)
            else fs.PyFileSystem(fs.FSSpecHandler(filesystem))
        )
        self._root = root.rstrip("/")
        self._name = name.rstrip("/")
        self._url = url
        self._drafts = Path()

    def __str__(self) -> str:
        return self._name

    @contextmanager
    def lock(self) -> Iterator[None]:
        with (
            leased(self, f"{STATE_DIR}/lease"),
            TemporaryDirectory(prefix="aiowandb-export-") as drafts,
        ):
            self._drafts = Path(drafts)
            yield

    def draft(self, name: str) -> Path:
        return self._drafts / name.replace("/", "-")

    def put(self, draft: Path, name: str) -> None:
        self.upload(draft, name)
        draft.unlink()

    def upload(self, draft: Path, name: str) -> None:
        """Let a copy of the draft appear under the name."""
        with plain_errors(self.location(name)), draft.open("rb") as file:
            self._make_folder(name)
            # Not `with`: that would let half of it appear after an error.
            stream = self._fs.open_output_stream(self._path(name))
            shutil.copyfileobj(file, stream, _PIECE)
            stream.close()

    def write(self, name: str, content: bytes) -> None:
        """Let a file with this content appear."""
        with plain_errors(self.location(name)):
            self._make_folder(name)
            with self._fs.open_output_stream(self._path(name)) as stream:
                stream.write(content)

    def read(self, name: str) -> bytes:
        """The content of a file, nothing if there is none."""
        if self.size(name) is None:
            return b""
        with plain_errors(self.location(name)), self.open(name) as file:
            content: bytes = file.read()
            return content

    def move(self, name: str, to: str) -> None:
        with plain_errors(self.location(to)):
            self._make_folder(to)
            self._fs.move(self._path(name), self._path(to))

    def remove(self, name: str) -> None:
        if self.size(name) is not None:
            with plain_errors(self.location(name)):
                self._fs.delete_file(self._path(name))

    def open(self, name: str) -> pa.NativeFile:
        return self._fs.open_input_file(self._path(name))

    def log(self, name: str) -> RemoteLog:
        return RemoteLog(self, name)

    def grow(self, name: str) -> RemoteGrowingFile:
        return RemoteGrowingFile(self, name)

    def size(self, name: str) -> int | None:
        with plain_errors(self.location(name)):
            found = self._fs.get_file_info(self._path(name))
            return int(found.size) if found.type == fs.FileType.File else None

    def files(self, folder: str) -> dict[str, int]:
        with plain_errors(self.location(folder)):
            selector = fs.FileSelector(self._path(folder), allow_not_found=True)
            found = self._fs.get_file_info(selector)
            return {info.base_name: info.size for info in found if info.type == fs.FileType.File}

    def location(self, name: str) -> str:
        return f"{self._name}/{name}"

    def url(self, name: str) -> str | None:
        if self._url is None:
            return None
        parts = urlsplit(self._url)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _make_folder(self, name: str) -> None:
        if self._fs.type_name not in _WITHOUT_FOLDERS:
            self._fs.create_dir(self._path(name).rpartition("/")[0], recursive=True)


class RemoteLog:
    """See `Log`. Objects cannot grow: each line costs an upload of all of them."""

    def __init__(self, folder: RemoteFolder, name: str) -> None:
        self._folder = folder
        self._name = name
        self.text = folder.read(name)

    def append(self, line: bytes, *, durable: bool = True) -> None:
        self.text += line + b"\n"
        if durable:
            self._folder.write(self._name, self.text)

    def replace(self, text: bytes) -> None:
        self.text = text
        self._folder.write(self._name, self.text)

    def close(self) -> None:
        pass


class RemoteGrowingFile(LocalGrowingFile):
    """See `GrowingFile`."""

    def __init__(self, folder: RemoteFolder, name: str) -> None:
        super().__init__(folder.draft(name))
        self._folder = folder
        self._name = name

    def publish(self) -> None:
        self._folder.upload(self.path, self._name)
