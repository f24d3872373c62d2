"""Identity tokens and headers of one's own: what a gateway wants, and who must not see it."""

from __future__ import annotations

import base64
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import anyio
import httpx
import pytest
from anyio.abc import SocketStream

from aiowandb import (
    Api,
    AsyncApi,
    AuthenticationError,
    CommError,
    ConnectError,
    RetryPolicy,
    UsageError,
)
from aiowandb.config.credentials import AuthorizationHeader
from aiowandb.config.settings import Settings
from aiowandb.net import Session
from aiowandb.redaction import Link
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from tests.support.answering import ASK
from tests.support.raw_http import serving
from tests.support.shell import aiowandb

pytestmark = pytest.mark.anyio
KEY = "k" * 40
JWT = "header.s3cret-assertion.signature"
SECRET = "gateway-s3cret-of-the-user"
HEADERS = {"X-Gateway": SECRET, "CF-Access-Client-Id": "someone-s3cret-2"}
ONCE = RetryPolicy(random=lambda: 0.0, max_failures=1, max_same_failures=1)


class Gateway:
    """The embedded W&B behind a gateway that accepts nothing but `Bearer` tokens.

    It exchanges identity tokens for access tokens, as W&B does.
    """

    def __init__(self, store: Store, accepted: str | None = None) -> None:
        self._app = create_app(store)
        self._key = base64.b64encode(f"api:{store.local_key}".encode())
        self._accepted = accepted
        self.exchanges = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])
        if scope["path"] == "/oidc/token":
            body = (await receive())["body"]
            assert parse_qs(body.decode())["assertion"] == [JWT]
            self.exchanges += 1
            self._accepted = f"access-{self.exchanges}"
            granted = {"access_token": self._accepted, "expires_in": 3600}
            return await self._answer(send, 200, json.dumps(granted).encode())
        given = headers.get(b"authorization", b"").decode()
        if given != f"Bearer {self._accepted}" and b"signature=" not in scope["query_string"]:
            return await self._answer(send, 401, f"who is {given}?".encode())
        others = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
        inner = scope | {"headers": [*others, (b"authorization", b"Basic " + self._key)]}
        return await self._app(inner, receive, send)

    async def _answer(self, send: Any, status: int, body: bytes) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("wandb"), crash_after=float("inf")) as store:
        project, _ = store.projects.ensure("local", "p")
        run, _ = store.runs.upsert(project, "r", RunChanges(display_name="first"))
        store.history.append(run, ['{"_step": 0, "loss": 1}'])
        yield store


