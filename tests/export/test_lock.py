"""File systems without locks, as NFS and Lustre can be: a lease replaces the lock."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from aiowandb import ExportError
from aiowandb.api.runs import Runs
from aiowandb.export.folders import lease
from aiowandb.export.folders.lease import LeaseHolder
from aiowandb.export.folders.local import LocalFolder
from tests.export.conftest import Project, contents, steps
from tests.export.disks import filled, small_disk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks as POSIX has them")

FIRST = ".aiowandb-export/lease-00000001.json"


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    number = getattr(errno, request.param)

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)


@pytest.mark.anyio
async def test_an_export_goes_into_a_file_system_without_locks(
    without_locks: None,
    project: Project,
    runs: Runs,
    out: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    project.log("a", steps(0, 10))
    await runs.export(out)
    project.log("b", steps(0, 10))
    await runs.export(out)
    await runs.export(tmp_path / "elsewhere")
    assert contents(out) == contents(tmp_path / "elsewhere")
    assert f"The file system of {out} has no locks" in caplog.text


@pytest.mark.anyio
async def test_another_error_of_the_lock_is_reported(
    runs: Runs, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(ExportError, match=f"Cannot write {out}: Input/output error"):
        await runs.export(out)


def test_the_command_warns_of_missing_locks_in_one_line(tmp_path: Path) -> None:
    program = """
from aiowandb.export.folders import local
local._lock = lambda file: None
from aiowandb.cli import main
main()
"""
    out = tmp_path / "out"
    (tmp_path / "wandb").mkdir()
    command = ["export", "local/demo", str(out), "--local", str(tmp_path / "wandb")]
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True)
    warning = f"aiowandb: warning: The file system of {out} has no locks,"
    assert [line for line in done.stderr.splitlines() if line.startswith(warning)]


def test_a_second_export_is_told_who_uses_the_folder(without_locks: None, out: Path) -> None:
    with LocalFolder(out).lock(), pytest.raises(ExportError, match=f"by process {os.getpid()} on"):
        LocalFolder(out).lock().__enter__()
    with LocalFolder(out).lock():
        pass


def test_a_process_that_was_killed_on_this_machine_has_no_lease(
    without_locks: None, out: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    (out / ".aiowandb-export").mkdir(parents=True)
    (out / FIRST).write_bytes(msgspec.structs.replace(LeaseHolder.me(), pid=process.pid).text)
    with LocalFolder(out).lock():
        pass


def test_a_process_elsewhere_has_the_folder_as_long_as_it_renews_its_lease(
    without_locks: None, out: Path
) -> None:
    (out / ".aiowandb-export").mkdir(parents=True)
    elsewhere = msgspec.structs.replace(LeaseHolder.me(), host="elsewhere", machine="its")
    (out / FIRST).write_bytes(elsewhere.text)
    with pytest.raises(ExportError, match="on elsewhere since 20"):
        LocalFolder(out).lock().__enter__()
    long_ago = (out / FIRST).stat().st_mtime - 121
    os.utime(out / FIRST, (long_ago, long_ago))
    with LocalFolder(out).lock():
        pass


def test_an_export_that_slept_and_was_taken_over_writes_nothing_more(
    without_locks: None, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "OVER_AFTER_S", -1)
    monkeypatch.setattr(lease, "TRUSTED_FOR_S", -1)
    slept, later = LocalFolder(out), LocalFolder(out)
    with slept.lock():
        log = slept.log("journal.jsonl")
        with later.lock():
            later.draft("x").write_text("new")
            later.put(later.draft("x"), "x")
            later.draft("x").write_text("old")
            writes: list[Callable[[], object]] = [
                lambda: log.append(b"{}"),
                lambda: slept.put(slept.draft("x"), "x"),
                lambda: slept.move("x", "y"),
                lambda: slept.remove("x"),
            ]
            for write in writes:
                with pytest.raises(ExportError, match="was taken over by process"):
                    write()
        log.close()
    assert (out / "x").read_text() == "new"
    assert (out / "journal.jsonl").read_bytes() == b""


def test_a_full_disk_does_not_hinder_the_lock(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        (disk / ".aiowandb-export" / "drafts").mkdir(parents=True)
        with filled(disk), LocalFolder(disk).lock():
            pass
