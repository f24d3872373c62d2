"""`total_timeout` where a server is well at first and then is not: blocks that have begun, lists
without an end, files that stall."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import orjson
import pytest

from aiowandb import AsyncApi, TimeoutError, verify
from aiowandb.api import live
from aiowandb_server import Store, create_app
from tests.support.sample import Sample

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

# Longer than what comes first takes on a busy machine, but for what needs many requests.
TOTAL_S = 2
MORE_S = 30
LONG_S = 10_000
TOO_LATE = f"not done within ({TOTAL_S}|{MORE_S}) s, which is the total_timeout"


class Moody(httpx.AsyncBaseTransport):
    """A W&B that answers until it is told not to answer some requests any more."""

    def __init__(self, app: Any) -> None:
        self._transport = httpx.ASGITransport(app)
        self._numbers = itertools.count()
        self.is_silent: Callable[[httpx.Request], bool] = lambda request: False
        self.is_endless = False
        self.unanswered = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_silent(request):
            self.unanswered += 1
            await anyio.sleep_forever()
        is_endless = self.is_endless and request.url.path == "/graphql"
        if is_endless:
            asked = orjson.loads(await request.aread())
            asked["variables"] |= {"cursor": None}
            request = httpx.Request("POST", request.url, headers=request.headers, json=asked)
        response = await self._transport.handle_async_request(request)
        if is_endless:
            answer = orjson.loads(await response.aread())
            self._continue(answer)
            await anyio.sleep(0.01)
            return httpx.Response(200, content=orjson.dumps(answer))
        return response

    def fall_silent(self) -> None:
        self.is_silent = lambda request: True

    def _continue(self, value: Any) -> None:
        """Each list has a next page, of other items."""
        for part in value.values() if isinstance(value, dict) else value:
            if isinstance(part, dict | list):
                self._continue(part)
        if isinstance(value, dict) and "edges" in value and "pageInfo" in value:
            value["pageInfo"]["hasNextPage"] = True
            for edge in value["edges"]:
                number = next(self._numbers)
                edge["cursor"] = f"cursor{number}"
                edge["node"] |= {"id": f"id{number}", "name": f"name{number}"}


@pytest.fixture
async def moody(sample: Sample) -> AsyncIterator[Moody]:
    with Store.open(sample.folder) as store:
        yield Moody(create_app(store))


@pytest.fixture
async def hasty(moody: Moody, sample: Sample) -> AsyncIterator[AsyncApi]:
    async with AsyncApi(
        sample.key,
        base_url="http://wandb.test",
        entity="local",
        transport=moody,
        timeout=LONG_S,
        total_timeout=TOTAL_S,
    ) as api:
        with anyio.fail_after(300):
            yield api


def limit(api: AsyncApi, seconds: float | None) -> None:
    session = api._session
    session.settings = msgspec.structs.replace(session.settings, total_timeout=seconds)


@contextmanager
def unlimited(api: AsyncApi) -> Iterator[None]:
    """What comes first takes as long as it takes."""
    limit(api, None)
    yield
    limit(api, TOTAL_S)


async def test_the_end_of_an_append_takes_no_longer(hasty: AsyncApi, moody: Moody) -> None:
    with unlimited(hasty):
        run = await hasty.create_run(project="late")
    with pytest.raises(TimeoutError, match=f"The end of Append: {TOO_LATE}"):
        async with run.append() as log:
            await log({"loss": 1})
            moody.fall_silent()


async def test_an_error_in_an_append_comes_out_in_time(hasty: AsyncApi, moody: Moody) -> None:
    with unlimited(hasty):
        run = await hasty.create_run(project="late")
    with pytest.raises(ZeroDivisionError) as caught:
        async with run.append(state="finished") as log:
            await log({"loss": 1})
            moody.fall_silent()
            raise ZeroDivisionError
    assert any(re.search(TOO_LATE, note) for note in caught.value.__notes__)


async def test_rows_that_cannot_be_sent_are_waited_for_no_longer(
    hasty: AsyncApi, moody: Moody
) -> None:
    with unlimited(hasty):
        run = await hasty.create_run(project="late")
    with pytest.raises(TimeoutError, match=r"Append\.flush\(\)"):
        async with run.append() as log:
            await log({"loss": 1})
            moody.fall_silent()
            await log.flush()
    moody.is_silent = lambda request: False
    with unlimited(hasty):
        run = await hasty.create_run(project="late")
    with pytest.raises(TimeoutError, match=f"Append: {TOO_LATE}"):
        async with run.append() as log:
            moody.fall_silent()
            for number in range(100_000):
                await log({"loss": number})


async def test_a_live_run_ends_in_time(hasty: AsyncApi, moody: Moody) -> None:
    with pytest.raises(TimeoutError, match="total_timeout"):
        async with hasty.start_run("local/late") as run:
            await run.log({"loss": 1})
            moody.fall_silent()


async def test_an_error_in_a_live_run_comes_out_in_time(hasty: AsyncApi, moody: Moody) -> None:
    with pytest.raises(ZeroDivisionError):
        async with hasty.start_run("local/late") as run:
            await run.log({"loss": 1})
            moody.fall_silent()
            raise ZeroDivisionError


async def test_logging_faster_than_rows_can_be_sent_ends_in_time(
    hasty: AsyncApi, moody: Moody
) -> None:
    with pytest.raises(TimeoutError, match="total_timeout"):
        async with hasty.start_run("local/late") as run:
            moody.fall_silent()
            for number in range(10 * live._MOST_WAITING):
                await run.log({"loss": number})


LISTS: dict[str, Callable[[AsyncApi, Path], Awaitable[object]]] = {
    "runs": lambda api, _: api.runs("local/sample", per_page=1).to_list(),
    "table": lambda api, _: api.runs("local/sample", per_page=1).to_arrow(),
    "export": lambda api, out: api.runs("local/sample").export(out),
    "estimate": lambda api, out: api.runs("local/sample").plan_export(out),
    "copy": lambda api, out: api.runs("local/sample").copy_to("local/copy"),
    "projects": lambda api, _: api.projects("local").count(),
    "projects that match": lambda api, out: api.export_projects("local/*", out),
}


@pytest.mark.parametrize("call", LISTS)
async def test_a_list_without_an_end_is_left_in_time(
    hasty: AsyncApi, moody: Moody, tmp_path: Path, call: str
) -> None:
    moody.is_endless = True
    with pytest.raises(TimeoutError, match=TOO_LATE):
        await LISTS[call](hasty, tmp_path / "out")


FILES: dict[str, Callable[[AsyncApi, Path], Awaitable[object]]] = {
    "frame": lambda api, _: api.runs("local/sample").to_frame(format="arrow"),
    "export": lambda api, out: api.runs("local/sample").export(out),
    "copy": lambda api, out: api.runs("local/sample").copy_to("local/copy"),
}


@pytest.mark.parametrize("call", FILES)
async def test_files_that_stall_are_left_in_time(
    hasty: AsyncApi, moody: Moody, tmp_path: Path, call: str
) -> None:
    moody.is_silent = lambda request: request.url.path != "/graphql"
    waiting = "it was waiting for (Download of|Upload to) http://"
    with pytest.raises(TimeoutError, match=TOO_LATE) as caught:
        await FILES[call](hasty, tmp_path / "out")
    if not moody.unanswered:  # on a very slow machine, it has not come to the files
        limit(hasty, MORE_S)
        with pytest.raises(TimeoutError, match=TOO_LATE) as caught:
            await FILES[call](hasty, tmp_path / "again")
    assert re.search(waiting, str(caught.value))


async def test_verifying_ends_in_time(hasty: AsyncApi, moody: Moody, tmp_path: Path) -> None:
    with unlimited(hasty):
        await hasty.runs("local/sample").export(tmp_path, what=["runs"])
    moody.fall_silent()
    with pytest.raises(TimeoutError, match=rf"verify\(\): {TOO_LATE}.*waiting for Runs from"):
        await verify(tmp_path, api=hasty)
