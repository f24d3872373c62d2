"""The data folder: opened, shared, refused, cleaned up."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiowandb_server import RunChanges, Store
from aiowandb_server.errors import DataFolderError, RequestError
from aiowandb_server.store.records import ProjectRow, RunRow
from aiowandb_server.store.stream import Chunk, StreamUpdate
from tests.server.conftest import Clock


def test_a_store_opened_again_has_its_data(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        project, made = store.projects.ensure("local", "p")
        store.runs.upsert(project, "r", RunChanges(config='{"a": {"value": NaN}}'))
        key = store.local_key
    assert made
    with Store.open(tmp_path) as store:
        project, made = store.projects.ensure("local", "p")
        run = store.runs.get(project, "r")
        assert not made
        assert run is not None
        assert run.config == '{"a": {"value": NaN}}'
        assert store.local_key == key
        assert len(key) == 40


def test_only_its_owner_can_read_the_secrets(store: Store) -> None:
    for name in ("local-key", "link-secret"):
        assert (store.folder / name).stat().st_mode & 0o077 == 0


def test_a_store_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "store.sqlite") as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(DataFolderError, match="newer aiowandb .schema 999.*upgrade"):
        Store.open(tmp_path)


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(b"this is not a database" * 100)
    with pytest.raises(DataFolderError, match="cannot be opened as a store"):
        Store.open(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataFolderError, match="cannot be used as a data folder"):
        Store.open(tmp_path / "file" / "data")


def test_config_and_summary_must_be_objects(store: Store, project: ProjectRow) -> None:
    for changes in (RunChanges(config="[1]"), RunChanges(summary="nonsense")):
        with pytest.raises(RequestError, match="must be a JSON object"):
            store.runs.upsert(project, "r", changes)
    assert store.runs.get(project, "r") is None, "a refused upsert leaves nothing behind"


def test_null_leaves_a_field_as_it_is_and_empty_sets_it(store: Store, project: ProjectRow) -> None:
    store.runs.upsert(project, "r", RunChanges(notes="n", tags=["a"], group="g"))
    run, inserted = store.runs.upsert(project, "r", RunChanges(notes="", tags=[]))
    assert not inserted
    assert (run.notes, run.tags, run.group) == ("", "[]", "g")


def test_the_file_stream_drives_the_state(store: Store, run: RunRow, clock: Clock) -> None:
    def state() -> str:
        fresh = store.runs.by_id(run.id)
        assert fresh is not None
        return fresh.state

    assert state() == "running"
    clock.now += 1000
    assert state() == "crashed"
    store.stream.apply(run, StreamUpdate())
    assert state() == "running", "a heartbeat brings it back to life"
    store.stream.apply(run, StreamUpdate(preempting=True))
    assert state() == "preempting"
    store.stream.finish(run, exit_code=3)
    assert state() == "failed"
    store.stream.apply(run, StreamUpdate({"history": Chunk(0, ['{"_step":0}'])}))
    assert state() == "running"
    store.stream.finish(run)
    clock.now += 1000
    assert state() == "finished"


def test_deleting_a_project_leaves_no_rows(store: Store, project: ProjectRow, run: RunRow) -> None:
    store.history.append(run, ['{"_step":0}', "bad"])
    store.files.add(run, "a.txt", b"a")
    store.projects.delete(project.id)
    with store._database.read() as connection:
        for table in ("run", "line", "rejected_line", "file"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0


def test_files_that_nothing_refers_to_are_swept_once_old(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        project, _ = store.projects.ensure("local", "p")
        run, _ = store.runs.upsert(project, "r")
        store.history.append(run, ['{"_step":0}'])
        store.finish(run)
        kept = store.files.path(store.files.add(run, "a", b"a"))
    young = tmp_path / "segments" / "young.columns.parquet"
    old = tmp_path / "blobs" / "orphan.tmp"
    for path in (young, old):
        path.touch()
    for path in (old, kept):
        os.utime(path, (0, 0))
    Store.open(tmp_path).close()
    assert young.exists(), "another process may be about to register it"
    assert not old.exists()
    assert kept.exists()


WRITER = """
import sys
from aiowandb_server import Store
with Store.open(sys.argv[1]) as store:
    project, _ = store.projects.ensure("local", "shared")
    for number in range(100):
        run, _ = store.runs.upsert(project, f"{sys.argv[2]}-{number}")
        store.history.append(run, ['{"_step":0}'] * 5)
        if number % 10 == 0:
            store.finish(run)
