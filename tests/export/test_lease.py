"""One export at a time without locks, by files that only one process can create."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import fsspec
import msgspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from aiowandb import ExportError
from aiowandb.api.runs import Runs
from aiowandb.export.folders import lease
from aiowandb.export.folders.lease import LeaseHolder
from aiowandb.export.folders.locate import folder_at
from aiowandb.export.folders.remote import RemoteFolder
from tests.export.bucket import Bucket
from tests.export.conftest import Project, steps

FIRST = "lease-00000001.json"
STAGED = ".aiowandb-export/staged/history-0.parquet"


def another(*, clock_ahead: timedelta = timedelta()) -> LeaseHolder:
    """A holder on another machine, whose clock may be wrong."""
    now = datetime.now(UTC) + clock_ahead
    return LeaseHolder(1, "elsewhere", now, now, "its-token", "its-machine")


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    memory = fsspec.filesystem("memory")
    yield memory
    if memory.exists("/lake"):
        memory.rm("/lake", recursive=True)


@pytest.fixture(params=["s3", "memory", "without conditions"])
def opened(request: pytest.FixtureRequest) -> Callable[[], RemoteFolder]:
    """Opens one folder, as another process would each time."""
    if request.param == "s3":
        url = request.getfixturevalue("bucket").url
        return lambda: remote(folder_at(url))
    memory = request.getfixturevalue("memory")
    if request.param == "memory":
        return lambda: remote(folder_at("/lake", memory))
    return lambda: RemoteFolder(memory, "/lake", "lake")


def remote(folder: object) -> RemoteFolder:
    assert isinstance(folder, RemoteFolder)
    return folder


@pytest.fixture
def nothing_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease can be taken over at once, and is never trusted."""
    monkeypatch.setattr(lease, "OVER_AFTER_S", -1)
    monkeypatch.setattr(lease, "TRUSTED_FOR_S", -1)


def test_a_second_export_is_told_who_uses_the_folder(opened: Callable[[], RemoteFolder]) -> None:
    with opened().lock(), pytest.raises(ExportError, match=r"by process \d+ on .* since 20"):
        opened().lock().__enter__()
    with opened().lock():
        pass


@pytest.mark.anyio
@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(), timedelta(hours=1)])
async def test_a_lease_is_valid_whatever_the_clock_of_its_holder_shows(
    runs: Runs, bucket: Bucket, ahead: timedelta
) -> None:
    bucket.write(FIRST, another(clock_ahead=ahead).text)
    with pytest.raises(ExportError, match="by process 1 on elsewhere since 20"):
        await runs.export(bucket.url)
    assert bucket.state() == [FIRST]


