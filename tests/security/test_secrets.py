"""The API key is sent only where it belongs, and is in nothing that is shown or stored."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiowandb import AiowandbError, Api, AsyncApi, ServerError
from aiowandb.config.settings import Settings
from aiowandb.net.retry import RetryPolicy
from aiowandb_server import Store, build_sample, create_app, serve_in_thread
from tests.chaos.faults import App, FaultLayer, Message, Receive, Send, Weather
from tests.support.shell import aiowandb

pytestmark = pytest.mark.anyio
PATH = "local/sample"
BASE = "http://wandb.test"
ELSEWHERE = ("http://wandb.test:9000", "https://wandb.test", "http://files.test")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "wandb", crash_after=float("inf")) as store:
        build_sample(store, runs=3, rows=20)
        yield store


class Scattered:
    """W&B whose files lie at other origins, to which its links and its redirects lead.

    `seen` has the origin and the headers of every request.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.queries: list[str] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        origin = f"{scope['scheme']}://{headers['host']}"
        self.seen.append((origin, headers))
        self.queries.append(scope["query_string"].decode())
        path = f"{scope['path']}?{scope['query_string'].decode()}"
        hops = (BASE, *ELSEWHERE)
        if "/exports/" in path and origin != ELSEWHERE[-1]:
            onwards = hops[hops.index(origin) + 1] + path
            head = [(b"location", onwards.encode()), (b"set-cookie", b"session=1; Path=/")]
            await send({"type": "http.response.start", "status": 302, "headers": head})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, send)


@asynccontextmanager
async def connected(app: App, key: str, **settings: Any) -> AsyncIterator[AsyncApi]:
    transport = httpx.ASGITransport(app)
    async with AsyncApi(key, base_url=BASE, transport=transport, **settings) as api:
        yield api


async def test_only_the_origin_of_the_base_url_sees_the_key(store: Store, tmp_path: Path) -> None:
    app = Scattered(create_app(store))
    async with connected(app, store.local_key) as api:
        result = await api.runs(PATH).export(tmp_path / "out")
    assert result.failed == ()
    assert {origin for origin, _ in app.seen} == {BASE, *ELSEWHERE}
    for origin, headers in app.seen:
        assert ("authorization" in headers) == (origin == BASE)
        assert "cookie" not in headers
        assert store.local_key not in str(headers)


