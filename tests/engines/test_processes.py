"""Parts in processes of multiprocessing, without an engine that starts a killed worker again."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import pyarrow as pa
import pytest

from aiowandb import Api, ReadPart

from .conftest import PATH, Project, rows

pytestmark = pytest.mark.slow  # new processes import everything


def read(part: ReadPart) -> pa.Table:
    return part.reader().read_all()


def pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


def test_parts_of_a_killed_process_are_read_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Api(project.world.key, base_url=project.url) as api:
        parts = api.runs(PATH).plan().parts(4)
    expected = project.export("all")
    monkeypatch.delenv("WANDB_API_KEY")
    project.hold_up()
    with pool() as processes:
        futures = [processes.submit(read, part) for part in parts]
        assert project.reached.wait(120)
        for process in list(processes._processes.values())[:1]:
            os.kill(process.pid or 0, signal.SIGKILL)
        project.go_on()
        # The pool is broken then, and says so for every part that it has not returned.
        failures = [future.exception(120) for future in futures]
    assert any(isinstance(failure, BrokenProcessPool) for failure in failures)
    done = [future.result() for future in futures if not future.exception()]
    missing = [part for part, failure in zip(parts, failures, strict=True) if failure]
    with pool() as processes:
        again = list(processes.map(read, missing))
    assert rows(pa.concat_tables([*done, *again])) == rows(expected)
    shown = repr(parts) + repr(failures)
    assert project.secrets_in(shown) == []
