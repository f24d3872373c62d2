"""Files appear in a store completely or not at all, of any size, however the upload ends."""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile

from aiowandb import ExportError
from aiowandb.export.folders import remote
from aiowandb.export.folders.locate import folder_at
from aiowandb.export.folders.remote import RemoteFolder
from tests.export.bucket import Bucket

ROWS = bytes(range(256)) * 40_000


class Uploading(AbstractBufferedFile):  # type: ignore[misc]
    """A file that is sent block by block, and appears when it is closed."""

    def _initiate_upload(self) -> None:
        self.sent = b""

    def _upload_chunk(self, final: bool = False) -> bool:
        if self.fs.breaks and self.sent:
            self.fs.breaks = False
            raise OSError("the connection broke")
        self.sent += self.buffer.getvalue()
        if final:
            self.fs.pipe_file(self.path, self.sent)
        return True

    def discard(self) -> None:
        self.fs.discarded += 1


class UploadingFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """As those of object stores: what is written is uploaded in blocks."""

    protocol = "uploading"
    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    breaks = False
    discarded = 0

    def _open(self, path: str, mode: str = "rb", **settings: Any) -> Any:
        if mode == "rb":
            return io.BytesIO(self.cat_file(path))
        return Uploading(self, path, mode, block_size=1 << 20)

    def pipe_file(self, path: str, value: bytes, **settings: Any) -> None:
        MemoryFileSystem._open(self, path, "wb", data=value)

    def cat_file(self, path: str, start: Any = None, end: Any = None, **settings: Any) -> bytes:
        content: bytes = self.store[self._strip_protocol(path)].getvalue()
        return content


@pytest.fixture
def uploading() -> Iterator[UploadingFileSystem]:
    filesystem = UploadingFileSystem()
    yield filesystem
    filesystem.store.clear()


def put(folder: Any, content: bytes, name: str = "history/x") -> None:
    folder.draft("x").write_bytes(content)
    folder.put(folder.draft("x"), name)


def breaking(source: Any, target: Any, length: int) -> None:
    target.write(source.read(len(ROWS) // 2))
    raise OSError("the connection broke")


def test_an_upload_that_fails_leaves_nothing_in_a_file_system_of_fsspec(
    uploading: UploadingFileSystem,
) -> None:
    folder = folder_at("/lake", uploading)
    with folder.lock():
        put(folder, b"before")
        uploading.breaks = True
        with pytest.raises(ExportError, match="the connection broke"):
            put(folder, ROWS)
        gc.collect()
        assert uploading.discarded == 1
        assert uploading.cat_file("/lake/history/x") == b"before"
        assert folder.files(".aiowandb-export/uploads") == {}
        put(folder, ROWS)
        assert uploading.cat_file("/lake/history/x") == ROWS


@pytest.mark.parametrize("filesystem", [MemoryFileSystem(), LocalFileSystem()])
def test_a_partial_file_is_not_visible_where_files_appear_while_they_are_written(
    filesystem: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_at(str(tmp_path / "lake"), filesystem)
    with folder.lock():
        put(folder, b"before")
        with monkeypatch.context() as patch:
            patch.setattr("shutil.copyfileobj", breaking)
            with pytest.raises(ExportError, match="the connection broke"):
                put(folder, ROWS)
        gc.collect()
        assert folder.open("history/x").read() == b"before"
        assert folder.files(".aiowandb-export/uploads") == {}
        put(folder, ROWS)
        assert folder.open("history/x").read() == ROWS
    filesystem.rm(str(tmp_path / "lake"), recursive=True)


def test_an_upload_that_fails_leaves_nothing_in_a_bucket_without_obstore(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    folder = folder_at(bucket.url)
    with folder.lock():
        with monkeypatch.context() as patch:
            patch.setattr("shutil.copyfileobj", breaking)
            with pytest.raises(ExportError, match="the connection broke"):
                put(folder, ROWS)
        gc.collect()
        assert bucket.contents() == {}
        assert folder.files(".aiowandb-export/uploads") == {}
        put(folder, ROWS)
        assert bucket.contents() == {"history/x": ROWS}


@pytest.mark.parametrize(
    ("small", "largest"),
    [
        (10, 100),
        pytest.param(10, 1 << 40, marks=pytest.mark.slow),
        pytest.param(1 << 30, 1 << 40, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("has_obstore", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_files_of_any_size_go_into_a_bucket(
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    small: int,
    largest: int,
    has_obstore: bool,
) -> None:
    if not has_obstore:
        monkeypatch.setitem(sys.modules, "obstore.store", None)
    monkeypatch.setattr(remote, "_SMALL", small)
    monkeypatch.setattr(remote, "_LARGEST_COPY", largest)
    folder = folder_at(bucket.url)
    with folder.lock():
        for content in (b"", b"first", ROWS):
            put(folder, content)
            assert bucket.contents() == {"history/x": content}
            put(folder, content, ".aiowandb-export/staged/x")
            assert bucket.read("staged/x") == content
        assert folder.files(".aiowandb-export/uploads") == {}


@pytest.mark.parametrize("where", ["bucket", "memory", "here"])
def test_a_growing_file_is_found_once_it_is_published(
    where: str, request: pytest.FixtureRequest, tmp_path: Any
) -> None:
    make: dict[str, Callable[[], Any]] = {
        "bucket": lambda: folder_at(request.getfixturevalue("bucket").url),
        "memory": lambda: folder_at("/lake", fsspec.filesystem("memory")),
        "here": lambda: folder_at(tmp_path / "out"),
    }
    folder = make[where]()
    name = ".aiowandb-export/growing/x"
    with folder.lock():
        file = folder.grow(name)
        for content in (b"rows", b" and more"):
            file.write(content)
            file.publish()
            with folder.open(name) as published:
                assert published.read() == file.path.read_bytes()
        file.truncate(4)
        file.publish()
        assert folder.size(name) == 4
        file.close()
    if isinstance(folder, RemoteFolder):
        with folder.lock():
            folder.remove(name)
