"""All requests of the embedded W&B together take no more than one budget of memory."""

from __future__ import annotations

import gc
import gzip
import json
import os
import resource
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.responses import Response

from aiowandb_server import RunChanges, Store, bodies, budget, create_app
from aiowandb_server.bodies import Body, Room
from aiowandb_server.budget import Budget, BusyError, Lane
from aiowandb_server.errors import MoreMemoryError, RequestError
from aiowandb_server.store.disk import BlobWriter
from aiowandb_server.store.metering import charge, held, measured, meter, weight_of

pytestmark = pytest.mark.anyio


async def test_no_more_is_given_than_there_is_and_everybody_gets_something() -> None:
    lane = Lane(10, per_user=6)
    taken = {0: 0, 1: 0, 2: 0}
    peaks = dict.fromkeys(taken, 0)
    served = 0

    async def take(user: int, units: int) -> None:
        nonlocal served
        async with lane.taken(user, units):
            taken[user] += units
            peaks[user] = max(peaks[user], taken[user])
            assert sum(taken.values()) <= 10
            await anyio.lowlevel.checkpoint()
            taken[user] -= units
            served += 1

    async with anyio.create_task_group() as tasks:
        for number in range(300):
            tasks.start_soon(take, number % 3, 1 + number % 6)
    assert served == 300
    assert max(peaks.values()) <= 6


async def test_who_has_least_is_next() -> None:
    lane = Lane(2, per_user=2)
    order: list[str] = []

    async def wait(user: int, name: str) -> None:
        async with lane.taken(user, 1):
            order.append(name)

    async with anyio.create_task_group() as tasks, lane.taken(1, 1):
        async with lane.taken(1, 1):
            for number in range(50):
                tasks.start_soon(wait, 1, f"eve {number}")
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(wait, 2, "ann")
            await anyio.wait_all_tasks_blocked()
        await anyio.wait_all_tasks_blocked()
    assert order[0] == "ann"
    assert len(order) == 51


async def test_who_waits_often_leaves_places_to_wait_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budget, "_MAX_WAITING", 8)
    lane = Lane(1, per_user=1)
    served: list[str] = []
    refused: list[str] = []

    async def wait(user: int, name: str) -> None:
        try:
            async with lane.taken(user, 1):
                served.append(name)
        except BusyError:
            refused.append(name)

    async with anyio.create_task_group() as tasks:
        async with lane.taken(3, 1):
            for user, name in ((1, "eve"), (2, "ann")):
                for _ in range(8):
                    tasks.start_soon(wait, user, name)
                await anyio.wait_all_tasks_blocked()
        assert refused == ["eve"] * 4 + ["ann"] * 6
    assert sorted(served) == ["ann"] * 2 + ["eve"] * 4


async def test_a_cancelled_request_gives_back_what_it_has() -> None:
    lane = Lane(1, per_user=1)
    async with anyio.create_task_group() as tasks, lane.taken(1, 1):
        tasks.start_soon(lane.taken(1, 1).__aenter__)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(5):
        async with lane.taken(2, 1):
            pass


async def test_a_request_that_finds_no_room_is_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budget, "_WAIT_S", 0.01)
    monkeypatch.setattr(budget, "_WORKERS", 1)
    monkeypatch.setattr(budget, "_WORKERS_A_USER", 1)
    limited = Budget()
    finish = anyio.Event()
    started = anyio.Event()

    def work() -> Response:
        anyio.from_thread.run_sync(started.set)
        anyio.from_thread.run(finish.wait)
        return Response()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limited.run, 1, 0, work)
        await started.wait()
        refused = await limited.run(2, 0, Response)
        finish.set()
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    monkeypatch.setattr(budget, "_MAX_WAITING", 0)
    with pytest.raises(BusyError):
        await Lane(1, 1).taken(1, 1).__aenter__()


