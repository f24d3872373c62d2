"""What happens to requests before they are answered: limits, counts, latency."""

from __future__ import annotations

import gzip
import json
import socket
from typing import Any

import anyio
import httpx
import pytest
from starlette.types import Message

from aiowandb_server import Store, create_app, serve_in_thread
from aiowandb_server.store.records import RunRow
from tests.server.conftest import Client, Clock

pytestmark = pytest.mark.anyio


QUERY = {"query": "{viewer{username}}"}


def client_of(store: Store, **settings: Any) -> httpx.AsyncClient:
    app = create_app(store, **settings)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://x", auth=("api", store.local_key)
    )


def scope_of(store: Store, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    key = (b"authorization", f"Bearer {store.local_key}".encode())
    return {"type": "http", "method": "POST", "path": "/graphql", "headers": headers or [key]}


async def test_too_many_requests_get_the_time_to_retry(store: Store) -> None:
    async with client_of(store, rate_limit=1) as http:
        first = await http.post("/graphql", json=QUERY)
        second = await http.post("/graphql", json=QUERY)
    assert first.status_code == 200
    assert first.headers["ratelimit-remaining"] == "0"
    assert second.status_code == 429
    assert 0 < float(second.headers["retry-after"]) <= 1
    assert 0 < float(second.headers["ratelimit-reset"]) <= 1
    assert second.json()["errors"][0]["message"] == "rate limit exceeded"


async def test_a_body_over_the_limit_is_refused(store: Store) -> None:
    async with client_of(store, max_body=1000) as http:
        response = await http.post("/graphql", json={"query": "x" * 1000})
        assert response.status_code == 413

        bomb = gzip.compress(b" " * 100_000)
        packed = await http.post("/graphql", content=bomb, headers={"content-encoding": "gzip"})
        assert packed.status_code == 413


async def test_a_body_without_end_is_cut_off(store: Store) -> None:
    answers: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 500, "more_body": True}

    async def send(message: Message) -> None:
        answers.append(message)

    await create_app(store, max_body=1000)(scope_of(store), receive, send)
    assert answers[0]["status"] == 413