"""


def test_two_processes_can_write_to_one_store(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in "ab"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with Store.open(tmp_path) as store:
        project = store.projects.get("local", "shared")
        assert project is not None
        assert project.run_count == 200
        page = store.runs.page(project, first=1000)
        assert {run.history_lines for run in page.items} == {5}
        assert {len(store.history.window(run, 0, 9, 9)) for run in page.items} == {5}


@pytest.mark.parametrize("broken", ["", "\n", "0123", "\xff\xfe"])
def test_a_broken_secret_is_replaced(tmp_path: Path, broken: str) -> None:
    with Store.open(tmp_path) as store:
        before = store.local_key, store.link_secret
        # What an earlier version would have made of the rest of a key.
        local = store.accounts.user("local")
        assert local is not None
        if broken.strip():
            store.accounts.add_key(local.id, broken.strip())
    for name in ("local-key", "link-secret"):
        (tmp_path / name).write_text(broken, encoding="latin-1")
    with Store.open(tmp_path) as store:
        after = store.local_key, store.link_secret
        assert all(len(secret) == 40 for secret in after)
        assert set(before).isdisjoint(after)
        assert store.accounts.user_of_key(store.local_key) == store.accounts.user("local")
        assert broken != "0123" or store.accounts.user_of_key("0123") is None
    with Store.open(tmp_path) as store:
        assert (store.local_key, store.link_secret) == after


def test_a_key_that_people_have_put_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "local-key").write_text("my-own-key-" * 4 + "\n")
    with Store.open(tmp_path) as store:
        assert store.accounts.user_of_key("my-own-key-" * 4) == store.accounts.user("local")


def test_only_its_owner_can_read_a_data_folder(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store.open(tmp_path / "data") as store:
            project, _ = store.projects.ensure("local", "p")
            run, _ = store.runs.upsert(project, "r")
            store.files.add(run, "a.txt", b"a")
            paths = [store.folder, *store.folder.iterdir()]
            assert {path.name for path in paths} >= {"store.sqlite", "store.sqlite-wal", "blobs"}
            assert [path.name for path in paths if path.stat().st_mode & 0o077] == []
    finally:
        os.umask(before)


def test_an_existing_database_is_closed_to_others(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    for path in (tmp_path, *tmp_path.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with Store.open(tmp_path):
        paths = [tmp_path, *tmp_path.iterdir()]
        assert [p.name for p in paths if p.stat().st_mode & 0o077] == []


def test_a_folder_of_other_files_too_keeps_its_mode(tmp_path: Path) -> None:
    for name, mode in (("empty", 0o700), ("with other files", 0o755)):
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(0o755)
        if mode == 0o755:
            (folder / "notes.txt").touch()
        for _ in range(2):
            Store.open(folder).close()
            assert folder.stat().st_mode & 0o777 == mode


def test_a_store_that_is_open_keeps_its_locks_when_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Closing any descriptor of a file drops all locks that the process holds on it.
    opened: list[str] = []
    system_open = os.open

    def spy(path: Any, *args: Any, **kwargs: Any) -> int:
        descriptor = system_open(path, *args, **kwargs)
        opened.append(os.path.basename(path))
        return descriptor

    monkeypatch.setattr(os, "open", spy)
    with Store.open(tmp_path):
        assert "store.sqlite" in opened
        opened.clear()
        with Store.open(tmp_path):
            assert "store.sqlite" not in opened
