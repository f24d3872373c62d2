"""Files appear complete, errors are readable, and the journal survives a partial line."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import msgspec
import pytest

from aiowandb import ExportError, TimeoutError
from aiowandb.export.claim import claim_folder
from aiowandb.export.folders.base import plain_errors
from aiowandb.export.folders.local import LocalFolder
from aiowandb.export.journal import VERSION, Begun, Deleted, ExportIdentity, Journal
from aiowandb.export.manifest import put_text
from aiowandb.export.options import ExportOptions

DELETED = Deleted(("a", "b"))
BEGUN = Begun(VERSION, ExportIdentity("api.wandb.ai", "me/mnist"), ExportOptions())


def test_a_draft_takes_its_name_when_it_is_put(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    with folder.lock():
        draft = folder.draft("history/x")
        draft.write_text("rows")
        assert folder.files("history") == {}
        folder.put(draft, "history/x")
        assert (tmp_path / "history" / "x").read_text() == "rows"


def test_two_threads_write_the_same_file_at_once(tmp_path: Path) -> None:
    both = Barrier(2, timeout=60)

    class Shared(LocalFolder):
        def put(self, draft: Path, name: str) -> None:
            both.wait()
            super().put(draft, name)

    folder = Shared(tmp_path)
    with folder.lock(), ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: put_text(folder, "x", b"text"), range(2)))
    assert (tmp_path / "x").read_bytes() == b"text"


def test_a_file_is_on_the_disk_before_its_name_and_both_before_we_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        done.append(f"{kind} synced")
        fsync(descriptor)

    def noted_replace(path: Path, to: Path) -> None:
        done.append("named")
        replace(path, to)

    folder = LocalFolder(tmp_path)
    with folder.lock():
        folder.draft("x").write_text("rows")
        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(os, "replace", noted_replace)
        folder.put(folder.draft("x"), "x")
        assert done == ["file synced", "named", "folder synced"]
        journal = opened(tmp_path)
        done.clear()
        journal.append(BEGUN)
        assert done == ["file synced"]
        journal.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    folder = LocalFolder(tmp_path)
    complaint = f"Cannot write {tmp_path / 'x'}: Is a directory"
    with folder.lock(), pytest.raises(ExportError, match=complaint):
        folder.draft("y").touch()
        folder.put(folder.draft("y"), "x")


def test_a_timeout_is_not_reported_as_a_full_disk() -> None:
    with pytest.raises(TimeoutError, match="no answer"), plain_errors("x"):
        raise TimeoutError("no answer")


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for record in (BEGUN, DELETED):
        journal.append(record)
    journal.close()
    again = opened(tmp_path)
    assert again.records == [BEGUN, DELETED]
    again.close()


def test_an_export_continues_under_another_name_of_the_same_cloud(tmp_path: Path) -> None:
    for host in ("api.wandb.ai", "api.forge.coreweave.com", "api.wandb.ai"):
        source = ExportIdentity(host, "me/mnist")
        with claim_folder(LocalFolder(tmp_path), source, ExportOptions(), overwrite=False) as begin:
            assert begin()[0].records == [msgspec.structs.replace(BEGUN, sealed=True)]
    elsewhere = ExportIdentity("api.qa.wandb.ai", "me/mnist")
    other = claim_folder(LocalFolder(tmp_path), elsewhere, ExportOptions(), overwrite=False)
    with pytest.raises(ExportError, match="another export"), other:
        pass


@pytest.mark.parametrize("lost", range(1, 12))
def test_a_torn_last_line_is_as_if_it_had_never_begun(tmp_path: Path, lost: int) -> None:
    journal = opened(tmp_path)
    for record in (BEGUN, DELETED):
        journal.append(record)
    journal.close()
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-lost])
    again = opened(tmp_path)
    assert again.records == [BEGUN]
    again.append(Deleted(("c",)))
    again.close()
    last = opened(tmp_path)
    assert last.records == [BEGUN, Deleted(("c",))]
    last.close()


def opened(folder: Path) -> Journal:
    return Journal(LocalFolder(folder), "journal.jsonl")