async def test_work_that_needs_more_starts_over_unless_it_has_changed_something(
    tmp_path: Path,
) -> None:
    limited = Budget(64 << 20)
    attempts = 0

    def large() -> Response:
        nonlocal attempts
        attempts += 1
        charge(20 << 20)
        return Response("done")

    assert (await limited.run(1, 0, large)).status_code == 200
    assert attempts == 2, "with the small share, and with one that is large enough"

    written = 0
    with Store.open(tmp_path / "data") as store:
        project, _ = store.projects.ensure("local", "p")

        def writing() -> Response:
            nonlocal written
            store.runs.upsert(project, "r")
            written += 1
            return large()

        refused = await limited.run(1, 0, writing)
        assert refused.status_code == 413
        assert b"Ask for less" in refused.body
        assert written == 1


async def test_what_a_request_brings_is_counted_from_its_start() -> None:
    limited = Budget(64 << 20)
    shares: list[int] = []

    def work() -> Response:
        known = meter()
        assert known is not None
        shares.append(known.limit)
        charge(known.limit * 2 // 3)
        return Response()

    assert (await limited.run(1, limited.share // 4, work)).status_code == 200
    del shares[:]
    assert (await limited.run(1, limited.share // 2, work)).status_code == 200
    assert shares == [*limited._levels[:2]]


async def test_a_refusal_keeps_nothing_of_what_was_read() -> None:
    class Large:
        pass

    known: list[weakref.ref[Large]] = []

    def work() -> Response:
        large = Large()
        known.append(weakref.ref(large))
        raise RequestError("it is not valid")

    gc.disable()
    try:
        refused = await Budget().run(1, 0, work)
        assert refused.status_code == 400
        assert known[0]() is None
    finally:
        gc.enable()


def test_what_is_used_for_a_while_counts_for_a_while() -> None:
    with measured(100) as meter:
        for _ in range(3):
            with held(90):
                assert meter.used == 90
        charge(100)
        with pytest.raises(MoreMemoryError):
            charge(1)
    charge(10**12)  # nobody counts here


@pytest.mark.parametrize("room", [0, 64 << 20])
def test_a_body_is_the_same_in_memory_and_in_a_file(room: int, tmp_path: Path) -> None:
    place = Room(room, tmp_path)
    data = os.urandom(100_000)
    for size in (7, 1_000, 65_536, 300_000):
        body = Body(place)
        for start in range(0, len(data), size):
            body.add(data[start : start + size])
        assert body.is_in_memory == bool(room)
        assert body.load() == b"".join(body.pieces()) == data
        packed = Body(place)
        packed.add(gzip.compress(data))
        plain = bodies.unpacked(packed, place, len(data))
        assert plain.load() == data
        for one in (body, packed, plain):
            one.close()
    assert place.take(room), "everything was given back"


def test_json_takes_no_more_memory_than_is_said() -> None:
    for text in ("[" + "[]," * 1000 + "1]", json.dumps([{"a": 1}] * 1000), '"' + "\U0001f600" * 99):
        assert weight_of(text) > sys.getsizeof(text)
    assert weight_of(b"[" + b"[]," * 1000 + b"1]") > 1000 * 72


LARGE = '{project(name:"p",entityName:"local"){run(name:"r"){history(samples:1000)}}}'


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "data") as store:
        project, _ = store.projects.ensure("local", "p")
        run, _ = store.runs.upsert(project, "r", RunChanges(config='{"a":{"value":1}}'))
        store.history.append(run, [json.dumps({"x": "a" * 10_000})] * 400)
        yield store


async def test_large_answers_wait_for_each_other_and_small_ones_do_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(store, max_memory=32 << 20)
    active = peak = 0
    window = store.history.window

    def counted(*given: Any) -> list[str]:
        nonlocal active, peak
        found = window(*given)
        active += 1
        peak = max(peak, active)
        answered = [*found]
        active -= 1
        return answered

    monkeypatch.setattr(store.history, "window", counted)
    transport = httpx.ASGITransport(app)
    auth = ("api", store.local_key)
    statuses: list[int] = []

    async def ask(http: httpx.AsyncClient, query: str) -> None:
        answer = await http.post("/graphql", json={"query": query})
        statuses.append(answer.status_code)
        if query == LARGE and answer.status_code == 200:
            assert len(answer.json()["data"]["project"]["run"]["history"]) == 400

    async with (
        httpx.AsyncClient(transport=transport, base_url="http://x", auth=auth) as http,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(4):
            tasks.start_soon(ask, http, LARGE)
            tasks.start_soon(ask, http, "{viewer{id}}")
    assert statuses == [200] * 8
    assert peak == 1


@pytest.mark.parametrize(("memory", "most"), [(1 << 20, 80_000), (64 << 20, 400_000)])
async def test_slow_uploads_wait_in_small_pieces_if_there_is_no_room(
    store: Store, monkeypatch: pytest.MonkeyPatch, memory: int, most: int
) -> None:
    sizes: list[int] = []
    write = BlobWriter.write

    def counted(writer: BlobWriter, data: bytes) -> None:
        sizes.append(len(data))
        write(writer, data)

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 10_000

    monkeypatch.setattr(BlobWriter, "write", counted)
    transport = httpx.ASGITransport(create_app(store, max_memory=memory))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://x", auth=("api", store.local_key)
    ) as http:
        for _ in range(5):
            answer = await http.put("/files/local/p/r/a.txt", content=slowly())
            assert answer.status_code == 200
    assert sum(sizes) == 5 * 400_000
    assert most - 20_000 < max(sizes) <= most


async def test_an_answer_beyond_the_budget_is_refused(store: Store) -> None:
    transport = httpx.ASGITransport(create_app(store, max_memory=16 << 20))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://x", auth=("api", store.local_key)
    ) as http:
        answer = await http.post("/graphql", json={"query": LARGE})
        assert answer.status_code == 413
        assert "Ask for less at once" in answer.text
        less = LARGE.replace("1000", "10")
        assert (await http.post("/graphql", json={"query": less})).status_code == 200


UPSERT = "upsertBucket(input: $input) { inserted }"
CREATE = "createArtifact(input: $input) { artifact { id } }"


async def test_a_change_that_needs_more_starts_over_also_if_its_place_was_to_be_made(
    store: Store,
) -> None:
    """A project, a collection or an entity that is there already is not a change."""
    text = json.dumps({"a": {"value": "x" * 300_000}})
    run = {"modelName": "new", "name": "r"}
    place = {"entityName": "local", "projectName": "p", "artifactCollectionName": "new"}
    changes: list[tuple[str, dict[str, str]]] = [
        (UPSERT, {**run, "config": text}),
        (UPSERT, {**run, "summaryMetrics": text}),
        (UPSERT, {**run, "displayName": "resumed"}),
        (CREATE, {**place, "artifactTypeName": "data", "digest": "x", "metadata": text}),
    ]
    transport = httpx.ASGITransport(create_app(store, max_memory=16 << 20))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://x", auth=("api", store.local_key)
    ) as http:
        for change, given in changes:
            kind = "UpsertBucketInput!" if change == UPSERT else "CreateArtifactInput!"
            query = f"mutation($input: {kind}) {{ {change} }}"
            body = {"query": query, "variables": {"input": given}}
            answer = await http.post("/graphql", json=body)
            assert answer.status_code == 200, (change, answer.text)


SERVER = """
import json, sys
from aiowandb_server import RunChanges, Store, create_app, serve
with Store.open(sys.argv[1]) as store:
    store.accounts.ensure_user("eve")
    project, _ = store.projects.ensure("eve", "p")
    run, _ = store.runs.upsert(project, "r", RunChanges(config=json.dumps({"a": "b" * 5_000_000})))
    store.history.append(run, [json.dumps({"x": "a" * 40_000})] * 600)
    for number in range(6):
        store.runs.upsert(project, f"log{number}")
    for number in range(4):
        done, _ = store.runs.upsert(project, f"done{number}")
        row = {"t": "c" * 5_000, "l": [[]] * 100, **{f"k{n}": n for n in range(40)}}
        store.history.append(done, [json.dumps(row)] * 300)
        store.stream.finish(done)
    serve(create_app(store, open_access=True, max_memory=int(sys.argv[2])), port=0)
"""
IN_P = '{project(name:"p",entityName:"eve"){%s}}'
HOSTILE: dict[str, Callable[[int], tuple[str, str, bytes, dict[str, str]]]] = {}


@cache
def bomb() -> bytes:
    return gzip.compress(b'{"files":{"x":{"content":["' + b"a" * 60_000_000 + b'"]}}}')


def graphql(name: str, query: Callable[[int], str]) -> None:
    HOSTILE[name] = lambda number: (
        "POST",
        "/graphql",
        json.dumps({"query": query(number)}).encode(),
        {},
    )


graphql("history pages", lambda _: IN_P % 'run(name:"r"){history(samples:1000)}')
graphql("aliases", lambda _: IN_P % "".join(f'a{n}:run(name:"r"){{config}}' for n in range(40)))
graphql(
    "Parquet",
    lambda n: IN_P % f'run(name:"done{n % 4}"){{historyKeys parquetHistory{{parquetUrls}}}}',
)
graphql("many documents", lambda n: "{viewer{" + f"a{n}: id " + "id " * 5_200 + "}}")
graphql("documents", lambda _: "{viewer{" + "id " * 9_000 + "}} #" + "x" * 300_000)
HOSTILE["brackets"] = lambda _: (
    "POST",
    "/graphql",
    b'{"query":"{viewer{id}}","variables":{"a":[' + b"[]," * 2_000_000 + b"1]}}",
    {},
)
HOSTILE["gzip"] = lambda _: (
    "POST",
    "/files/eve/p/r/file_stream",
    bomb(),
    {"Content-Encoding": "gzip"},
)


def protobuf(field: int, data: bytes) -> bytes:
    size = len(data)
    # Four bytes, of seven bits each.
    length = [size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21]
    return bytes([field << 3 | 2, *length]) + data


HOSTILE["columns that are not UTF-8"] = lambda number: (
    "POST",
    f"/files/eve/p/log{number}/file_stream",
    protobuf(1, protobuf(3, b"\xff" * 40_000_000)),
    {"Content-Type": "application/vnd.wandb.filestream.v1+protobuf"},
)


def console(name: str, length: int, lines: int) -> None:
    @cache
    def body() -> bytes:
        content = ["x" * length] * lines
        return json.dumps({"files": {"output.log": {"offset": 0, "content": content}}}).encode()

    HOSTILE[name] = lambda number: ("POST", f"/files/eve/p/log{number}/file_stream", body(), {})


console("long console lines", 6_000_000, 6)
console("many console lines beside them", 1, 100_000)
HOSTILE["uploads"] = lambda n: ("PUT", f"/files/eve/p/r/f{n}", b"x" * 20_000_000, {})


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_server_stays_within_its_budget_and_answers_its_other_users(tmp_path: Path) -> None:
    limit = 256 << 20
    command = [sys.executable, "-c", SERVER, str(tmp_path / "data"), str(limit)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        try:
            before = resident(server.pid, "VmRSS")
            addresses = resident(server.pid, "VmSize") + 4 * limit
            resource.prlimit(server.pid, resource.RLIMIT_AS, (addresses, addresses))
            for name, make in HOSTILE.items():
                statuses = attacked(url, make)
                peak = resident(server.pid, "VmHWM") - before
                # SQLite has caches, and not all that was freed goes back to the system.
                assert peak < 1.5 * limit, f"{name}: {peak >> 20} MB"
                assert set(statuses) <= {200, 413, 503}, (name, statuses)
        finally:
            server.terminate()


def attacked(url: str, make: Callable[[int], Any]) -> list[int]:
    """The statuses of six requests at once, while a neighbour is answered."""

    def attack(number: int) -> int:
        method, path, content, headers = make(number)
        return httpx.request(
            method,
            f"{url}{path}",
            content=content,
            headers=headers,
            auth=("api", "eve"),
            timeout=120,
        ).status_code

    with ThreadPoolExecutor(6) as pool, httpx.Client(base_url=url, auth=("api", "ann")) as ann:
        attacks = [pool.submit(attack, number) for number in range(6)]
        while not all(attack.done() for attack in attacks):
            answer = ann.post("/graphql", json={"query": "{viewer{username}}"}, timeout=60)
            assert answer.json()["data"]["viewer"] == {"username": "ann"}
        return [attack.result() for attack in attacks]


def resident(process: int, what: str) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(what)
