"""`Project` and `Projects` without `await`."""

from __future__ import annotations

from datetime import datetime

from aiowandb import api
from aiowandb.sync.listing import Listed
from aiowandb.sync.runs import Runs
from aiowandb.sync.sweeps import Sweeps
from aiowandb.sync.wrapping import Shared, Twin, making


class Project(Twin[api.Project]):
    """A project of W&B.

    >>> for sweep in api.project("mnist", entity="me").sweeps():
    ...     print(sweep.name)
    """

    id = Shared[str]()
    name = Shared[str]()
    entity = Shared[str]()
    path = Shared[list[str]]()
    url = Shared[str]()
    created_at = Shared[datetime | None]()

    runs = making(api.Project.runs, Runs)
    sweeps = making(api.Project.sweeps, Sweeps)


class Projects(Listed[api.Projects, Project]):
    """The projects of an entity. Nothing is sent until they are used.

    >>> for project in api.projects("me"):
    ...     print(project.name, project.created_at)
    """

    _kind = Project
