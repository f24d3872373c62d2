"""The session with servers that fail in all ways."""

from __future__ import annotations

import io
import logging
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from io import BytesIO
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import msgspec
import pytest

from aiowandb import (
    AsyncApi,
    CommError,
    ConnectError,
    GraphQLError,
    LinkError,
    RateLimitError,
    ServerError,
)
from aiowandb.config.settings import Settings
from aiowandb.errors import ApiKeyError
from aiowandb.net import Session
from aiowandb.net.retry import RetryPolicy
from aiowandb.net.session import supports
from aiowandb.redaction import Link
from aiowandb.wire.graphql import Operation

pytestmark = pytest.mark.anyio
KEY = "s3cret" * 7


class Answer(msgspec.Struct):
    n: int


ASK = Operation("Ask", "query Ask { n }", {}, Answer)
AT_ONCE = RetryPolicy(random=lambda: 0.0)
Reply = tuple[int, dict[str, str], bytes]
GOOD: Reply = (200, {}, b'{"data": {"n": 1}}')


class Origin:
    """An ASGI app that gives the replies of a script, the last one for ever."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[dict[str, str]] = []

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        self.requests.append(headers | {"path": scope["path"]})
        status, extra, body = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        coded = [(key.encode(), value.encode()) for key, value in extra.items()]
        await send({"type": "http.response.start", "status": status, "headers": coded})
        await send({"type": "http.response.body", "body": body})


def session(origin: Origin, *, key: str | None = KEY, **settings: Any) -> Session:
    loaded = Settings.load(api_key=key, base_url="http://wandb.test/base", **settings, environ={})
    return Session(loaded, transport=httpx.ASGITransport(origin), retry=AT_ONCE)


async def test_a_passing_failure_is_not_seen() -> None:
    origin = Origin((500, {}, b"a"), (502, {}, b"b"), (429, {"Retry-After": "0"}, b"c"), GOOD)
    async with session(origin) as asking:
        assert await asking.ask(ASK) == Answer(1)
        assert (asking.traffic.requests, asking.traffic.refused) == (4, 1)


@pytest.mark.parametrize("status", [408, 503])
async def test_a_server_that_is_slow_or_restarted_is_waited_for(status: int) -> None:
    origin = Origin(*[(status, {}, b"back soon")] * 8, GOOD)
    async with session(origin) as asking:
        assert await asking.ask(ASK) == Answer(1)


@pytest.mark.parametrize("status", [402, 418, 451, 500, 507])
async def test_the_same_failure_again_and_again_is_final(status: int) -> None:
    origin = Origin((status, {}, b"oops"))
    async with session(origin) as asking:
        with pytest.raises(CommError, match=f"{status}: oops"):
            await asking.ask(ASK)
        assert asking.traffic.requests == AT_ONCE.max_same_failures


async def test_a_wrong_request_is_sent_once() -> None:
    origin = Origin((400, {}, b'{"errors": [{"message": "Cannot query field"}]}'))
    async with session(origin) as asking:
        with pytest.raises(CommError, match="Cannot query field"):
            await asking.ask(ASK)
    assert len(origin.requests) == 1


@pytest.mark.parametrize("status", [200, 400, 422])
async def test_a_server_that_is_too_old_to_list_its_features_has_none(status: int) -> None:
    unknown = (
        b'{"errors": [{"message": "Cannot query field \\"features\\" on type \\"ServerInfo\\"."}]}'
    )
    origin = Origin((status, {}, unknown))
    async with session(origin) as asking:
        for _ in range(2):
            assert not await supports(asking, "FILESTREAM_GZIP")
    assert len(origin.requests) == 1


@pytest.mark.parametrize("status", [200, 400, 404])
async def test_what_a_server_can_do_is_not_guessed_from_an_error(status: int) -> None:
    body = b'{"errors": [{"message": "the gateway is out of order"}]}'
    async with session(Origin((status, {}, body))) as asking:
        with pytest.raises(CommError, match="out of order"):
            await supports(asking, "AIOWANDB_RUN_ORIGIN")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Sign in</html>",
        b'{"data": {"n": 1',
        b'{"data": {"n": "\xff"}}',
        b"[" * 100_000,
        b'{"data": null, "errors": [{"message": "context deadline exceeded"}]}',
    ],
    ids=["HTML", "cut", "garbled", "deep", "error of the moment"],
)
async def test_a_request_without_a_valid_response_is_sent_again(body: bytes) -> None:
    origin = Origin((200, {}, body), GOOD)
    async with session(origin) as asking:
        assert await asking.ask(ASK) == Answer(1)
    always = Origin((200, {}, body))
    async with session(always) as asking:
        with pytest.raises((ServerError, GraphQLError)):
            await asking.ask(ASK)
    assert len(always.requests) == 3


async def test_errors_in_an_answer_are_final_otherwise() -> None:
    origin = Origin((200, {}, b'{"errors": [{"message": "permission denied"}]}'), GOOD)
    async with session(origin) as asking:
        with pytest.raises(GraphQLError, match="permission denied"):
            await asking.ask(ASK)
    assert len(origin.requests) == 1


async def test_the_very_same_failure_three_times_is_final() -> None:
    origin = Origin((500, {}, b"poisoned"))
    async with session(origin) as asking:
        with pytest.raises(ServerError, match="poisoned"):
            await asking.ask(ASK)
    assert len(origin.requests) == 3


async def test_after_the_timeout_the_last_answer_is_reported() -> None:
    origin = Origin((429, {"Retry-After": "60"}, b"slow down"))
    async with session(origin, timeout=30) as asking:
        with pytest.raises(RateLimitError, match="slow down") as caught:
            await asking.ask(ASK)
    assert caught.value.retry_after == 60


async def test_a_pause_delays_every_request_of_the_session() -> None:
    origin = Origin((429, {"Retry-After": "60"}, b""), GOOD)
    async with session(origin, timeout=30) as asking:
        for _ in range(2):
            with pytest.raises(RateLimitError):
                await asking.ask(ASK)
        assert asking.traffic.throttled_until > time.time() + 50
    assert len(origin.requests) == 1


async def test_a_pause_that_is_too_long_is_not_waited_for_in_line_either() -> None:
    origin = Origin((429, {"Retry-After": "60"}, b""))
    errors: list[CommError] = []

    async def ask() -> None:
        with pytest.raises(RateLimitError) as caught:
            await asking.ask(ASK)
        errors.append(caught.value)

    with anyio.fail_after(20):
        async with (
            session(origin, timeout=1, max_rate=5) as asking,
            anyio.create_task_group() as tasks,
        ):
            for _ in range(3):  # two of them stand in line when the pause begins
                tasks.start_soon(ask)
    assert len(origin.requests) == 1
    assert len(errors) == 3


@pytest.mark.parametrize("what", ["requests", "downloads"])
async def test_no_more_of_them_are_under_way_than_allowed(what: str) -> None:
    under_way, most = 0, 0

    class Slow(Origin):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await anyio.wait_all_tasks_blocked()
            await super().__call__(scope, receive, send)
            under_way -= 1

    async with session(Slow(GOOD), max_concurrency=3) as asking, anyio.create_task_group() as tasks:
        for _ in range(20):
            if what == "requests":
                tasks.start_soon(asking.ask, ASK)
            else:
                tasks.start_soon(
                    asking.download, Link(f"{asking.settings.base_url}/file"), BytesIO()
                )
    assert most == 3


async def test_a_host_that_never_answered_fails_soon() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        settings = Settings.load(api_key=KEY, base_url=url, environ={})
        async with Session(settings, retry=AT_ONCE) as asking:
            with pytest.raises(ConnectError, match="Could not connect to 127.0.0.1") as caught:
                await asking.ask(ASK)
    assert isinstance(caught.value.exc, httpx.ConnectError)


async def test_without_a_key_nothing_is_sent() -> None:
    origin = Origin(GOOD)
    async with session(origin, key=None) as asking:
        with pytest.raises(ApiKeyError, match="WANDB_API_KEY"):
            await asking.ask(ASK)
    assert origin.requests == []


async def test_the_key_goes_to_the_base_url_and_nowhere_else() -> None:
    origin = Origin((200, {}, b"data"))
    async with session(origin) as asking:
        for url in (
            "http://wandb.test/base/files/x",
            "http://wandb.test/based/x",
            "http://wandb.test:81/base/x",
            "http://other.test/base/x",
            "https://wandb.test/base/x",
        ):
            await asking.download(Link(url), io.BytesIO())
    assert ["authorization" in request for request in origin.requests] == [True] + 4 * [False]


async def test_a_redirect_to_another_host_loses_the_key() -> None:
    origin = Origin((302, {"Location": "http://other.test/x"}, b""), (200, {}, b"data"))
    file = io.BytesIO()
    async with session(origin) as asking:
        await asking.download(Link("http://wandb.test/base/x"), file)
    assert file.getvalue() == b"data"
    assert ["authorization" in request for request in origin.requests] == [True, False]


async def test_a_download_that_failed_starts_over_in_the_same_file() -> None:
    origin = Origin((503, {}, b"busy"), (200, {}, b"short"))
    file = io.BytesIO(b"what was here before")
    async with session(origin) as asking:
        await asking.download(Link("http://files.test/x"), file)
    assert file.getvalue() == b"short"


async def test_errors_of_downloads_do_not_repeat_the_signature() -> None:
    origin = Origin((403, {}, b"expired"))
    async with session(origin) as asking:
        with pytest.raises(LinkError, match=r"files.test/x: W&B answered 403") as caught:
            await asking.download(Link("http://files.test/x?Signature=abc"), io.BytesIO())
    assert "abc" not in str(caught.value)


async def test_an_error_names_the_host_that_failed_and_carries_no_key() -> None:
    class Nobody(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused")

    settings = Settings.load(api_key=KEY, base_url="http://wandb.test/base", environ={})
    async with Session(settings, transport=Nobody()) as asking:
        with pytest.raises(ConnectError, match="Could not connect to store.test:99"):
            await asking.download(Link("http://store.test:99/x"), io.BytesIO())
        with pytest.raises(ConnectError, match="Could not connect to wandb.test") as caught:
            await asking.ask(ASK)
    assert isinstance(caught.value.exc, httpx.ConnectError)
    assert "Authorization" not in caught.value.exc.request.headers


async def test_the_key_is_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    origin = Origin((500, {}, b"x"))
    async with session(origin) as asking:
        with pytest.raises(ServerError) as caught:
            await asking.ask(ASK)
    assert caplog.records
    assert KEY not in caplog.text + repr(caught.value) + str(caught.value)


class Trickle:
    """An ASGI app that begins each answer, and never completes it."""

    def __init__(self) -> None:
        self.requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests += 1
        await anyio.sleep_forever()


@pytest.mark.slow
async def test_a_call_ends_after_its_total_time_whatever_each_request_may_take() -> None:
    trickle = Trickle()
    async with AsyncApi(
        KEY,
        base_url="http://wandb.test",
        transport=httpx.ASGITransport(trickle),
        timeout=1_000,
        total_timeout=0.5,
    ) as api:
        with pytest.raises(TimeoutError, match=r"within 0.5 s, which is the total_timeout"):
            await api.runs("e/p").count()
        with pytest.raises(TimeoutError, match="total_timeout"):
            await api.viewer()
        with pytest.raises(TimeoutError, match="total_timeout"):
            await anext(aiter(api.runs("e/p")))
    assert trickle.requests == 3
