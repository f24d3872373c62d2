"""The async classes for code without `await`, member by member. Nothing here has logic of its own.

May import `api` and what everybody may use.
"""

from aiowandb.sync.artifacts import Artifact, Artifacts
from aiowandb.sync.client import Api
from aiowandb.sync.files import File, Files
from aiowandb.sync.projects import Project, Projects
from aiowandb.sync.runs import Append, Run, Runs
from aiowandb.sync.sweeps import Sweep, Sweeps

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
