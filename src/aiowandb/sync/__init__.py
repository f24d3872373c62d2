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
    Project,
    Projects,
    Run,
    Runs,
    Sweep,
    Sweeps,
)

__all__ = [
    "Api",
    "Append",
    "Artifact",
    "Artifacts",
    "File",
    "Files",
    "Project",
    "Projects",
    "Run",
    "Runs",
    "Sweep",
    "Sweeps",
]
