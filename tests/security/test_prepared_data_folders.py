"""Data folders of the embedded W&B that somebody else has prepared, as in a cloned repository."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiowandb_server import DataFolderError, LoginLinks, RequestError, Store

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
