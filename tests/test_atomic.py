"""A file appears complete, or not at all."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from aiowandb.atomic import atomic_file

pytestmark = pytest.mark.anyio


async def test_a_file_gets_its_name_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x"
    async with atomic_file(path) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert list(path.parent.iterdir()) == [path]


async def test_it_replaces_what_was_there_only_then(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        async with atomic_file(path) as file:
            file.write(b"new")
            raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


async def test_a_cancelled_one_leaves_nothing(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with atomic_file(tmp_path / "x") as file:
            file.write(b"half")
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert list(tmp_path.iterdir()) == []


async def test_two_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    async with atomic_file(tmp_path / "x") as one, atomic_file(tmp_path / "x") as other:
        one.write(b"1" * 10)
        other.write(b"2" * 10)
    assert (tmp_path / "x").read_bytes() == b"1" * 10
    assert len(list(tmp_path.iterdir())) == 1
