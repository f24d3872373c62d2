"""A log of objects: each line is uploaded once, and no line is lost unnoticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from aiowandb import ExportError
from aiowandb.api.runs import Runs
from aiowandb.export.folders import remote_log
from aiowandb.export.folders.locate import folder_at
from aiowandb.export.folders.remote import RemoteFolder
from aiowandb.export.folders.remote_log import RemoteLog
from tests.export.bucket import Bucket
from tests.export.conftest import Project, contents, steps

NAME = ".aiowandb-export/journal.jsonl"
OBJECTS = "/lake/.aiowandb-export/journal"


def line(number: int) -> bytes:
    return b'{"record":"%d"}' % number


def text(*numbers: int) -> bytes:
    return b"".join(line(number) + b"\n" for number in numbers)


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/lake", recursive=True)


@pytest.fixture
def folder(memory: MemoryFileSystem) -> Iterator[RemoteFolder]:
    folder = folder_at("/lake", memory)
    assert isinstance(folder, RemoteFolder)
    with folder.lock():
        yield folder


def names(memory: MemoryFileSystem) -> list[str]:
    return [path.rpartition("/")[2] for path in memory.ls(OBJECTS, detail=False)]


def written(log: RemoteLog) -> RemoteLog:
    for number in range(5):
        log.append(line(number))
    log.close()
    return log


def test_lines_come_back_in_their_order(folder: RemoteFolder) -> None:
    written(folder.log(NAME))
    log = folder.log(NAME)
    assert log.text == text(0, 1, 2, 3, 4)
    log.append(line(5))
    assert folder.log(NAME).text == text(0, 1, 2, 3, 4, 5)


def test_each_line_is_uploaded_once(folder: RemoteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    create, uploaded = RemoteFolder.create, Counter[str]()

    def counted(self: RemoteFolder, name: str, content: bytes) -> bool:
        uploaded[name] += len(content)
        return create(self, name, content)

    monkeypatch.setattr(RemoteFolder, "create", counted)
    log = folder.log(NAME)
    lines = [b'{"record":"committed","part":%d,"runs":"%s"}' % (i, b"x" * 900) for i in range(60)]
    for each in lines:
        log.append(each)
    assert uploaded.total() < 1.1 * sum(map(len, lines))


def test_lines_that_need_not_be_durable_go_with_the_next_that_is(
    folder: RemoteFolder, memory: MemoryFileSystem
) -> None:
    log = folder.log(NAME)
    log.append(line(0))
    log.append(line(1), durable=False)
    log.append(line(2), durable=False)
    assert len(names(memory)) == 1
    log.append(line(3))
    assert len(names(memory)) == 2
    log.append(line(4), durable=False)
    log.close()
    assert folder.log(NAME).text == text(0, 1, 2, 3, 4)


def test_lines_that_wait_do_not_fill_the_memory(
    folder: RemoteFolder, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_log, "_MOST_WAITING", 40)
    log = folder.log(NAME)
    for number in range(4):
        log.append(line(number), durable=False)
    assert folder.log(NAME).text == text(0, 1, 2)


def test_a_snapshot_replaces_all_objects_before_it(
    folder: RemoteFolder, memory: MemoryFileSystem
) -> None:
    log = written(folder.log(NAME))
    log.append(line(5), durable=False)  # the snapshot has it, if it is to be kept
    log.replace(text(7, 8))
    log.append(line(9))
    log.close()
    assert folder.log(NAME).text == text(7, 8, 9)
    assert names(memory) == ["00000006.jsonl", "00000007.jsonl"]


def test_objects_that_a_snapshot_could_not_remove_are_ignored(
    folder: RemoteFolder, memory: MemoryFileSystem
) -> None:
    log = written(folder.log(NAME))
    killed = {path: memory.cat(path) for path in memory.ls(OBJECTS, detail=False)}
    log.replace(text(7))
    memory.pipe(killed)
    log = folder.log(NAME)
    assert log.text == text(7)
    log.append(line(8))
    assert folder.log(NAME).text == text(7, 8)


def test_many_objects_become_one(
    folder: RemoteFolder, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_log, "_MANY_OBJECTS", 4)
    log = folder.log(NAME)
    for number in range(10):
        log.append(line(number))
        assert len(names(memory)) <= 4
        assert folder.log(NAME).text == text(*range(number + 1))


def test_a_log_of_an_earlier_version_is_read_and_superseded(
    folder: RemoteFolder, memory: MemoryFileSystem
) -> None:
    folder.write(NAME, text(0, 1) + line(2))  # the last line is torn
    log = folder.log(NAME)
    assert log.text == text(0, 1)
    assert folder.size(NAME)
    log.append(line(3))
    assert folder.size(NAME) is None
    assert folder.log(NAME).text == text(0, 1, 3)


def test_a_fresh_log_forgets_what_was_there(folder: RemoteFolder) -> None:
    folder.write(NAME, text(0, 1))
    written(folder.log(NAME))
    assert folder.log(NAME, fresh=True).text == b""
    assert folder.log(NAME).text == b""
    assert folder.size(NAME) is None


def test_a_line_whose_answer_got_lost_is_there_once(
    folder: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = folder.log(NAME)
    create = RemoteFolder.create

    def unanswered(self: RemoteFolder, name: str, content: bytes) -> bool:
        create(self, name, content)
        raise ExportError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "create", unanswered)
        with pytest.raises(ExportError, match="connection broke"):
            log.append(line(0))
    log.append(line(1))
    assert folder.log(NAME).text == text(0, 1)


def test_a_request_that_was_sent_twice_is_recognised_as_the_same_writers(
    folder: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder.create("x", b"mine")
    assert folder.create("x", b"mine")
    assert not folder.create("x", b"another's")


def test_a_line_that_did_not_get_there_does_not_come_later(
    folder: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = folder.log(NAME)

    def unreachable(self: RemoteFolder, name: str, content: bytes) -> bool:
        raise ExportError("nobody answers")

    log.append(line(0), durable=False)
    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "create", unreachable)
        with pytest.raises(ExportError, match="nobody answers"):
            log.append(line(1))
    log.append(line(2))
    assert folder.log(NAME).text == text(0, 2)


def test_an_object_that_was_being_written_is_skipped(
    folder: RemoteFolder, caplog: pytest.LogCaptureFixture
) -> None:
    written(folder.log(NAME))
    folder.write(".aiowandb-export/journal/00000006.jsonl", b'{"writer":"so')
    folder.write(".aiowandb-export/journal/00000007.jsonl", b"")
    log = folder.log(NAME)
    assert log.text == text(0, 1, 2, 3, 4)
    log.append(line(5))
    assert folder.log(NAME).text == text(0, 1, 2, 3, 4, 5)
    assert "00000006.jsonl is not complete" in caplog.text


def test_objects_that_go_while_they_are_read_are_in_the_snapshot(
    folder: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = written(folder.log(NAME))
    read = RemoteFolder.read

    replacing = Lock()  # the objects are read side by side

    def late(self: RemoteFolder, name: str) -> bytes:
        with replacing:
            if RemoteFolder.read is late:
                monkeypatch.setattr(RemoteFolder, "read", read)
                log.replace(text(7))
        return read(self, name)

    monkeypatch.setattr(RemoteFolder, "read", late)
    assert folder.log(NAME).text == text(7)


@pytest.mark.anyio
async def test_a_bucket_of_an_earlier_version_is_exported_into_on(
    project: Project, runs: Runs, bucket: Bucket, out: Path
) -> None:
    project.log("a", steps(0, 10))
    await runs.export(bucket.url)
    folder = folder_at(bucket.url)
    old = folder.log(NAME).text
    bucket.fs.delete_dir("lake/wandb/.aiowandb-export")
    bucket.write("journal.jsonl", old)
    assert (await runs.export(bucket.url)).downloads == 0
    project.log("b", steps(0, 10))
    assert (await runs.export(bucket.url)).downloads == 1
    await runs.export(out)
    assert bucket.contents() == contents(out)
    assert "journal.jsonl" not in bucket.state()
