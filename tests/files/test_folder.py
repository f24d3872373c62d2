"""A file name from outside never leads out of the folder."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb import DownloadError
from aiowandb.files.folder import path_inside, pieces_of
from tests.conftest import examples

CLIMBING = ["..", "../x", "a/../../x", "a/..", r"..\x", r"a\..\..\x", "a/.././../x"]
ABSOLUTE = ["/etc/passwd", "//host/share/x", r"\x", r"\\host\share\x", r"\\?\C:\x"]
DRIVES = ["C:/x", r"C:\x", "c:x", "z:"]
NO_FILES = ["", ".", "./", "a/", "a/.", "a\\"]
NO_TEXT = ["a\0b", "\0", "a/\0", "\ud800"]
ORDINARY = [
    "x",
    "a/b/c.txt",
    "./x",
    "a//b",
    "..x",
    "x..",
    "a/...",
    "con/trol",
    "media/table/a_1_ü.table.json",
    "loss: 0.5.txt",
    "日本/é",
]
WINDOWS_ONLY = [
    "con",
    "a/NUL.txt",
    "com1.tar.gz",
    "LPT9",
    "aux .x",
    "x.",
    "a /b",
    "ab:c",
    "x?",
    "\n",
]


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("name", CLIMBING + ABSOLUTE + DRIVES + NO_FILES + NO_TEXT)
def test_a_hostile_name_is_refused(tmp_path: Path, name: str, windows: bool) -> None:
    with pytest.raises(DownloadError, match="is refused") as caught:
        path_inside(tmp_path, name, windows=windows)
    assert caught.value.name == name


@pytest.mark.parametrize("name", ORDINARY + WINDOWS_ONLY)
def test_an_ordinary_name_is_kept(tmp_path: Path, name: str) -> None:
    assert path_inside(tmp_path, name, windows=False) == tmp_path / name


@pytest.mark.parametrize("name", WINDOWS_ONLY)
def test_names_that_windows_does_not_allow_are_refused_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(DownloadError, match="Windows"):
        path_inside(tmp_path, name, windows=True)


def test_a_link_inside_the_folder_does_not_lead_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "real").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "out" / "real")
    (tmp_path / "out" / "away").symlink_to(tmp_path)
    (tmp_path / "out" / "file").symlink_to(tmp_path / "secret")
    (tmp_path / "out" / "loop").symlink_to(tmp_path / "out" / "loop")
    folder = tmp_path / "out"
    assert path_inside(folder, "link/x") == folder / "link" / "x"
    for name in ("away/x", "file"):
        with pytest.raises(DownloadError, match="symbolic link"):
            path_inside(folder, name)


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert path_inside(tmp_path / "link", "x") == tmp_path / "link" / "x"


SEGMENTS = st.sampled_from(["..", ".", "", "a", "C:", "c:", "con", "\0", "..."]) | st.text(
    max_size=4
)
NAMES = st.lists(SEGMENTS | st.sampled_from(["/", "\\"]), max_size=8).flatmap(
    lambda parts: st.sampled_from(["/".join(parts), "\\".join(parts), "".join(parts)])
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folder")


@examples(35)
@given(NAMES)
def test_whatever_the_name_the_file_stays_inside(folder: Path, name: str) -> None:
    try:
        path = path_inside(folder, name)
    except DownloadError:
        return
    assert os.path.normpath(path).startswith(f"{folder}{os.sep}")
    assert os.path.normpath(path) != str(folder)


@given(NAMES)
def test_nor_would_it_leave_on_windows(name: str) -> None:
    try:
        path_inside(Path("folder"), name, windows=True)
    except DownloadError:
        return
    path = PureWindowsPath("folder", name)
    assert path.parts[0] == "folder"
    assert not path.anchor
    assert ".." not in path.parts


@pytest.mark.anyio
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="lists open files through /proc")
async def test_a_file_is_closed_while_its_reader_has_a_part_of_it(folder: Path) -> None:
    path = folder / "content"
    path.write_bytes(b"all of it")
    async with aclosing(pieces_of(path)) as pieces:
        assert await anext(pieces) == b"all of it"
        assert path not in [handle.resolve() for handle in Path("/proc/self/fd").iterdir()]