async def test_a_body_that_ends_early_is_refused(store: Store) -> None:
    answers: list[Message] = []
    messages: list[Message] = [
        {"type": "http.request", "body": b'{"query": ', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        answers.append(message)

    await create_app(store)(scope_of(store), receive, send)
    assert answers[0]["status"] == 400
    async with client_of(store) as http:
        cut = gzip.compress(json.dumps(QUERY).encode())[:-9]
        answer = await http.post("/graphql", content=cut, headers={"content-encoding": "gzip"})
        assert (answer.status_code, "cut off" in answer.text) == (400, True)


async def test_a_packed_body_is_unpacked(store: Store) -> None:
    async with client_of(store) as http:
        body = gzip.compress(json.dumps(QUERY).encode())
        headers = {"content-encoding": "gzip"}
        good = await http.post("/graphql", content=body, headers=headers)
        bad = await http.post("/graphql", content=b"not packed", headers=headers)
    assert good.status_code == 200
    assert bad.status_code == 400


async def test_requests_are_counted_by_kind(store: Store) -> None:
    app = create_app(store)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://x", auth=("api", store.local_key)
    ) as http:
        await http.post("/graphql", json=QUERY)
        await http.post("/files/a/b/c/file_stream", json={})
        await http.get("/files/a/b/c/x.txt")
        await http.put("/files/a/b/c/x.txt", content=b"")
    assert app.requests == {"graphql": 1, "file_stream": 1, "download": 1, "upload": 1}


async def test_files_and_projects_may_be_called_like_the_path_of_the_api(store: Store) -> None:
    project, _ = store.projects.ensure("local", "graphql")
    run, _ = store.runs.upsert(project, "r")
    store.files.add(run, "a/graphql", b"first")
    query = """{ project(name: "graphql") { run(name: "r") { files { edges { node {
        url uploadUrl } } } } } }"""
    async with client_of(store) as http:
        found = (await http.post("/graphql", json={"query": query})).json()["data"]
        ((file,),) = (edge.values() for edge in found["project"]["run"]["files"]["edges"])
        http.auth = None  # type: ignore[assignment]
        assert (await http.get(file["url"])).content == b"first"
        assert (await http.put(file["uploadUrl"], content=b"second")).status_code == 200
        assert (await http.get(file["url"])).content == b"second"
        page = await http.get("/local/graphql")
        assert page.status_code == 200
        assert "/_pages/app.js" in page.text


async def test_latency_is_added_to_each_request(store: Store, clock: Clock) -> None:
    async with client_of(store, latency=0.05) as http:
        started = anyio.current_time()
        await http.post("/graphql", json=QUERY)
        assert anyio.current_time() - started >= 0.05


async def test_without_a_valid_key_no_byte_of_a_body_is_read(store: Store) -> None:
    answers: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was asked for")

    async def send(message: Message) -> None:
        answers.append(message)

    wrong = (b"authorization", b"Bearer wrong")
    await create_app(store)(scope_of(store, wrong), receive, send)
    assert answers[0]["status"] == 401


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST.",
        "127.0.0.1:1",
        "127.9.9.9",
        "[::1]:80",
        "a.localhost",
        "wandb.lan",
        "WANDB.lan:443",
    ],
)
async def test_a_server_answers_to_names_of_its_machine(store: Store, name: str) -> None:
    async with client_of(store, allowed_hosts=["wandb.lan"]) as http:
        answer = await http.post("/graphql", json=QUERY, headers={"host": name})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "name", ["evil.test", "evil.test:8080", "127.0.0.1.evil.test", "", "10.0.0.1"]
)
@pytest.mark.parametrize("path", ["/graphql", "/healthz", "/files/local/p/r/x.txt"])
async def test_a_name_that_means_this_machine_by_rebinding_is_refused(
    store: Store, name: str, path: str
) -> None:
    async with client_of(store, allowed_hosts=["wandb.lan"], open_access=True) as http:
        method = "POST" if path == "/graphql" else "GET"
        answer = await http.request(method, path, json=QUERY, headers={"host": name})
    assert answer.status_code == 403
    assert "does not answer to the name" in answer.json()["error"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_a_server_on_all_addresses_answers_to_them_and_to_the_name_of_its_machine(
    store: Store, host: str
) -> None:
    ours = ["10.0.0.1", "10.0.0.1:80", "[fe80::1]:80", "localhost", socket.gethostname()]
    async with client_of(store, allowed_hosts=[host, "wandb.lan"]) as http:
        for name in (*ours, "wandb.lan"):
            answer = await http.post("/graphql", json=QUERY, headers={"host": name})
            assert answer.status_code == 200, name
        for name in ("evil.test", "10.0.0.1.evil.test", "1e1.evil", "0x7f.1.evil", ""):
            answer = await http.post("/graphql", json=QUERY, headers={"host": name})
            assert answer.status_code == 403, name


def test_a_server_on_an_address_answers_to_no_other_name(store: Store) -> None:
    with serve_in_thread(create_app(store)) as url:
        assert httpx.get(f"{url}/healthz").status_code == 200
        evil = httpx.get(f"{url}/healthz", headers={"host": "evil.test"})
    assert evil.status_code == 403
    with serve_in_thread(create_app(store, allowed_hosts=["wandb.lan"])) as url:
        lan = httpx.get(f"{url}/healthz", headers={"host": "wandb.lan"})
    assert lan.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.test"},
        {"origin": "null"},
        {"origin": "http://x:8080"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "http://x", "sec-fetch-site": "same-site"},
    ],
    ids=str,
)
async def test_a_page_of_another_origin_writes_nothing(
    store: Store, headers: dict[str, str]
) -> None:
    async with client_of(store) as http:
        for method, path in (("POST", "/graphql"), ("PUT", "/files/local/p/r/x.txt")):
            answer = await http.request(method, path, json=QUERY, headers=headers)
            assert answer.status_code == 403
            assert "may not write to this server" in answer.json()["error"]


async def test_a_page_of_its_own_may_write(store: Store) -> None:
    headers = {"origin": "http://x", "sec-fetch-site": "same-origin"}
    async with client_of(store) as http:
        assert (await http.post("/graphql", json=QUERY, headers=headers)).status_code == 200


async def test_no_answer_is_taken_for_another_type(
    client: Client, store: Store, run: RunRow
) -> None:
    store.files.add(run, "page.html", b"<script>alert(1)</script>")
    for method, path in (
        ("GET", "/files/local/demo/r1/page.html"),
        ("GET", "/files/local/demo/r1/none"),
        ("GET", "/healthz"),
        ("GET", "/local/demo"),
        ("POST", "/graphql"),
    ):
        for http in (client.http, client.keyless):
            response = await http.request(method, path)
            assert response.headers.get_list("x-content-type-options") == ["nosniff"], path
