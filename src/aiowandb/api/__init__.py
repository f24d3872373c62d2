"""The public classes: `AsyncApi`, `Run` and everything else that W&B has. Thin.

May import every layer below; `history`, `export` and `embedded` only inside of functions,
so that the packages they need are loaded on first use.
"""

from aiowandb.api.append import Append
from aiowandb.api.artifacts import Artifact, Artifacts
from aiowandb.api.client import AsyncApi
from aiowandb.api.files import File, Files
from aiowandb.api.live import LiveRun, RunStart
from aiowandb.api.projects import Project, Projects
from aiowandb.api.run import Run
from aiowandb.api.runs import Runs
from aiowandb.api.sweeps import Sweep, Sweeps

__all__ = [
    "Append",
    "Artifact",
    "Artifacts",
    "AsyncApi",
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
]
