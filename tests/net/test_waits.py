"""Every retry and every pause is reported: to listeners, in the log, and on request."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import AsyncIterator, Callable

import anyio
import httpx
import msgspec
import pytest

from aiowandb import CommError, ConnectError
from aiowandb.cli.waits import WaitLines
from aiowandb.config.settings import Settings
from aiowandb.net import Session, Waiting
from aiowandb.net.retry import RetryPolicy
from aiowandb.redaction import Link
from aiowandb.wire.graphql import Operation

pytestmark = pytest.mark.anyio
OK = httpx.Response(200, json={"data": {"n": 1}})


class Answer(msgspec.Struct):
    n: int


ASK = Operation("Ask", "query Ask { n }", {}, Answer)
Handler = Callable[[httpx.Request], httpx.Response]


def session_with(handler: Handler, timeout: float = 60.0) -> Session:
    settings = Settings.load(
        api_key="k" * 40, base_url="http://wandb.test", timeout=timeout, environ={}
    )
    retry = RetryPolicy(first_wait=0.001, random=lambda: 1.0)
    return Session(settings, transport=httpx.MockTransport(handler), retry=retry)


def failing_first(*failures: httpx.Response | type[httpx.TransportError]) -> Handler:
    left = list(failures)

    def handle(request: httpx.Request) -> httpx.Response:
        failure = left.pop(0) if left else OK
        if isinstance(failure, type):
            raise failure("broken", request=request)
        return failure

    return handle


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (httpx.ConnectError, "could not connect"),
        (httpx.ReadTimeout, "no answer in time"),
        (httpx.ReadError, "the connection broke"),
        (httpx.Response(502), "it answered 502"),
        (httpx.Response(429, headers={"Retry-After": "0"}), "it answered 429"),
        (
            httpx.Response(200, json={"errors": [{"message": "try again"}]}),
            "it answered with a temporary error",
        ),
    ],
)
async def test_each_retry_is_reported(
    failure: httpx.Response | type[httpx.TransportError],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "aiowandb.net")
    reported: list[Waiting] = []
    began = time.time()
    async with session_with(failing_first(failure)) as session:
        with session.waits.listening(reported.append):
            await session.ask(ASK)
        assert session.waits.current is None
    (waiting,) = reported
    assert (waiting.host, waiting.reason) == ("wandb.test", reason)
    assert began <= waiting.since <= waiting.next_try <= waiting.until
    (record,) = [
        record
        for record in caplog.records
        if record.levelno == logging.INFO and record.name == "aiowandb.net"
    ]
    assert f"Ask: wandb.test: {reason}, no success since" in record.getMessage()
    assert "giving up at" in record.getMessage()


async def test_until_when_it_is_tried_is_the_truth() -> None:
    reported: list[Waiting] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with session_with(refuse) as session:
        with session.waits.listening(reported.append), pytest.raises(ConnectError):
            await session.ask(ASK)
    (first_contact,) = reported  # who has never answered is tried twice
    assert first_contact.until == first_contact.next_try


async def test_the_beginning_of_a_wait_is_kept_until_something_succeeds() -> None:
    reported: list[Waiting] = []
    broken = (httpx.ReadError, httpx.ReadError, httpx.ReadError)
    async with session_with(failing_first(*broken)) as session:
        with session.waits.listening(reported.append):
            await session.ask(ASK)
            assert len({waiting.since for waiting in reported}) == 1
            assert len(reported) == 3


async def test_a_requested_pause_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiowandb.net")
    last = {"RateLimit-Remaining": "0", "RateLimit-Reset": "1"}
    used_up = httpx.Response(200, json={"data": {"n": 1}}, headers=last)
    reported: list[Waiting] = []
    async with session_with(failing_first(used_up)) as session:
        await session.ask(ASK)
        with session.waits.listening(reported.append):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(session.ask, ASK)
    (pause,) = reported
    assert pause.reason == "asks for a pause of 1 s"
    assert "asks for a pause" in caplog.text


async def test_a_try_without_an_answer_is_seen_by_looking() -> None:
    clock = 1000.0
    asked, answer = anyio.Event(), anyio.Event()

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.set()
            await answer.wait()
            return OK

    settings = Settings.load(api_key="k" * 40, base_url="http://wandb.test", environ={})
    async with Session(settings, transport=Slow()) as session, anyio.create_task_group() as tasks:
        session.waits._clock = lambda: clock
        tasks.start_soon(session.ask, ASK)
        await asked.wait()
        assert session.waits.current is None
        clock += 10
        waiting = session.waits.current
        assert waiting is not None
        assert (waiting.host, waiting.reason, waiting.since) == (
            "wandb.test",
            "no answer yet",
            1000,
        )
        assert waiting.until == pytest.approx(1120, abs=1)
        answer.set()
    assert session.waits.current is None


async def test_a_download_that_makes_progress_is_not_a_wait() -> None:
    clock = 1000.0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal clock
        for _ in range(5):
            clock += 2.0
            yield b"x" * (1 << 18)

    into = io.BytesIO()
    async with session_with(lambda request: httpx.Response(200, content=pieces())) as session:
        session.waits._clock = lambda: clock
        await session.download(Link("http://store.test/x"), into)
        assert session.waits.current is None
    assert len(into.getvalue()) == 5 << 18


async def test_final_answers_are_not_retried() -> None:
    reported: list[Waiting] = []
    async with session_with(lambda request: httpx.Response(404)) as session:
        with session.waits.listening(reported.append), pytest.raises(CommError):
            await session.ask(ASK)
    assert reported == []


def test_the_command_line_reports_waits_after_some_seconds_and_not_too_often() -> None:
    now = 1000.0
    waiting = Waiting("wandb.test", "could not connect", 1000.0, 1008.0, 1120.0)
    text = io.StringIO()
    lines = WaitLines(text, clock=lambda: now)
    for moment in (1001.0, 1004.0):
        now = moment
        lines.add(waiting)
    assert text.getvalue() == ""
    for moment in (1005.0, 1006.0, 1014.0, 1016.0):
        now = moment
        lines.add(waiting)
    lines.add(None)
    first, second = text.getvalue().splitlines()
    assert first.startswith("waiting: wandb.test: could not connect, no success since ")
    assert ", next try in 3 s, giving up at " in first
    assert "next try" not in second
