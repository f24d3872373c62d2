"""Malicious clients of the embedded W&B: their paths, filters, guesses and slow requests."""

from __future__ import annotations

import hmac
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import orjson
import pytest

from aiowandb import Api, ConnectError
from aiowandb_server import RunChanges, Store, connections, create_app, serve_in_thread
from aiowandb_server.access import Access

pytestmark = pytest.mark.anyio


SECRET = b"nobody may read this"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "secret.parquet").write_bytes(SECRET)
    (tmp_path / "secret.txt").write_bytes(SECRET)
    with Store.open(tmp_path / "data") as store:
        project, _ = store.projects.ensure("local", "p")
        run, _ = store.runs.upsert(project, "r", RunChanges(config='{"lr": {"value": 0.1}}'))
        store.files.add(run, "mine.txt", b"mine")
        store.files.add(run, "other.txt", SECRET)
        yield store


@pytest.fixture
async def http(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(store))
    auth = ("api", store.local_key)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://wandb.test", auth=auth
    ) as http:
        yield http


CLIMBS = (
    "../secret",
    "../../secret",
    "../../../secret",
    "..\\..\\secret",
    "/secret",
    "a/../../secret",
)


@pytest.mark.parametrize("climb", CLIMBS)
@pytest.mark.parametrize("coded", [quote, lambda path: quote(path, safe=""), lambda path: path])
@pytest.mark.parametrize(
    "place",
    ["/files/local/p/r/{}.txt", "/exports/{}.parquet", "/artifacts/local/{}", "/manifests/{}"],
)
async def test_no_path_leads_out_of_the_data_folder(
    http: httpx.AsyncClient, tmp_path: Path, climb: str, coded: object, place: str
) -> None:
    assert callable(coded)
    path = place.format(coded(climb))
    before = _tree(tmp_path)
    for method in ("GET", "PUT"):
        response = await http.request(method, path, content=b"theirs")
        assert SECRET not in response.content
    assert {name: before[name] for name in before if "data" not in name} == {
        name: found for name, found in _tree(tmp_path).items() if "data" not in name
    }


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


LISTING = """
query Runs($filters: JSONString, $order: String) {
  project(name: "p", entityName: "local") {
    runs(filters: $filters, order: $order, first: 10) { edges { node { name } } }
  }
}"""
INJECTIONS = (
    "'; DROP TABLE run; --",
    "name' OR '1'='1",
    "config.lr') OR 1=1 --",
    'x"; DELETE FROM run; --',
    "(SELECT digest FROM api_key)",
    "name UNION SELECT digest FROM api_key",
    "config.$.lr') --",
    "\0",
)


