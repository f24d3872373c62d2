"""Uploaded bytes on disk, under names of our own making."""

from __future__ import annotations

import base64
import hashlib
import secrets
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiowandb_server.store.durable import publish

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that are on disk. `md5` is base64, as W&B writes it."""

    token: str
    size: int
    md5: str


class BlobWriter:
    """Takes bytes. `commit` puts them on disk under their token; until then they do not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f"{path.name}.tmp")
        self._file = self._temporary.open("wb")
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._md5.update(data)
        self._size += len(data)

    def commit(self) -> Blob:
        self._file.close()
        publish(self._temporary, self._path)
        md5 = base64.b64encode(self._md5.digest()).decode()
        return Blob(self._path.name, self._size, md5)

    def close(self) -> None:
        """Forget the bytes, unless they were committed."""
        try:
            self._file.close()
        finally:
            self._temporary.unlink(missing_ok=True)


class Blobs:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)

    def writer(self) -> BlobWriter:
        return BlobWriter(self.path(secrets.token_hex(16)))

    def add(self, data: bytes) -> Blob:
        with closing(self.writer()) as writer:
            writer.write(data)
            return writer.commit()

    def path(self, token: str) -> Path:
        return self._folder / token

    def discard(self, blob: Blob) -> None:
        self.path(blob.token).unlink(missing_ok=True)
