"""The same classes without `await`, wrapped member by member; no logic of their own.

May import `api` and every layer below.
"""

from aiowandb.sync.facade import (
    Api,
    Append,
    Artifact,
    Artifacts,
    File,
    Files,
    LiveRun,
    Project,
    Projects,
    Run,
    Runs,
    RunStart,
    Sweep,
    Sweeps,
)
from aiowandb.sync.verifying import verify

__all__ = [
    "Api",
    "Append",
    "Artifact",
    "Artifacts",
    "File",
    "Files",
    "LiveRun",
    "Project",
    "Projects",
    "Run",
    "RunStart",
    "Runs",
    "Sweep",
    "Sweeps",
    "verify",
]
