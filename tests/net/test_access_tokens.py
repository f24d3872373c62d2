"""Identity tokens: exchanged once, saved for the next process, renewed in time."""

from __future__ import annotations

import json
import stat
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import anyio
import httpx
import msgspec
import pytest

from aiowandb import AuthenticationError, ServerError, UsageError
from aiowandb.config.credentials import IdentityToken
from aiowandb.config.settings import Settings
from aiowandb.net import Session
from aiowandb.net.access_tokens import AccessTokens
from aiowandb.net.retry import RetryPolicy
from aiowandb.wire.graphql import Operation

pytestmark = pytest.mark.anyio
URL = "http://wandb.test/base"
JWT = "header.s3cret.signature"
Reply = tuple[int, dict[str, Any]]


class Answer(msgspec.Struct):
    n: int


ASK = Operation("Ask", "query Ask { n }", {}, Answer)


class Origin:
    """A W&B that gives access tokens: `token-1`, `token-2` and so on."""

    def __init__(self, *failures: Reply) -> None:
        self.failures = list(failures)
        self.exchanges: list[dict[str, list[str]]] = []
        self.signed: list[str | None] = []
        self.is_revoked: Callable[[str], bool] = lambda token: False

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        headers = dict(scope["headers"])
        if scope["path"] == "/base/oidc/token":
            self.exchanges.append(parse_qs(body.decode()))
            assert b"authorization" not in headers
            granted = {"access_token": f"token-{len(self.exchanges)}", "expires_in": 3600}
            status, said = self.failures.pop(0) if self.failures else (200, granted)
        else:
            signed = headers[b"authorization"].decode()
            self.signed.append(signed)
            status, said = 200, {"data": {"n": 1}}
            if self.is_revoked(signed):
                status, said = 401, {"error": "the token is over"}
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(said).encode()})


@pytest.fixture
def identity(tmp_path: Path) -> IdentityToken:
    (tmp_path / "jwt").write_text(f"{JWT}\n")
    return IdentityToken(tmp_path / "jwt", tmp_path / "config" / "credentials.json")


def session(origin: Origin, identity: IdentityToken) -> Session:
    settings = Settings(base_url=URL, credentials=identity)
    retry = RetryPolicy(random=lambda: 0.0)
    return Session(settings, transport=httpx.ASGITransport(origin), retry=retry)


async def test_a_token_is_exchanged_once_for_many_requests(identity: IdentityToken) -> None:
    origin = Origin()
    async with session(origin, identity) as asking, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(asking.ask, ASK)
    assert origin.exchanges == [
        {"grant_type": ["urn:ietf:params:oauth:grant-type:jwt-bearer"], "assertion": [JWT]}
    ]
    assert origin.signed == ["Bearer token-1"] * 5


async def test_the_next_process_finds_the_token_in_the_file(identity: IdentityToken) -> None:
    identity.cache.parent.mkdir()
    identity.cache.write_text('{"credentials": {"http://other": {"access_token": "theirs"}}}')
    for origin, expected in ((Origin(), 1), (Origin(), 0)):
        async with session(origin, identity) as asking:
            await asking.ask(ASK)
        assert (len(origin.exchanges), origin.signed) == (expected, ["Bearer token-1"])
    kept = json.loads(identity.cache.read_text())["credentials"]
    assert kept["http://other"] == {"access_token": "theirs"}
    datetime.strptime(kept[URL]["expires_at"], "%Y-%m-%d %H:%M:%S")
    assert stat.S_IMODE(identity.cache.stat().st_mode) == 0o600


async def test_a_token_is_renewed_when_little_time_is_left(identity: IdentityToken) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    tokens = AccessTokens(URL, identity, clock=lambda: now)
    await tokens.store(b'{"access_token": "first", "expires_in": 3600}')
    now += timedelta(minutes=54)
    assert await tokens.current() == "first"
    now += timedelta(minutes=2)
    assert await tokens.current() is None


async def test_a_broken_file_is_ignored(identity: IdentityToken) -> None:
    identity.cache.parent.mkdir()
    for text in ("{", "[]", f'{{"credentials": {{"{URL}": {{"expires_at": "never"}}}}}}'):
        identity.cache.write_text(text)
        assert await AccessTokens(URL, identity).current() is None


async def test_a_refused_token_is_an_authentication_error_without_the_token(
    identity: IdentityToken,
) -> None:
    origin = Origin((400, {"error": f"cannot use {JWT}"}))
    async with session(origin, identity) as asking:
        with pytest.raises(AuthenticationError, match="answered 400") as caught:
            await asking.ask(ASK)
    assert "s3cret" not in str(caught.value)
    assert len(origin.exchanges) == 1


async def test_a_failing_exchange_is_tried_again(identity: IdentityToken) -> None:
    origin = Origin((503, {}), (429, {}))
    async with session(origin, identity) as asking:
        await asking.ask(ASK)
    assert origin.signed == ["Bearer token-3"]


@pytest.mark.parametrize("said", [{}, {"access_token": "t", "expires_in": 10}], ids=str)
async def test_a_response_without_a_token_is_a_server_error(
    identity: IdentityToken, said: dict[str, Any]
) -> None:
    async with session(Origin((200, said)), identity) as asking:
        with pytest.raises(ServerError, match="Token exchange"):
            await asking.ask(ASK)


async def test_a_token_file_that_is_missing_is_named(identity: IdentityToken) -> None:
    identity.file.unlink()
    async with session(Origin(), identity) as asking:
        with pytest.raises(UsageError, match=r"Cannot read the identity token.*jwt"):
            await asking.ask(ASK)


async def test_a_token_that_cannot_be_saved_is_used_nevertheless(identity: IdentityToken) -> None:
    identity.cache.parent.write_text("no folder")
    origin = Origin()
    async with session(origin, identity) as asking:
        for _ in range(2):
            await asking.ask(ASK)
    assert origin.signed == ["Bearer token-1"] * 2


async def test_a_token_that_was_revoked_is_exchanged_again(identity: IdentityToken) -> None:
    origin = Origin()
    async with session(origin, identity) as asking:
        await asking.ask(ASK)
        for revoked in ("Bearer token-1", "Bearer token-2"):
            origin.is_revoked = revoked.__eq__
            origin.signed.clear()
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(asking.ask, ASK)
            assert len(set(origin.signed)) == 2
    assert len(origin.exchanges) == 3


async def test_so_is_one_that_an_earlier_process_has_kept(identity: IdentityToken) -> None:
    async with session(Origin(), identity) as asking:
        await asking.ask(ASK)
    origin = Origin()
    origin.exchanges.append({})  # so that the next token is another one
    origin.is_revoked = "Bearer token-1".__eq__
    async with session(origin, identity) as asking:
        await asking.ask(ASK)
    assert origin.signed == ["Bearer token-1", "Bearer token-2"]


async def test_a_token_that_is_refused_as_soon_as_it_was_given_is_an_error(
    identity: IdentityToken,
) -> None:
    origin = Origin()
    async with session(origin, identity) as asking:
        await asking.ask(ASK)
        origin.is_revoked = lambda token: True
        with pytest.raises(AuthenticationError, match="just issued") as caught:
            await asking.ask(ASK)
    assert caught.value.status == 401
    assert origin.signed == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