@pytest.mark.parametrize("text", INJECTIONS)
async def test_sql_in_a_filter_or_an_order_is_text(
    http: httpx.AsyncClient, store: Store, tmp_path: Path, text: str
) -> None:
    for variables in (
        {"filters": {"display_name": text}},
        {"filters": {text: 1}},
        {"filters": {f"config.{text}": {"$gt": text}}},
        {"filters": {"display_name": {"$regex": text}}},
        {"filters": {"tags": {"$in": [text]}}},
        {"order": text},
        {"order": f"-config.{text}"},
        {"order": f"+{text}"},
    ):
        coded = {
            key: orjson.dumps(v).decode() if key == "filters" else v for key, v in variables.items()
        }
        answer = await http.post("/graphql", json={"query": LISTING, "variables": coded})
        assert answer.status_code in (200, 400)
        if answer.status_code == 200 and "filters" in variables:
            assert answer.json()["data"]["project"]["runs"]["edges"] == []
        assert "sqlite" not in answer.text.lower()
    with closing(sqlite3.connect(tmp_path / "data" / "store.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM run").fetchone() == (1,)


async def test_a_link_to_one_file_opens_no_other(http: httpx.AsyncClient, store: Store) -> None:
    query = """query {
      project(name: "p", entityName: "local") {
        run(name: "r") { files(names: ["mine.txt"]) { edges { node { directUrl } } } }
      }
    }"""
    answer = (await http.post("/graphql", json={"query": query})).json()
    link = answer["data"]["project"]["run"]["files"]["edges"][0]["node"]["directUrl"]
    signature = urlsplit(link).query
    http.auth = None  # type: ignore[assignment]
    assert (await http.get(link)).content == b"mine"
    for path in ("/files/local/p/r/other.txt", "/files/local/p/r", "/manifests/1", "/graphql"):
        answer = await http.get(f"{path}?{signature}")
        # Other paths are web pages: the same HTML without data for all users.
        assert answer.status_code != 200 or b"/_pages/app.js" in answer.content
        assert SECRET not in answer.content
    assert (await http.put(link, content=b"theirs")).status_code >= 400


def test_a_wrong_key_takes_the_steps_of_a_right_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = Access(store, keys=[f"{number}" * 40 for number in range(3)])
    compared = 0

    def counting(one: bytes, other: bytes) -> bool:
        nonlocal compared
        compared += 1
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", counting)
    counts = set()
    for key in ("0" * 40, "2" * 40, "0" * 39 + "1", "x"):
        compared = 0
        access.user(f"Bearer {key}")
        counts.add(compared)
    assert counts == {3}  # each given key, whatever was guessed; others are looked up by their hash


def test_slow_clients_do_not_delay_others(store: Store) -> None:
    with serve_in_thread(create_app(store)) as url, ExitStack() as stack:
        for number in range(200):
            slow = stack.enter_context(connection(url))
            slow.sendall(
                b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"[: 20 + number]
            )
        for _ in range(5):
            assert httpx.get(f"{url}/healthz", timeout=60).text == "ok"


@pytest.fixture(params=["httptools", "h11"])
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the parsers that the server can have."""
    if request.param == "httptools":
        pytest.importorskip("httptools")
    else:
        monkeypatch.setattr(connections, "_httptools_connection", lambda: None)
    return str(request.param)


START = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
REFUSED = b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\nabc"


@pytest.mark.parametrize(
    ("beginning", "more"),
    [
        (b"GET /", b"a" * 1000),
        (START, b"X: " + b"a" * 1000 + b"\r\n"),
        (START + b"X: ", b"a" * 1000),
        (CHUNKED + b"1;", b"a" * 1000),
        (REFUSED + START + b"X: ", b"a" * 1000),
    ],
    ids=["address", "headers", "header", "chunk", "after another request"],
)
@pytest.mark.usefixtures("protocol")
def test_a_head_that_never_ends_ends_the_connection(
    store: Store, beginning: bytes, more: bytes
) -> None:
    with serve_in_thread(create_app(store)) as url, connection(url) as slow:
        sent = 0
        with suppress(ConnectionError):
            slow.sendall(beginning)
            # What fits into the buffers of the two ends has been sent before it is refused.
            while sent < 50_000_000:
                slow.sendall(1000 * more)
                sent += 1000 * len(more)
        assert sent < 50_000_000
        assert httpx.get(f"{url}/healthz", timeout=60).text == "ok"


def test_requests_sent_before_the_answers_to_others_do_not_pile_up(
    store: Store, protocol: str
) -> None:
    with serve_in_thread(create_app(store)) as url:
        with connection(url) as hasty, suppress(ConnectionError):
            hasty.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 3_000)
            hasty.shutdown(socket.SHUT_WR)
            received = b""
            while data := hasty.recv(100_000):
                received += data
            # h11 reads one after the other.
            assert received.count(b" 200 OK") < 200 or protocol == "h11"
        with connection(url) as patient:
            patient.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50)
            received = b""
            while received.count(b" 200 OK") < 50:
                received += patient.recv(100_000)


@pytest.mark.usefixtures("protocol")
def test_tls_on_the_plain_port_is_refused_and_the_client_says_what_is_wrong(store: Store) -> None:
    with serve_in_thread(create_app(store)) as url:
        encrypted = url.replace("http://", "https://")
        with (
            Api(store.local_key, base_url=encrypted) as api,
            pytest.raises(ConnectError, match="does not speak TLS .* may begin with http://"),
        ):
            api.run("local/p/r")
        assert httpx.get(f"{url}/healthz", timeout=60).text == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("beginning", [b"", START, CHUNKED + b"1\r\nx\r\n", REFUSED + START])
@pytest.mark.usefixtures("protocol")
def test_a_connection_without_a_complete_head_is_closed_in_time(
    store: Store, beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections._IdleTimer, "head_timeout", 0.2)
    with serve_in_thread(create_app(store)) as url, connection(url) as idle:
        idle.sendall(beginning)
        with suppress(ConnectionResetError):
            while idle.recv(1000):
                pass


@pytest.mark.usefixtures("protocol")
def test_a_request_may_take_longer_than_its_head(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections._IdleTimer, "head_timeout", 0.05)
    with serve_in_thread(create_app(store, latency=0.5)) as url:
        assert httpx.get(f"{url}/healthz", timeout=60).text == "ok"


def connection(url: str) -> socket.socket:
    place = urlsplit(url)
    assert place.hostname
    assert place.port
    return socket.create_connection((place.hostname, place.port), timeout=60)