def test_with_an_identity_token_alone_everything_works_in_every_process(
    store: Store, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(JWT)
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    gateway = Gateway(store)
    with serve_in_thread(gateway) as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        with Api() as api:
            result = api.runs("local/p").export(tmp_path / "out")
            assert (result.failed, result.rows) == ((), 1)
        assert "first" in aiowandb("runs", "local/p").stdout
        assert aiowandb("status").returncode == 0
    assert gateway.exchanges == 1  # the second process finds the access token
    kept = json.loads((home / ".config/wandb/credentials.json").read_text())
    assert kept["credentials"][url]["access_token"] == "access-1"


@pytest.mark.parametrize("is_argument", [False, True])
def test_a_gateway_that_wants_a_bearer_token_gets_that_of_the_user(
    store: Store, monkeypatch: pytest.MonkeyPatch, is_argument: bool
) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    if not is_argument:
        monkeypatch.setenv("WANDB__EXTRA_HTTP_HEADERS", json.dumps(headers))
    with serve_in_thread(Gateway(store, SECRET)) as url:
        with Api(base_url=url, headers=headers if is_argument else None) as api:
            assert api.run("local/p/r").name == "first"
            assert SECRET not in repr(api.settings) + repr(api.settings.credentials)
        wrong = {"Authorization": f"Bearer {SECRET}-2"}
        with (
            Api(base_url=url, headers=wrong) as api,
            pytest.raises(AuthenticationError, match="used the header Authorization") as caught,
        ):
            api.run("local/p/r")
    facts = [str(caught.value), repr(caught.value.response), str(pickle.dumps(caught.value))]
    assert not [text for text in facts if "s3cret" in text]


class Recorder:
    """A server that remembers the heads of requests, and gives the same answer to all."""

    def __init__(self, answer: bytes = b'{"data": {"n": 1}}', head: bytes = b"200 OK") -> None:
        length = b"Content-Length: %d" % len(answer)
        self.answer = b"HTTP/1.1 %s\r\n%s\r\n\r\n%s" % (head, length, answer)
        self.heads: list[str] = []

    async def __call__(self, stream: SocketStream) -> None:
        head, body = await stream.receive(), b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive()
        head, _, body = head.partition(b"\r\n\r\n")
        self.heads.append(head.decode().lower())
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while length and len(body) < int(length[1]):
            body += await stream.receive()
        await stream.send(self.answer)


async def test_the_users_headers_go_to_the_host_of_wandb_and_to_no_other() -> None:
    wandb, elsewhere = Recorder(), Recorder(b"file")
    async with serving(wandb) as url, serving(elsewhere) as files:
        redirecting = Recorder(b"", b"302 Found\r\nLocation: %s/x" % files.encode())
        settings = Settings.load(api_key=KEY, base_url=url, headers=HEADERS, environ={})
        async with Session(settings, retry=ONCE) as session:
            await session.ask(ASK)
            target = anyio.SpooledTemporaryFile[bytes]()
            async with target:
                await session.download(Link(f"{files}/x?signature=1"), target)
                wandb.answer = redirecting.answer
                await session.download(Link(f"{url}/files/x"), target)
    first, redirected = wandb.heads
    for head in (first, redirected):
        assert "authorization: basic" in head
        assert f"x-gateway: {SECRET}" in head
    assert len(elsewhere.heads) == 2
    for head in elsewhere.heads:
        assert "s3cret" not in head
        assert "authorization" not in head


@pytest.mark.parametrize("text", [SECRET, f"Basic {SECRET}"])
async def test_what_a_server_repeats_of_the_headers_is_hidden(text: str) -> None:
    wandb = Recorder(f"no {text} and {HEADERS['CF-Access-Client-Id']} here".encode(), b"403 No")
    async with serving(wandb) as url:
        headers = HEADERS | {"X-Gateway": text}
        settings = Settings.load(api_key=KEY, base_url=url, headers=headers, environ={})
        async with Session(settings, retry=ONCE) as session:
            with pytest.raises(AuthenticationError) as caught:
                await session.ask(ASK)
    assert "s3cret" not in str(caught.value) + repr(caught.value.response)


async def test_an_error_of_the_connection_has_neither_headers_nor_tokens(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(JWT)
    async with serving(Recorder()) as url:
        pass  # so that nobody listens there
    environ = {"WANDB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"), "HOME": str(tmp_path)}
    for credentials in ({"api_key": KEY}, {"environ": environ}):
        settings = Settings.load(
            **{"environ": {}, "base_url": url, "headers": HEADERS, **credentials}  # type: ignore[arg-type]
        )
        async with Session(settings, retry=ONCE) as session:
            with pytest.raises(ConnectError) as caught:
                await session.ask(ASK)
        assert isinstance(caught.value.exc, httpx.ConnectError)
        request = caught.value.exc.request
        assert "s3cret" not in f"{request.headers.raw}{vars(request)}"
        assert b"s3cret" not in pickle.dumps(caught.value)


async def test_an_identity_token_that_a_failing_server_repeats_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(JWT)
    environ = {"WANDB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}
    async with serving(Recorder(f"cannot use {JWT}".encode(), b"500 Sorry")) as url:
        settings = Settings.load(base_url=url, environ=environ)
        async with Session(settings, retry=ONCE) as session:
            with pytest.raises(CommError) as caught:
                await session.ask(ASK)
    assert caught.value.status == 500
    assert "s3cret" not in str(caught.value) + repr(caught.value.response)


async def test_a_proxy_gets_its_own_header_and_the_server_does_not() -> None:
    proxy = Recorder()
    headers = {"Proxy-Authorization": f"Bearer {SECRET}", "X-Gateway": "yes"}
    async with serving(proxy) as url:
        settings = Settings.load(
            api_key=KEY, base_url="http://wandb.invalid", proxy=url, headers=headers, environ={}
        )
        async with Session(settings, retry=ONCE) as session:
            await session.ask(ASK)
        direct = Recorder()
        async with serving(direct) as url:
            settings = Settings.load(api_key=KEY, base_url=url, headers=headers, environ={})
            async with Session(settings, retry=ONCE) as session:
                await session.ask(ASK)
    assert f"proxy-authorization: bearer {SECRET}" in proxy.heads[0]
    assert "proxy-authorization" not in direct.heads[0]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_other_credentials_is_asked_once(scheme: str) -> None:
    proxy = Recorder(b"", b"407 Proxy Authentication Required")
    async with serving(proxy) as url:
        settings = Settings.load(
            api_key=KEY, base_url=f"{scheme}://wandb.invalid", proxy=url, environ={}
        )
        async with Session(settings, retry=RetryPolicy(random=lambda: 0.0)) as session:
            with pytest.raises(CommError, match="(?i)407|proxy does not accept"):
                await session.ask(ASK)
    assert len(proxy.heads) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"X": f"a\r\nY: {SECRET}"},
        {"X": f" {SECRET}"},
        {"X": f"é{SECRET}"},
        {"X": ""},
        {"X": 5},
        {"X y": SECRET},
        {"Host": SECRET},
        {"Content-Length": "5"},
        f"Bearer {SECRET}",
    ],
    ids=str,
)
async def test_headers_that_cannot_be_are_refused_without_being_shown(headers: Any) -> None:
    with pytest.raises(UsageError) as caught:
        AsyncApi(KEY, headers=headers)
    assert "s3cret" not in str(caught.value)


def test_headers_of_the_environment_are_those_of_wandbs_own_client() -> None:
    def load(text: str, name: str = "WANDB__EXTRA_HTTP_HEADERS", **more: Any) -> Settings:
        return Settings.load(environ={name: text, "WANDB_API_KEY": KEY}, **more)

    assert load('{"A": "1"}').headers.reveal() == {"A": "1"}
    assert load('{"A": "1"}', "WANDB_X_EXTRA_HTTP_HEADERS").headers.reveal() == {"A": "1"}
    merged = load('{"A": "1", "B": "2"}', headers={"a": "3"}).headers.reveal()
    assert merged == {"a": "3", "B": "2"}
    for text in (SECRET, "[]", f'{{"A": ["{SECRET}"]}}', f'{{"A": "{SECRET}\\n"}}'):
        with pytest.raises(UsageError, match="WANDB__EXTRA_HTTP_HEADERS") as caught:
            load(text)
        assert SECRET not in str(caught.value)


def test_a_key_comes_before_an_authorization_of_the_environment_and_excludes_one() -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    environ = {"WANDB__EXTRA_HTTP_HEADERS": json.dumps(headers)}
    for key in (KEY, None):
        found = Settings.load(environ=environ, api_key=key)
        assert isinstance(found.credentials, AuthorizationHeader) == (key is None)
        assert found.headers.reveal() == {}
    with pytest.raises(UsageError, match="either api_key or"):
        Settings.load(api_key=KEY, headers=headers, environ={})
