"""Dask for real, with two worker processes."""

from __future__ import annotations

import os
import signal

import pyarrow as pa
import pytest

from aiowandb import Api, ReadPart

from .conftest import PATH, Project, rows

pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("default")]


def test_a_worker_that_is_killed_changes_nothing_and_no_task_shows_a_link(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dask.distributed import Client, LocalCluster

    def read(part: ReadPart) -> pa.Table:  # goes to the workers by value
        return part.reader().read_all()

    with Api(project.world.key, base_url=project.url) as api:
        plan = api.runs(PATH).plan()
    expected = project.export("all")
    monkeypatch.delenv("WANDB_API_KEY")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        project.hold_up()
        futures = client.map(read, plan.parts(4))
        assert project.reached.wait(120)
        busy = next(worker for worker, tasks in client.processing().items() if tasks)
        os.kill(client.run(os.getpid, workers=[busy])[busy], signal.SIGKILL)
        project.go_on()
        tables = client.gather(futures)
        shown = repr(futures) + repr(client.get_task_stream()) + repr(client.story(*futures))
    assert rows(pa.concat_tables(tables)) == rows(expected)
    assert "read" in shown
    assert project.secrets_in(shown) == []
