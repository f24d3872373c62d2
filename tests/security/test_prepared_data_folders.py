"""Data folders of the embedded W&B that somebody else has prepared, as in a cloned repository."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiowandb_server import DataFolderError, LoginLinks, RequestError, Store
from aiowandb_server.store.charting import ChartRequest
from aiowandb_server.store.history import Sampled
from tests.support import forked, processes
from tests.support import thrift as t

PRECIOUS = b"precious\n"
FOLDERS = ["blobs", "segments", "login-links"]
FILES = ["store.sqlite", "store.sqlite-wal", "store.sqlite-journal", "local-key", "link-secret"]
OLD = 1_700_000_000.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "data"
    with Store.open(folder) as store:
        project, _ = store.projects.ensure("local", "p")
        run, _ = store.runs.upsert(project, "r")
        store.files.add(run, "config.yaml", b"{}")
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder with an old file, neither of which is changed."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "file").write_bytes(PRECIOUS)
    os.utime(folder / "file", (OLD, OLD))
    yield folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"file": PRECIOUS}


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", [*FOLDERS, *FILES, "server-address"])
def test_no_part_of_a_data_folder_is_a_link(data: Path, elsewhere: Path, name: str) -> None:
    remove(data / name)
    (data / name).symlink_to(elsewhere if name in FOLDERS else elsewhere / "file")
    with pytest.raises(DataFolderError, match=rf"{name} is a symbolic link.* Remove it"):
        Store.open(data)


@pytest.mark.parametrize("name", FILES)
def test_no_file_of_a_data_folder_is_a_hard_link(data: Path, elsewhere: Path, name: str) -> None:
    remove(data / name)
    (data / name).hardlink_to(elsewhere / "file")
    with pytest.raises(DataFolderError, match=rf"{name} has a second name"):
        Store.open(data)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
def test_a_pipe_in_a_data_folder_is_not_waited_for(data: Path, name: str) -> None:
    remove(data / name)
    os.mkfifo(data / name)
    with pytest.raises(DataFolderError, match=rf"{name} is not a f(ile|older)"):
        Store.open(data)


def test_no_upload_is_a_link_or_a_pipe(data: Path, elsewhere: Path) -> None:
    (blob,) = (data / "blobs").iterdir()
    blob.unlink()
    blob.symlink_to(elsewhere / "file")
    with pytest.raises(DataFolderError, match=rf"{blob.name} is a symbolic link"):
        Store.open(data)


def test_the_data_folder_itself_may_be_a_link(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    with Store.open(tmp_path / "link") as store:
        assert store.projects.get("local", "p")


def change_database(data: Path, statement: str, *values: str) -> None:
    connection = sqlite3.connect(data / "store.sqlite")
    with connection:
        connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize("path", ["../elsewhere/file", "{}/file", "blobs/../../elsewhere/file"])
def test_no_file_elsewhere_is_removed_for_a_database(
    data: Path, elsewhere: Path, path: str
) -> None:
    change_database(data, "INSERT INTO retired_file VALUES (?, 0)", path.format(elsewhere))
    with pytest.raises(DataFolderError, match="in the database is not a file of"):
        Store.open(data)


@pytest.mark.parametrize("name", ["../../elsewhere/file", "{}/file", ".."])
def test_no_file_elsewhere_is_sent_for_a_database(data: Path, elsewhere: Path, name: str) -> None:
    with Store.open(data) as store:
        change_database(data, "UPDATE file SET blob = ?", name.format(elsewhere))
        project = store.projects.get("local", "p")
        assert project
        run = store.runs.get(project, "r")
        assert run
        file = store.files.get(run, "config.yaml")
        assert file
        with pytest.raises(RequestError, match="is not the name of a file"):
            store.files.path(file)


def test_the_address_is_written_through_no_link(data: Path, elsewhere: Path) -> None:
    links = LoginLinks(data, lambda: 0.0)
    (data / "server-address").symlink_to(elsewhere / "file")
    links.announce("http://127.0.0.1:1")
    assert links.address() == "http://127.0.0.1:1"
    assert not (data / "server-address").is_symlink()


def log_rows(store: Store, name: str) -> str:
    """Log a run of 20 rows, and return the token of its segment."""
    project, _ = store.projects.ensure("local", "p")
    run, _ = store.runs.upsert(project, name)
    store.history.append(run, [f'{{"_step": {i}, "loss": {1 / (i + 2)}}}' for i in range(20)])
    store.finish(run)
    (token,) = store.history.exported(run, "parquet").tokens
    return token


def test_a_damaged_segment_is_an_error_of_its_run(data: Path) -> None:
    with Store.open(data) as store:
        token = log_rows(store, "r")
        log_rows(store, "other")
        for kind in ("lines", "columns"):
            path = data / "segments" / f"{token}.{kind}.parquet"
            content = bytearray(path.read_bytes())
            content[len(content) // 3] ^= 1
            path.write_bytes(content)
        project = store.projects.get("local", "p")
        assert project
        run, other = store.runs.get(project, "r"), store.runs.get(project, "other")
        assert run
        assert other
        for read in (
            lambda run: len(store.history.window(run, 0, 20, 50)),
            lambda run: len(store.history.sampled(run, Sampled(("loss",), 50))),
            lambda run: store.charts.series(run, ChartRequest(("loss",)))[0]["count"],
        ):
            with pytest.raises(
                RequestError, match=r"parquet in the data folder has changed .* Restore it"
            ):
                read(run)
            assert read(other) == 20
        with pytest.raises(RequestError, match="has changed"):
            store.history.columns_path(token)


@pytest.mark.parametrize("kind", ["lines", "columns"])
def test_no_segment_ends_the_process(tmp_path: Path, kind: str) -> None:
    """Those of older versions have no hash in their name."""
    with Store.open(tmp_path) as store:
        token = log_rows(store, "r")
    change_database(tmp_path, "UPDATE segment SET token = 'old'")
    for path in (tmp_path / "segments").iterdir():
        path.rename(path.with_name(path.name.replace(token, "old")))
    path = tmp_path / "segments" / f"old.{kind}.parquet"
    statistics = (t.STRUCT, dict.fromkeys((1, 2, 5, 6), (t.BINARY, b"short")))
    histogram = (t.STRUCT, {3: (t.LIST, (t.I64, [1]))})
    malformed = {12: statistics, 16: histogram}
    path.write_bytes(
        t.changed_footer(path.read_bytes(), lambda column: column[3][1].update(malformed))
    )
    process = processes.start(forked.read_history, tmp_path)
    process.join()
    assert process.exitcode == 0
