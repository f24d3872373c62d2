"""`Sweep` and `Sweeps` without `await`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiowandb import api
from aiowandb.sync.listing import Listed
from aiowandb.sync.runs import Run, Runs
from aiowandb.sync.wrapping import Shared, Twin, giving, if_any


class Sweep(Twin[api.Sweep]):
    """A sweep of W&B.

    >>> sweep = api.sweep("entity/project/sweep_id")
    >>> best = sweep.best_run()
    """

    id = Shared[str]()
    storage_id = Shared[str]()
    entity = Shared[str]()
    project = Shared[str]()
    path = Shared[list[str]]()
    url = Shared[str]()
    name = Shared[str]()
    display_name = Shared[str | None]()
    method = Shared[str | None]()
    state = Shared[str | None]()
    description = Shared[str | None]()
    best_loss = Shared[float | None]()
    config = Shared[dict[str, Any]]()
    config_text = Shared[str]()
    created_at = Shared[datetime | None]()
    updated_at = Shared[datetime | None]()
    run_count = Shared[int | None]()
    expected_run_count = Shared[int | None]()
    order = Shared[str | None]()

    best_run = giving(api.Sweep.best_run, if_any(Run))

    @property
    def runs(self) -> Runs:
        """The runs that it has made, the first one first.

        They are kept once they were read; while the sweep goes on, ask
        `api.runs(path, {"sweep": sweep.id}, fresh=True)`.
        """
        return Runs(self._async.runs, self._portal)


class Sweeps(Listed[api.Sweeps, Sweep]):
    """The sweeps of a project. Nothing is sent until they are used.

    >>> for sweep in project.sweeps():
    ...     print(sweep.name, sweep.state, sweep.run_count)
    """

    _kind = Sweep
