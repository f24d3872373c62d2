"""What users hold: `AsyncApi`, `Run` and what else W&B has. Thin: the layers below, put together.

May import every layer below; `history`, `export` and `local` only inside functions,
so that what they need is loaded when it is used.
"""

from aiowandb.api.append import Append
from aiowandb.api.artifacts import Artifact, Artifacts
from aiowandb.api.client import AsyncApi
from aiowandb.api.files import File, Files
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
    "Project",
    "Projects",
    "Run",
    "Runs",
    "Sweep",
    "Sweeps",
]
