"""Folders of any depth: created, walked and removed without recursion.

Files at W&B can be called anything, also `d/d/d/...` a thousand times. Until Python 3.12 `pathlib`,
`os.walk` and `shutil.rmtree` call themselves for each level, and fail with a RecursionError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def make_folders(folder: Path) -> None:
    """Create the folder, and those above it, unless they exist."""
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        path.mkdir(exist_ok=True)


def entries_of(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What is in the folder, with its name. A folder that does not exist is empty."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            yield entry.name, entry


def walk(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below the folder with its path from there; links are not followed.

    What is in a folder comes after it.
    """
    waiting = [""]
    while waiting:
        above = waiting.pop()
        for name, entry in entries_of(folder / above):
            yield f"{above}{name}", entry
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{above}{name}/")


def remove_tree(folder: Path) -> None:
    """Remove the folder and everything in it, but nothing that a link in it leads to."""
    below = [(folder / name, entry.is_dir(follow_symlinks=False)) for name, entry in walk(folder)]
    for path, is_folder in reversed(below):
        if is_folder:
            path.rmdir()
        else:
            path.unlink()
    folder.rmdir()
