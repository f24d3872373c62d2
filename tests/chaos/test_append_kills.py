"""`aiowandb append` killed at any time and restarted: each row of the file is added once."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from tests.support import forked
from tests.support.processes import start

# Several batches of a thousand.
ROWS = 4_500


class KillingServer:
    """An embedded W&B that may kill who sends rows, before or after it has stored them."""

    def __init__(self, store: Store) -> None:
        self._app = create_app(store, latency=0.02)
        self._left = 0
        self._kill: Callable[[], None] = lambda: None
        self._is_late = False
        self._request = self._seconds = 0.0
        self.requests = 0

    def kill_at(self, batch: int, kill: Callable[[], None], *, is_late: bool) -> None:
        self._left, self._kill, self._is_late = batch, kill, is_late

    def kill_after(self, request: int, seconds: float, kill: Callable[[], None]) -> None:
        """Kill so many seconds after this request has come, counted from now on."""
        self._request, self._seconds, self._kill = request, seconds, kill
        self.requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests += 1
        if self.requests == self._request:
            asyncio.get_running_loop().call_later(self._seconds, self._kill)
        is_batch = scope["path"].endswith("file_stream")
        self._left -= is_batch
        if is_batch and self._left == 0 and not self._is_late:
            self._kill()
            return

        async def kill_instead(message: Any) -> None:
            self._kill()  # what it has sent is stored, and it is not to hear of that

        is_last = is_batch and self._left == 0 and self._is_late
        await self._app(scope, receive, kill_instead if is_last else send)


class World:
    """Finished runs of one row, and the command that adds a file to one of them."""

    def __init__(self, store: Store, url: str, server: KillingServer, file: Path) -> None:
        self._store = store
        self.server = server
        self._project, _ = store.projects.ensure("local", "p")
        self._options = ("--base-url", url, str(file))

    def make(self, name: str) -> None:
        run, _ = self._store.runs.upsert(self._project, name, RunChanges())
        self._store.history.append(run, ['{"_step": 0, "n": -1}'])
        self._store.finish(run)

    def facts(self, name: str) -> tuple[str, list[tuple[int, int]]]:
        """The state of the run, and the steps and values of its rows."""
        run = self._store.runs.get(self._project, name)
        assert run
        lines = [json.loads(line) for line in self._store.history.window(run, 0, 10**9, 10**6)]
        return run.state, [(line["_step"], line["n"]) for line in lines]

    def start(self, name: str) -> BaseProcess:
        return start(forked.command, "append", f"local/p/{name}", *self._options)

    def finish(self, name: str) -> int:
        """Append undisturbed; give the number of requests that it took."""
        before = self.server.requests
        process = self.start(name)
        process.join()
        assert process.exitcode == 0
        return self.server.requests - before

    def kill_after(self, name: str, request: int, seconds: float) -> bool:
        """Append until so many requests and seconds later; says whether it was killed."""
        started: Future[BaseProcess] = Future()
        self.server.kill_after(request, seconds, kill_of(started))
        started.set_result(process := self.start(name))
        process.join()
        self.server.kill_after(0, 0, lambda: None)
        return process.exitcode == -signal.SIGKILL


def kill_of(started: Future[BaseProcess]) -> Callable[[], None]:
    return lambda: started.result().kill()


@pytest.fixture(params=[False, True], ids=["no steps", "steps"])
def world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[World]:
    rows = [{"n": n} | ({"_step": 10 + 3 * n} if request.param else {}) for n in range(ROWS)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Store.open(tmp_path / "wandb", crash_after=float("inf")) as store:
        store.accounts.ensure_user("local", is_admin=True)
        server = KillingServer(store)
        monkeypatch.setenv("WANDB_API_KEY", store.local_key)
        with serve_in_thread(server) as url:
            yield World(store, url, server, file)


@pytest.mark.slow
@pytest.mark.parametrize("world", [False], indirect=True)
def test_a_command_that_is_killed_again_and_again_adds_each_row_once(world: World) -> None:
    world.make("r")
    had = 0
    # The last request says that the run is finished; killed behind it, nothing is left to do.
    for batch, is_late, stored in ((2, False, 1000), (2, True, 3000), (2, True, ROWS)):
        started: Future[BaseProcess] = Future()
        world.server.kill_at(batch, kill_of(started), is_late=is_late)
        started.set_result(process := world.start("r"))
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        state, rows = world.facts("r")
        assert [n for _, n in rows] == list(range(-1, stored))
        assert state == ("finished" if stored == ROWS else "running")
        assert len(rows) > had
        had = len(rows)
    world.finish("r")
    assert world.facts("r") == ("finished", [(n + 1, n) for n in range(-1, ROWS)])


@pytest.mark.slow
def test_thirty_kills_at_any_moment_double_nothing_and_lose_nothing(world: World) -> None:
    world.make("undisturbed")
    requests = world.finish("undisturbed")
    undisturbed = world.facts("undisturbed")
    assert undisturbed[0] == "finished"
    assert [n for _, n in undisturbed[1]] == list(range(-1, ROWS))
    chance, kills, halfway, number = random.Random(12), 0, 0, 0
    while kills < 30:
        number += 1
        world.make(f"r{number}")
        # By requests, as the time that they take is not the same twice; and at any moment of each.
        while world.kill_after(f"r{number}", chance.randint(1, requests), chance.uniform(0, 0.04)):
            kills += 1
            halfway += 1 < len(world.facts(f"r{number}")[1]) <= ROWS
            if kills % 3 == 0:
                break
        world.finish(f"r{number}")
        assert world.facts(f"r{number}") == undisturbed
    assert halfway > 5
