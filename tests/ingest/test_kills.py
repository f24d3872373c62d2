"""A copy that is killed at any instant, and repeated, is the same as an undisturbed one."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiowandb import AsyncApi, Run
from aiowandb.ingest.mark import read_mark
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from aiowandb_server.store.sweeps import SweepChanges
from tests.ingest.conftest import SOURCE, dump
from tests.support import forked
from tests.support.artifacts import log_artifact
from tests.support.processes import start


class Killer:
    """An app that kills a process when so many requests have come."""

    def __init__(self, app: Any, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self._requests.note()
        await self._app(scope, receive, send)


class Requests:
    """Those of both servers together."""

    def __init__(self) -> None:
        self.seen = 0
        self.at: int | None = None
        self.process: Future[BaseProcess] = Future()

    def note(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            self.process.result().kill()


class Copier:
    """Copies of one project in processes of their own."""

    def __init__(
        self, requests: Requests, servers: list[tuple[str, str]], target: Callable[[], AsyncApi]
    ) -> None:
        self._requests = requests
        self._begin = partial(start, forked.copy, *servers, SOURCE)
        self._target = target

    def run(self, project: str, at: int | None = None) -> bool:
        """Copy, and be killed at this request; returns whether there were so many."""
        requests = self._requests
        requests.seen, requests.at, requests.process = 0, at, Future()
        process = self._begin(project)
        requests.process.set_result(process)
        process.join()
        requests.at = None
        was_killed = at is not None and requests.seen >= at
        assert process.exitcode == (-signal.SIGKILL if was_killed else 0)
        return was_killed

    @property
    def seen(self) -> int:
        """How many requests the last copy has made."""
        return self._requests.seen

    def content(self, project: str) -> dict[str, Any]:
        """All that the project has."""

        async def read() -> dict[str, Any]:
            async with self._target() as api:
                found = await dump(api, project)
                async for run in api.runs(project, fresh=True):
                    found[run.id] |= await more_of(run)
                sweeps = [sweep async for sweep in (await api.project(project)).sweeps()]
                linked = [
                    (each.name, each.source.version, sorted(each.aliases))
                    async for each in api.artifacts("model", f"{project}/chosen", fresh=True)
                ]
            found["sweeps"] = [(each.config_text, each.description) for each in sweeps]
            return found | {"linked": linked}

        return anyio.run(read)


async def more_of(run: Run) -> dict[str, str]:
    """What else a run has, which must be marked as complete."""
    mark = read_mark(run.json_config)
    assert mark
    assert mark.complete
    made = [
        (each.name, sorted(each.aliases), each.digest, each.size, each.metadata)
        async for each in run.logged_artifacts(fresh=True)
    ]
    used = [(each.name, each.digest) async for each in run.used_artifacts(fresh=True)]
    return {"made": repr(made), "used": repr(used), "sweep": repr(run.sweep_name is not None)}


@pytest.fixture
def copier(varied_folder: Path, target_folder: Path, tmp_path: Path) -> Iterator[Copier]:
    folder = shutil.copytree(varied_folder, tmp_path / "source")
    requests = Requests()
    with ExitStack() as stack:
        source = stack.enter_context(Store.open(folder, crash_after=float("inf")))
        add_artifacts_and_a_sweep(source)
        target = stack.enter_context(Store.open(target_folder))
        servers = [
            (
                stack.enter_context(serve_in_thread(Killer(create_app(each), requests))),
                each.local_key,
            )
            for each in (source, target)
        ]
        url, key = servers[1]
        yield Copier(requests, servers, partial(AsyncApi, key, base_url=url))


def add_artifacts_and_a_sweep(store: Store) -> None:
    project = store.projects.get("local", "varied")
    assert project
    runs = {name: store.runs.get(project, name) for name in ("odd", "plain")}
    maker, user = runs["odd"], runs["plain"]
    assert maker
    assert user
    for number in range(3):
        files = {"w.bin": b"%d" % number * 5000, "same": b"same"}
        aliases = ["best"] if number == 1 else []
        log_artifact(store, maker, "model", files, kind="model", aliases=aliases)
    collection = store.collections.ensure(project, "model", "model")
    latest = store.artifacts.latest(collection.id)
    assert latest
    store.artifacts.use(user, latest)
    chosen = store.collections.ensure(project, "chosen", "model", "PORTFOLIO")
    for version in reversed(store.artifacts.of_run(maker.id, "output", first=9).items):
        store.artifacts.link(version, chosen, ["good"])
    sweep = store.sweeps.create(project, SweepChanges(config="method: grid")).name
    store.runs.upsert(project, "plain", RunChanges(sweep=sweep))


def kill_often(copier: Copier, kills: int, kills_per_copy: int) -> None:
    """Compare copies that were killed with an undisturbed one."""
    copier.run("local/undisturbed")
    requests = copier.seen
    undisturbed = copier.content("local/undisturbed")
    assert len(undisturbed) == 6
    assert len(undisturbed["linked"]) == 3
    chance, killed = random.Random(kills), 0
    for number in range(kills // kills_per_copy):
        project = f"local/killed-{number}"
        for each in range(kills_per_copy):
            # Late ones have less left to do.
            killed += copier.run(project, chance.randint(1, requests // (each + 1)))
        copier.run(project)
        assert copier.content(project) == undisturbed
    assert killed > kills // 2


@pytest.mark.slow
def test_a_copy_that_is_killed_loses_and_doubles_nothing(copier: Copier) -> None:
    kill_often(copier, 1, 1)


@pytest.mark.slow
def test_a_copy_that_is_killed_fifty_times_loses_and_doubles_nothing(copier: Copier) -> None:
    kill_often(copier, 50, 5)
