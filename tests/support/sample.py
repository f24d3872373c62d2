"""The small sample project that many tests read."""

from __future__ import annotations

from pathlib import Path

from aiowandb_server import SampleProject

RUNS, ROWS = 7, 230


class Sample:
    """Where the sample project lies and what is in it."""

    def __init__(self, folder: Path, project: SampleProject, key: str) -> None:
        self.folder = folder
        self.path = f"{project.entity}/{project.project}"
        self.project = project
        self.key = key
