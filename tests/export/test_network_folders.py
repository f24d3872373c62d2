"""File systems that fail as network file systems do: nothing is lost, and errors say where."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from aiowandb import Api, DownloadError, ExportError, StoreError
from aiowandb.export.folders import hashing
from aiowandb.export.folders.appending import AppendOnlyFile
from aiowandb.export.folders.base import read_errors
from aiowandb.files.folder import require_distinct
from aiowandb_server.store import database
from tests.support.sample import ROWS, RUNS, Sample

Fail = Callable[[str, str, str], None]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Makes a function of `os` fail for open files whose path contains a text."""

    def failing(name: str, where: str, error: str) -> None:
        real = getattr(os, name)
        number = getattr(errno, error)

        def function(descriptor: int, *args: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            result = real(descriptor, *args)
            if where in path:
                raise OSError(number, os.strerror(number))
            return result

        monkeypatch.setattr(os, name, function)

    return failing


@pytest.fixture
def sample_api(sample: Sample) -> Iterator[Api]:
    with Api.local(sample.folder) as api:
        yield api


@pytest.fixture
def unsynced_folders(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Refuses to sync folders, as SMB and some FUSE file systems do; notes how often."""
    real = os.fsync
    refused: list[int] = []

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            refused.append(descriptor)
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return refused


def test_a_file_system_that_cannot_sync_folders_can_be_exported_into(
    sample_api: Api, sample: Sample, tmp_path: Path, unsynced_folders: list[int]
) -> None:
    result = sample_api.runs(sample.path).export(tmp_path / "out", what="all")
    assert result.failed == ()
    assert ds.dataset(tmp_path / "out" / "history").count_rows() == RUNS * ROWS
    assert unsynced_folders


def test_it_can_hold_a_store_and_downloads(tmp_path: Path, unsynced_folders: list[int]) -> None:
    (tmp_path / "a.txt").write_text("text")
    with Api.local(tmp_path / "store") as api:
        run = api.create_run("r", "p")
        run.upload_file(tmp_path / "a.txt", tmp_path)
        run.file("a.txt").download(tmp_path / "there")
    assert (tmp_path / "there" / "a.txt").read_text() == "text"
    assert len(unsynced_folders) > 1


@pytest.mark.parametrize("error", ["EIO", "ESTALE"])
def test_other_errors_of_a_folder_are_shown(
    sample_api: Api, sample: Sample, tmp_path: Path, fail: Fail, error: str
) -> None:
    fail("fsync", ".aiowandb-export/staged", error)
    with pytest.raises(ExportError, match=f"Cannot write .*: {os.strerror(getattr(errno, error))}"):
        sample_api.runs(sample.path).export(tmp_path / "out")


def test_a_lock_that_cannot_be_closed_does_not_fail_an_export(
    sample_api: Api, sample: Sample, tmp_path: Path, fail: Fail
) -> None:
    # The lock's text is for people: NFS says at `close` that it was not written.
    fail("ftruncate", ".aiowandb-export/lock", "EDQUOT")
    fail("close", ".aiowandb-export/lock", "EDQUOT")
    result = sample_api.runs(sample.path).export(tmp_path / "out")
    assert result.rows == RUNS * ROWS


def test_a_quota_that_shows_when_a_file_is_closed_is_an_export_error(
    tmp_path: Path, fail: Fail
) -> None:
    file = AppendOnlyFile(tmp_path / "journal.jsonl")
    file.append(b"line\n", sync=True)
    fail("close", "journal.jsonl", "EDQUOT")
    with pytest.raises(ExportError, match=r"Cannot write .*journal.jsonl: Disk quota exceeded"):
        file.close()
    file.close()  # it is closed


def test_a_stale_handle_in_the_middle_ends_an_export_that_the_next_one_finishes(
    sample_api: Api, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(*_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patch:
        patch.setattr(hashing, "digest_of", stale)
        with pytest.raises(ExportError, match=r"Cannot read .*: Stale file handle"):
            sample_api.runs(sample.path).export(tmp_path / "out")
    result = sample_api.runs(sample.path).export(tmp_path / "out")
    assert result.failed == ()
    assert ds.dataset(tmp_path / "out" / "history").count_rows() == RUNS * ROWS


def test_a_file_that_cannot_be_read_now_is_not_taken_for_a_damaged_one() -> None:
    message = "Cannot read runs.parquet: Stale file handle"
    with pytest.raises(ExportError, match=message), read_errors("runs.parquet"):
        raise OSError(errno.ESTALE, "stale")
    for damaged in (OSError("not a Parquet file"), FileNotFoundError(2, "missing")):
        with pytest.raises(type(damaged)) as caught, read_errors("runs.parquet"):
            raise damaged
        assert caught.value is damaged


@pytest.mark.parametrize(
    "names", [("model.pt", "Model.pt"), ("D/x", "d/x"), ("caf\u00e9", "cafe\u0301")]
)
def test_files_that_one_file_system_does_not_distinguish_are_an_error(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    first, second = (tmp_path / name for name in names)
    for path in (first, second):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    require_distinct([first, second, tmp_path / "other"])
    second.unlink()
    second.hardlink_to(first)  # as if both names led to one file
    with pytest.raises(DownloadError, match="are one file on this file system"):
        require_distinct([first, second])


def test_a_store_without_locks_says_which_disk_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        error = sqlite3.OperationalError("locking protocol")
        error.sqlite_errorcode = sqlite3.SQLITE_PROTOCOL
        raise error

    monkeypatch.setattr(database, "_update_schema", locked)
    message = "locking protocol. SQLite needs locks .* this machine"
    with Api.local(tmp_path / "store") as api, pytest.raises(StoreError, match=message):
        _ = api.viewer
