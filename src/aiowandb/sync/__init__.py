"""The async classes for code without `await`, member by member. Nothing here has logic of its own.

May import `api` and what everybody may use.
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