def test_a_lease_is_valid_whatever_our_clock_shows(
    opened: Callable[[], RemoteFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened().lock():
        later = datetime.now(UTC) + timedelta(seconds=180)
        monkeypatch.setattr("time.time", later.timestamp)
        monkeypatch.setattr(lease, "_now", lambda: later)
        with pytest.raises(ExportError, match="is in use by"):
            opened().lock().__enter__()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "ahead",
    [
        timedelta(hours=-1),
        *(pytest.param(timedelta(hours=n), marks=pytest.mark.slow) for n in (0, 1)),
    ],
)
async def test_a_lease_without_renewals_is_free_whatever_its_clock_showed(
    runs: Runs, bucket: Bucket, ahead: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.write(FIRST, another(clock_ahead=ahead).text)
    monkeypatch.setattr(lease, "OVER_AFTER_S", 0)
    await runs.export(bucket.url)
    assert FIRST not in bucket.state()


def test_a_lease_of_a_process_that_was_killed_on_this_machine_is_free(
    opened: Callable[[], RemoteFolder],
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    killed = msgspec.structs.replace(LeaseHolder.me(), pid=process.pid)
    opened().write(f".aiowandb-export/{FIRST}", killed.text)
    with opened().lock():
        pass


def test_a_process_of_another_container_with_the_same_name_counts_as_alive(
    opened: Callable[[], RemoteFolder],
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    elsewhere = msgspec.structs.replace(another(), pid=process.pid, host=socket.gethostname())
    opened().write(f".aiowandb-export/{FIRST}", elsewhere.text)
    with pytest.raises(ExportError, match="is in use by"):
        opened().lock().__enter__()


def test_a_lease_of_an_earlier_version_counts(opened: Callable[[], RemoteFolder]) -> None:
    folder = opened()
    now = datetime.now(UTC)
    old = {"pid": 1, "host": "elsewhere", "since": now, "seen": now}
    folder.write(".aiowandb-export/lease", msgspec.json.encode(old))
    with pytest.raises(ExportError, match="by process 1 on elsewhere"):
        folder.lock().__enter__()


@pytest.mark.parametrize("opened", ["s3"], indirect=True)
def test_of_many_that_come_at_once_one_gets_the_lock(opened: Callable[[], RemoteFolder]) -> None:
    together, are_done = threading.Barrier(6), threading.Barrier(6)
    inside: list[RemoteFolder] = []

    def export(folder: RemoteFolder) -> None:
        together.wait()
        with ExitStack() as holding:
            try:
                holding.enter_context(folder.lock())
                inside.append(folder)
            except ExportError:
                pass
            are_done.wait()

    threads = [threading.Thread(target=export, args=(opened(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inside) <= 1  # if all withdraw, none is hurt
    with opened().lock():
        pass


def test_a_process_that_comes_between_check_and_creation_is_noticed(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (RemoteFolder(memory, "/lake", "lake") for _ in range(2))
    create = RemoteFolder.create

    def late(self: RemoteFolder, name: str, content: bytes) -> bool:
        monkeypatch.setattr(RemoteFolder, "create", create)
        first_holding.enter_context(first.lock())
        return create(self, name, content)

    monkeypatch.setattr(RemoteFolder, "create", late)
    with ExitStack() as first_holding, pytest.raises(ExportError, match="is in use by"):
        second.lock().__enter__()


def test_a_process_that_sleeps_after_its_last_look_is_told_who_came(
    opened: Callable[[], RemoteFolder], nothing_lasts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own file is gone then: the later process has removed it."""
    read = RemoteFolder.read

    def late(folder: RemoteFolder, name: str) -> bytes:
        if read(folder, name):  # its own file: there was none before
            monkeypatch.setattr(RemoteFolder, "read", read)
            folder.write(".aiowandb-export/lease-00000002.json", another().text)
            folder.remove(name)
        return read(folder, name)

    monkeypatch.setattr(RemoteFolder, "read", late)
    with pytest.raises(ExportError, match="is in use by process 1 on elsewhere since 20"):
        opened().lock().__enter__()


def test_a_holder_that_wakes_up_while_it_is_taken_over_stays_alone(
    memory: MemoryFileSystem, nothing_lasts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (remote(folder_at("/lake", memory)) for _ in range(2))
    create = RemoteFolder.create
    with first.lock():

        def late(self: RemoteFolder, name: str, content: bytes) -> bool:
            first.check()
            return create(self, name, content)

        monkeypatch.setattr(RemoteFolder, "create", late)
        with pytest.raises(ExportError, match="is in use by"):
            second.lock().__enter__()
        first.check()


def test_a_holder_that_was_taken_over_writes_nothing_more(
    opened: Callable[[], RemoteFolder], nothing_lasts: None
) -> None:
    slept, later = opened(), opened()
    with ExitStack() as later_holding:
        with slept.lock():
            log = slept.log("journal.jsonl")
            log.append(b"{}")
            draft = slept.draft("x")
            draft.write_bytes(b"old")
            later_holding.enter_context(later.lock())
            later_log = later.log("journal.jsonl")
            later_log.append(b'{"a":1}')
            writes: list[Callable[[], object]] = [
                lambda: log.append(b'{"b":1}'),
                lambda: log.replace(b""),
                lambda: slept.put(draft, "history/x"),
                lambda: slept.put(draft, STAGED),
                lambda: slept.move("x", "y"),
                lambda: slept.remove("history/x"),
                slept.check,
            ]
            for write in writes:
                later.draft("x").write_bytes(b"new")
                later.put(later.draft("x"), "history/x")
                with pytest.raises(ExportError, match=r"was taken over by process \d+ on"):
                    write()
            assert later.read("history/x") == b"new"
            assert later.size(STAGED) is None
        # Nor does it take the lease of the other one with it when it leaves.
        later_log.append(b'{"c":1}')
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lease, "OVER_AFTER_S", 120)
            with pytest.raises(ExportError, match="is in use by"):
                opened().lock().__enter__()
    with opened().lock():
        assert opened().log("journal.jsonl").text == b'{}\n{"a":1}\n{"c":1}\n'


@pytest.mark.parametrize("opened", ["s3", "memory"], indirect=True)
def test_a_holder_that_believes_in_its_lease_still_does_not_write_over_a_later_one(
    opened: Callable[[], RemoteFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept, later = opened(), opened()
    monkeypatch.setattr(lease, "OVER_AFTER_S", -1)
    with slept.lock():
        log = slept.log("journal.jsonl")
        log.append(b"{}")
        with later.lock():
            later.log("journal.jsonl").append(b'{"a":1}')
            later.draft("x").write_bytes(b"new")
            later.put(later.draft("x"), STAGED)
            with pytest.raises(ExportError, match="was taken over by"):
                log.append(b'{"b":1}')
            slept.draft("x").write_bytes(b"old")
            with pytest.raises(ExportError, match="was taken over by"):
                slept.put(slept.draft("x"), STAGED)
            assert later.read(STAGED) == b"new"
            assert later.log("journal.jsonl").text == b'{}\n{"a":1}\n'


def test_a_lease_that_another_process_overwrote_is_lost(
    opened: Callable[[], RemoteFolder], nothing_lasts: None
) -> None:
    folder = opened()
    with folder.lock():
        folder.write(f".aiowandb-export/{FIRST}", another().text)
        with pytest.raises(ExportError, match="was taken over by process 1 on elsewhere"):
            folder.check()


def test_the_lease_is_checked_only_now_and_then(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = remote(folder_at("/lake", memory))
    now = [1000.0]
    monkeypatch.setattr(lease, "seconds", lambda: now[0])
    with folder.lock():
        before = memory.cat(f"/lake/.aiowandb-export/{FIRST}")
        now[0] += 59
        folder.check()
        assert memory.cat(f"/lake/.aiowandb-export/{FIRST}") == before
        now[0] += 2  # the process has slept, perhaps
        folder.check()
        assert memory.cat(f"/lake/.aiowandb-export/{FIRST}") != before


class WithoutTimes(RemoteFolder):
    """A file system that does not say when a file was written."""

    def age(self, name: str) -> float | None:
        return None


def test_where_files_have_no_times_the_lease_is_watched(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = WithoutTimes(memory, "/lake", "lake")
    path = f".aiowandb-export/{FIRST}"
    folder.write(path, another().text)
    monkeypatch.setattr(lease, "OVER_AFTER_S", 0.3)
    monkeypatch.setattr(lease, "_LOOKS_EVERY_S", 0.01)
    read = WithoutTimes.read

    def renewing(self: RemoteFolder, name: str) -> bytes:
        content = read(self, name)
        holder = LeaseHolder.read(content)
        if holder and holder.token == "its-token":
            self.write(path, holder.renewed().text)
        return content

    with monkeypatch.context() as patch:
        patch.setattr(WithoutTimes, "read", renewing)
        with pytest.raises(ExportError, match="by process 1 on elsewhere"):
            folder.lock().__enter__()
    assert "was left by process 1 on elsewhere" in caplog.text
    with folder.lock():
        pass


@pytest.mark.anyio
async def test_watching_a_lease_can_be_cancelled(memory: MemoryFileSystem) -> None:
    folder = WithoutTimes(memory, "/lake", "lake")
    folder.write(f".aiowandb-export/{FIRST}", another().text)
    with anyio.move_on_after(0.01) as scope:
        await anyio.to_thread.run_sync(folder.lock().__enter__)
    assert scope.cancelled_caught


def test_a_store_that_ignores_conditions_is_reported(
    memory: MemoryFileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    class Ignoring:
        def create(self, path: str, content: bytes) -> bool:
            memory.pipe_file(path, content)
            return True

        def upload(self, path: str, draft: Path) -> bool:
            return False

    with RemoteFolder(memory, "/lake", "lake", exclusive=Ignoring()).lock():
        pass
    assert "lake cannot create files on condition" in caplog.text
    assert "it created the same file twice" in caplog.text


def test_a_store_that_refuses_conditions_can_still_be_exported_into(
    memory: MemoryFileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing:
        def create(self, path: str, content: bytes) -> bool:
            raise OSError("501 Not Implemented")

        def upload(self, path: str, draft: Path) -> bool:
            raise OSError("501 Not Implemented")

    folder = RemoteFolder(memory, "/lake", "lake", exclusive=Refusing())
    with folder.lock():
        folder.draft("x").write_bytes(b"rows")
        folder.put(folder.draft("x"), "x")
    assert memory.cat("/lake/x") == b"rows"
    assert "(501 Not Implemented)" in caplog.text


def test_listings_that_a_file_system_keeps_are_not_trusted(
    memory: MemoryFileSystem, nothing_lasts: None
) -> None:
    class Keeping(MemoryFileSystem):  # type: ignore[misc]
        """Caches listings until they are invalidated, like s3fs."""

        cachable = False

        def __init__(self) -> None:
            super().__init__()
            self.kept: dict[str, list[Any]] = {}

        def invalidate_cache(self, path: str | None = None) -> None:
            self.kept.clear()

        def find(self, path: str, **settings: Any) -> Any:
            key = f"{path} {settings}"
            if key not in self.kept:
                self.kept[key] = super().find(path, **settings)
            return self.kept[key]

    slept, later = (remote(folder_at("/lake", Keeping())) for _ in range(2))
    with slept.lock():
        slept.check()
        with later.lock(), pytest.raises(ExportError, match="was taken over"):
            slept.check()


def test_there_is_no_warning_where_conditions_are_supported(
    bucket: Bucket, memory: MemoryFileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in (folder_at(bucket.url), folder_at("/lake", memory)):
        with folder.lock():
            pass
    assert caplog.record_tuples == []


def test_without_obstore_the_extra_is_named(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with folder_at(bucket.url).lock():
        pass
    assert [level for _, level, _ in caplog.record_tuples] == [logging.WARNING]
    assert "pip install 'aiowandb[cloud]'" in caplog.text


@pytest.mark.anyio
async def test_a_killed_exports_uploads_are_cleared_away(
    project: Project, runs: Runs, bucket: Bucket
) -> None:
    project.log("a", steps(0, 1))
    bucket.write("uploads/some-0", b"half")
    await runs.export(bucket.url)
    assert "uploads/some-0" not in bucket.state()
