"""A server whose answers have the wrong form anywhere: each call ends in an error of the library.

Each case comes from its seed alone, which is in its name.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import anyio
import httpx
import pytest

from aiowandb import AiowandbError, AsyncApi
from aiowandb_server import Store, create_app
from tests.support.in_process import client_of

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::aiowandb.AiowandbWarning")]
PROJECT = "local/p"
RUN = f"{PROJECT}/r0"
WRONG: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**30, float("nan")),
    *("", "x", "9" * 30, "\ud800", "2020-01-01", "{}", "[1]"),
    *([], [1], [None], [[]], {}, {"a": 1}),
]


class Lying(httpx.AsyncBaseTransport):
    """Removes or replaces one value of each answer, anywhere in it."""

    def __init__(self, app: Any, seed: int) -> None:
        self._transport = httpx.ASGITransport(app)
        self._chance = Random(seed)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        content = await response.aread()
        if request.url.path == "/graphql":
            answer = json.loads(content)
            self._spoil(answer)
            content = json.dumps(answer).encode()
        return httpx.Response(response.status_code, content=content)

    def _spoil(self, answer: dict[str, Any]) -> None:
        holder, key = self._chance.choice(list(places(answer)))
        if self._chance.random() < 0.2:
            del holder[key]
        else:
            holder[key] = self._chance.choice(WRONG)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield value, key
        yield from places(value[key])


async def all_of(items: Any) -> None:
    async for _ in items:
        pass


async def change(api: AsyncApi) -> None:
    run = await api.run(RUN)
    run.config["lr"] = 0.1
    run.tags.append("new")
    await run.update()


async def append(api: AsyncApi) -> None:
    async with (await api.run(RUN)).append() as log:
        await log({"x": 1})


async def rows(api: AsyncApi) -> None:
    await all_of((await api.run(RUN)).scan_history())


async def samples(api: AsyncApi) -> None:
    run = await api.run(RUN)
    await run.history(keys=["x"], pandas=False)
    await run.history(stream="system", pandas=False)


async def attached(api: AsyncApi) -> None:
    run = await api.run(RUN)
    await all_of(run.files())
    await all_of(run.logged_artifacts())
    await all_of(run.console_logs())


async def lists(api: AsyncApi) -> None:
    await api.runs(PROJECT).count()
    await api.runs(PROJECT).to_arrow()
    await all_of(api.projects("local"))
    await api.viewer()


CALLS: dict[str, Callable[[AsyncApi, Path], Awaitable[Any]]] = {
    "lists": lambda api, _: lists(api),
    "rows": lambda api, _: rows(api),
    "samples": lambda api, _: samples(api),
    "attached": lambda api, _: attached(api),
    "change": lambda api, _: change(api),
    "append": lambda api, _: append(api),
    "create": lambda api, _: api.create_run(entity="local", project="p"),
    "plan": lambda api, _: api.runs(PROJECT).plan(),
    "estimate": lambda api, out: api.runs(PROJECT).plan_export(out),
    "export": lambda api, out: api.runs(PROJECT).export(out, what="all"),
    "copy": lambda api, _: api.runs(PROJECT).copy_to("local/q", api=api),
}


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    async with AsyncApi.local(tmp_path / "wandb") as api:
        for number in range(2):
            run = await api.create_run(f"r{number}", entity="local", project="p")
            async with run.append() as log:
                await log({"x": number, "nested": {"y": 1}})
            (tmp_path / "notes.txt").write_text("notes")
            await run.upload_file(tmp_path / "notes.txt", root=tmp_path)
    with Store.open(tmp_path / "wandb") as store:
        yield store


async def lie(store: Store, folder: Path, seed: int, call: str) -> None:
    lying = Lying(create_app(store), seed)
    with anyio.fail_after(60):
        async with client_of(store, lying, max_same_failures=2) as api:
            with suppress(AiowandbError):
                await CALLS[call](api, folder / f"{seed}")


@pytest.mark.parametrize("call", CALLS)
async def test_a_wrong_answer_is_an_error_of_the_library(
    store: Store, tmp_path: Path, call: str
) -> None:
    for seed in range(3):
        await lie(store, tmp_path, seed, call)


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("seeds", [range(3, 30)], ids=str)
async def test_any_wrong_answer_is(store: Store, tmp_path: Path, call: str, seeds: range) -> None:
    for seed in seeds:
        await lie(store, tmp_path, seed, call)