async def test_the_key_is_in_no_log_at_any_level(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    for name in ("httpx", "httpcore", "aiohttp", "asyncio", "aiowandb", "aiowandb.net"):
        caplog.set_level(1, name)
    with serve_in_thread(create_app(store)) as url:
        async with AsyncApi(store.local_key, base_url=url) as api:
            await api.runs(PATH).export(tmp_path / "out")
    assert {"httpx", "aiowandb.net"} <= {r.name for r in caplog.records}
    assert_free_of(store.local_key, caplog.text + repr([r.__dict__ for r in caplog.records]))


async def test_the_signature_of_a_link_is_in_no_log(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    app = Scattered(create_app(store))
    async with connected(app, store.local_key) as api:
        await api.runs(PATH).export(tmp_path / "out")
        await api.runs(PATH).to_list()
    assert any("signature=" in query for query in app.queries)
    assert "http://files.test/exports/" in caplog.text
    assert "signature" not in caplog.text


def test_logs_of_other_users_of_httpx_stay_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as http:
        http.get("http://elsewhere.test/?page=2")
    assert "http://elsewhere.test/?page=2" in caplog.text


async def test_the_key_is_in_no_error_even_with_all_variables(store: Store, tmp_path: Path) -> None:
    quick = RetryPolicy(first_wait=0.01, max_failures=3)
    layer = FaultLayer(create_app(store))
    async with connected(layer, store.local_key, retry=quick) as api:
        layer.weather = Weather(faults=("login_page", "always_the_same"), rate=1.0)
        for read in (
            api.runs(PATH).export(tmp_path / "out"),
            api.runs(PATH).to_list(),
            api.run(f"{PATH}/x"),
            api.viewer(),
        ):
            with pytest.raises(ServerError) as caught:
                await read
            assert_free_of(store.local_key, _with_all_variables(caught.value))


MISTAKES: dict[str, dict[str, Any]] = {
    "no URL": {"base_url": "nonsense"},
    "no number": {"timeout": -1},
    "no header": {"headers": {"X-Gateway": "\u00e9" * 20}},
    "no proxy": {"proxy": "nonsense"},
    "no key": {"api_key": "kex " * 20},
    "in a netrc that others read": {"base_url": "http://a.test"},
    "in a netrc that is none": {"base_url": "http://b.test"},
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("client", [AsyncApi, Api])
def test_the_key_is_in_no_error_of_a_client_that_cannot_be_made(
    client: Callable[..., object], mistake: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, wrong = "kex0" * 10, MISTAKES[mistake]
    if "netrc" in mistake:
        netrc = home / ".netrc"
        machine = "machine a.test login user password" if "others" in mistake else "machine x word"
        netrc.write_text(f"{machine} {key}")
        netrc.chmod(0o644)
    else:
        monkeypatch.setenv("WANDB_API_KEY", key)
    with pytest.raises(AiowandbError) as caught:
        client(**wrong)
    assert "kex" not in _with_all_variables(caught.value)


def _with_all_variables(error: BaseException) -> str:
    """A traceback as detailed as can be; the frames of these tests know the key."""
    frames = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(part for part in frames.format() if "tests/" not in part) + repr(error)


def test_the_key_is_in_nothing_that_an_export_says(store: Store, tmp_path: Path) -> None:
    command = ("export", PATH, tmp_path / "out")
    with serve_in_thread(create_app(store)) as url:
        for option in ("--json", "--format=csv"):
            done = aiowandb(
                *(*command, option, "--overwrite", "--base-url", url),
                WANDB_API_KEY=store.local_key,
            )
            assert done.returncode == 0, done.stderr
            assert_free_of(store.local_key, done.stdout + done.stderr)


async def test_the_key_is_in_no_file_that_an_export_writes(store: Store, tmp_path: Path) -> None:
    async with connected(create_app(store), store.local_key) as api:
        for kind in ("parquet", "csv"):
            await api.runs(PATH).export(tmp_path / kind, format=kind)
    files = [file for kind in ("parquet", "csv") for file in (tmp_path / kind).rglob("*")]
    assert any(file.name == "journal.jsonl" for file in files)
    for file in files:
        if file.is_file():
            assert_free_of(store.local_key, file.read_bytes().decode("latin-1"))


async def test_the_key_is_in_no_repr(store: Store) -> None:
    settings = Settings.load(api_key=store.local_key, base_url=BASE, environ={})
    async with connected(create_app(store), store.local_key) as api:
        run = (await api.runs(PATH).to_list())[0]
        shown = [api, api.traffic, run, run.files(), settings, settings.credentials]
        shown += [vars(api), vars(api._session), vars(settings.credentials.__class__)]
    with Api(store.local_key, base_url=BASE, transport=httpx.ASGITransport(create_app(store))) as a:
        shown += [a, vars(a)]
    assert_free_of(store.local_key, repr(shown))


async def test_the_key_is_not_shown_when_it_is_wrong(store: Store) -> None:
    wrong = "f" * 40
    async with connected(create_app(store), wrong) as api:
        with pytest.raises(AiowandbError, match="not logged in") as caught:
            await api.viewer()
    assert_free_of(wrong, str(caught.value) + repr(caught.value))


def assert_free_of(key: str, text: str) -> None:
    for form in (key, base64.b64encode(f"api:{key}".encode()).decode()):
        place = text.find(form)
        assert place < 0, text[max(0, place - 200) : place]
