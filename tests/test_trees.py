"""Folders that are deeper than Python's own functions can go."""

from __future__ import annotations

import os
from pathlib import Path

from aiowandb.trees import entries_of, make_folders, remove_tree, walk

# More levels than Python has frames; the path is shorter than the 4,096 bytes of Linux.
DEPTH = 1_100
DEEP = "/".join("d" * DEPTH)


def test_folders_of_any_depth_are_created_walked_and_removed(tmp_path: Path) -> None:
    deep = tmp_path / DEEP
    make_folders(deep)
    try:
        make_folders(deep)  # they may exist
        (deep / "file").write_bytes(b"1")
        names = [name for name, _ in walk(tmp_path)]
    finally:
        remove_tree(tmp_path / "d")
    assert names[-1] == f"{DEEP}/file"
    assert len(names) == DEPTH + 1
    assert os.listdir(tmp_path) == []


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "below" / "link").symlink_to(tmp_path / "other")
    assert [name for name, _ in walk(tmp_path / "tree")] == ["below", "below/link"]
    remove_tree(tmp_path / "tree")
    assert [name for name, _ in walk(tmp_path)] == ["other", "other/file"]


def test_a_folder_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert list(entries_of(tmp_path / "none")) == list(walk(tmp_path / "none")) == []
