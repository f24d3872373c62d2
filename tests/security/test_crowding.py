"""What one user has very much of slows down or drives out nothing of the others."""

from __future__ import annotations

import gzip
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

from aiowandb_server import Store, bodies, create_app, gate
from aiowandb_server.bodies import Body
from aiowandb_server.pages import sessions
from aiowandb_server.store import database
from aiowandb_server.store.metering import Meter
from tests.security.test_neighbours import Neighbour, users_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def people(store: Store) -> AsyncIterator[dict[str, Neighbour]]:
    async with users_of(store, {"ann": "ann", "eve": "eve"}) as users:
        yield users


async def test_nobody_is_logged_out_by_logins_of_somebody_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_MAX_SESSIONS", 4)
    transport = httpx.ASGITransport(create_app(store, open_access=True))

    async with AsyncExitStack() as stack:

        async def log_in(key: str) -> httpx.AsyncClient:
            http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
            await stack.enter_async_context(http)
            answer = await http.post("/_pages/login", json={"key": key})
            http.headers["X-CSRF-Token"] = answer.json()["csrf"]
            return http

        async def user(http: httpx.AsyncClient) -> str | None:
            name: str | None = (await http.get("/_pages/session")).json()["user"]
            return name

        ann = await log_in("ann")
        eve = [await log_in("eve") for _ in range(6)]
        assert await user(ann) == "ann"
        assert [await user(http) for http in eve] == [None] * 3 + ["eve"] * 3


class _CountingMeter(Meter):
    """Counts how often the database looks at the clock: once in so many steps of its machine."""

    def __init__(self) -> None:
        super().__init__(1 << 30)
        self.looks = 0

    def is_late(self) -> bool:
        self.looks += 1
        return False


def test_thousands_of_keys_of_one_user_do_not_slow_down_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    eve, ann = store.accounts.ensure_user("eve"), store.accounts.ensure_user("ann")
    with store._database.write() as connection:
        connection.executemany(
            "INSERT INTO api_key (user_id, digest, hint, created_at) VALUES (?, ?, '', 0)",
            [(eve.id, number.to_bytes(32)) for number in range(10_000)],
        )
    key = store.accounts.add_key(ann.id)
    meter = _CountingMeter()
    with monkeypatch.context() as patched:
        patched.setattr(database, "meter", lambda: meter)
        assert store.accounts.user_of_key(key) == ann
        assert store.accounts.user_of_key("0" * 40) is None
    assert meter.looks == 0


async def test_no_member_can_make_a_list_of_the_team_unreadable_by_an_odd_time(
    people: dict[str, Neighbour],
) -> None:
    eve = people["eve"]
    change = """mutation($created: DateTime, $beat: DateTime) { upsertBucket(input: {name: "r",
        modelName: "p", createdAt: $created, heartbeatAt: $beat}) { bucket { name } } }"""
    times = ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1969-12-31T23:59:59")
    for name in ("created", "beat"):
        for moment in times:
            (error,) = (await eve.send(change, **{name: moment}))["errors"]
            assert "is not between 1970 and 9999" in error["message"]
    ends = {"created": "1970-01-01T00:00:00", "beat": "9999-12-31T23:59:59"}
    assert "errors" not in await eve.send(change, **ends)
    listing = '{ project(name: "p") { runs { edges { node { createdAt heartbeatAt } } } } }'
    (edge,) = (await eve.send(listing))["data"]["project"]["runs"]["edges"]
    assert list(edge["node"].values()) == list(ends.values())


async def test_packed_bodies_of_one_user_keep_no_thread_from_the_others(
    people: dict[str, Neighbour], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Semaphore(0)
    is_hers, has_ended = threading.Event(), threading.Event()
    at_once: list[int] = [0]

    def unpacked(*given: Any) -> Body:
        at_once.append(at_once[-1] + 1)
        begun.release()
        if not is_hers.is_set():
            has_ended.wait()
        found = bodies.unpacked(*given)
        at_once.append(at_once[-1] - 1)
        return found

    monkeypatch.setattr(gate, "unpacked", unpacked)

    async def send(name: str) -> None:
        body = gzip.compress(b'{"query": "{ viewer { username } }"}')
        packed = {"content-encoding": "gzip"}
        response = await people[name].http.post("/graphql", content=body, headers=packed)
        assert response.json()["data"]["viewer"] == {"username": name}

    async with anyio.create_task_group() as tasks:
        for _ in range(9):
            tasks.start_soon(send, "eve")
        for _ in range(2):
            await anyio.to_thread.run_sync(begun.acquire)
        is_hers.set()
        await send("ann")
        has_ended.set()
    assert max(at_once) == 3
