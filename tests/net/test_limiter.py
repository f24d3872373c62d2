"""The limiter with servers of all kinds, on a virtual clock."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple, Protocol

import anyio
import pytest
import trio
from trio.testing import MockClock

from aiowandb.net.adaptive import Concurrency, Pace, Quota
from aiowandb.net.limiter import Limiter
from aiowandb.net.traffic import Traffic


class Answer(NamedTuple):
    """`retry_after` of an answer that is a refusal."""

    retry_after: float | None = None
    quota: Quota | None = None


class Server(Protocol):
    async def ask(self) -> Answer: ...


class TokenBucket:
    """Grants `rate` requests a second, and `size` at once after a rest."""

    def __init__(
        self,
        rate: float,
        *,
        size: float | None = None,
        latency: float = 0.1,
        sends_headers: bool = False,
    ) -> None:
        self.rate = rate
        self.size = self.tokens = size or rate
        self.latency = latency
        self.sends_headers = sends_headers
        self.random = Random(1)
        self.now = 0.0

    async def ask(self) -> Answer:
        await anyio.sleep(self.latency * self.random.uniform(0.4, 0.7))
        now = anyio.current_time()
        self.tokens = min(self.size, self.tokens + (now - self.now) * self.rate)
        self.now = now
        wait = (1 - self.tokens) / self.rate if self.tokens < 1 else None
        self.tokens -= wait is None
        quota = Quota(int(self.tokens), (self.size - self.tokens) / self.rate)
        await anyio.sleep(self.latency / 2)
        return Answer(wait, quota if self.sends_headers else None)


class FixedWindow:
    """Grants so many requests in each window of so many seconds."""

    def __init__(self, requests: int, seconds: float, *, sends_headers: bool = False) -> None:
        self.requests = self.left = requests
        self.seconds = seconds
        self.sends_headers = sends_headers
        self.window = 0

    async def ask(self) -> Answer:
        await anyio.sleep(0.05)
        window = int(anyio.current_time() // self.seconds)
        if window != self.window:
            self.window, self.left = window, self.requests
        reset = (window + 1) * self.seconds - anyio.current_time()
        is_refused = self.left == 0
        self.left -= not is_refused
        await anyio.sleep(0.05)
        return Answer(
            reset if is_refused else None, Quota(self.left, reset) if self.sends_headers else None
        )


class Workers:
    """A server without limits that answers `capacity` requests at once as quickly as one."""

    def __init__(self, capacity: int = 1_000_000, *, times: Callable[[float], float] | None = None):
        self.capacity = capacity
        self.slowness = times or (lambda now: 1.0)
        self.under_way = 0

    async def ask(self) -> Answer:
        self.under_way += 1
        queue = max(1.0, self.under_way / self.capacity)
        await anyio.sleep(0.1 * queue * self.slowness(anyio.current_time()))
        self.under_way -= 1
        return Answer()


class Course(NamedTuple):
    """What came of it: the times at which requests started, were granted and were refused."""

    starts: list[float]
    granted: list[float]
    refused: list[float]
    most_at_once: list[int]
    traffic: Traffic

    def rate(self, begin: float, end: float) -> float:
        return sum(begin <= time < end for time in self.granted) / (end - begin)

    def share_refused(self, begin: float = 0.0) -> float:
        refused = sum(time >= begin for time in self.refused)
        return refused / sum(time >= begin for time in self.starts)


def drive(
    server: Server,
    seconds: float,
    *,
    most: int = 16,
    max_rate: float | None = None,
    users: int = 40,
) -> Course:
    """Let many users ask as fast as the limiter lets them."""
    result = Course([], [], [], [], Traffic())
    limiter = Limiter(Concurrency(most), Pace(max_rate), result.traffic)
    under_way = 0

    async def use() -> None:
        nonlocal under_way
        while True:
            async with limiter.slot() as slot:
                while True:
                    await limiter.wait_for_turn(slot)
                    result.starts.append(anyio.current_time())
                    under_way += 1
                    result.most_at_once.append(under_way)
                    answer = await server.ask()
                    under_way -= 1
                    if answer.retry_after is None:
                        limiter.answered(slot, "question", answer.quota)
                        result.granted.append(anyio.current_time())
                        break
                    pause = answer.quota.pause if answer.quota else 0.0
                    limiter.refused(slot, max(answer.retry_after, pause))
                    result.refused.append(anyio.current_time())

    async def all_users() -> None:
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for _ in range(users):
                    tasks.start_soon(use)

    trio.run(all_users, clock=MockClock(autojump_threshold=0))
    return result


@pytest.mark.parametrize("sends_headers", [False, True], ids=["429 only", "RateLimit headers"])
@pytest.mark.parametrize(
    ("rate", "latency"),
    [
        (5, 0.02),
        *(
            pytest.param(rate, latency, marks=pytest.mark.slow)
            for rate, latency in ((5, 0.5), (20, 0.02), (20, 0.1), (20, 0.5), (100, 0.1))
        ),
    ],
)
def test_nine_tenths_of_what_a_token_bucket_grants_is_used(
    rate: float, latency: float, sends_headers: bool
) -> None:
    result = drive(TokenBucket(rate, latency=latency, sends_headers=sends_headers), 90)
    assert result.rate(30, 90) >= 0.9 * rate
    assert result.share_refused() < 0.05


@pytest.mark.parametrize("sends_headers", [False, True], ids=["429 only", "RateLimit headers"])
@pytest.mark.parametrize(
    ("requests", "seconds"),
    [(60, 60), *(pytest.param(n, per, marks=pytest.mark.slow) for n, per in ((20, 1), (600, 60)))],
)
def test_so_is_what_a_window_grants(requests: int, seconds: float, sends_headers: bool) -> None:
    result = drive(FixedWindow(requests, seconds, sends_headers=sends_headers), 360)
    assert result.rate(120, 360) >= 0.9 * requests / seconds
    assert result.share_refused(120) < 0.05


def test_a_large_bucket_that_runs_empty_does_not_hurt() -> None:
    result = drive(TokenBucket(20, size=300), 120)
    assert result.rate(60, 120) >= 0.9 * 20
    assert result.share_refused() < 0.05


@pytest.mark.slow
def test_a_limit_that_is_lifted_is_forgotten_in_time() -> None:
    class Lifted(TokenBucket):
        async def ask(self) -> Answer:
            self.rate = self.size = 5 if anyio.current_time() < 60 else 40
            return await super().ask()

    result = drive(Lifted(5), 240)
    assert result.rate(30, 60) >= 0.9 * 5
    assert result.rate(120, 180) >= 0.7 * 40
    assert result.rate(180, 240) >= 0.9 * 40


@pytest.mark.slow
def test_a_limit_that_falls_is_obeyed_soon() -> None:
    class Falling(TokenBucket):
        async def ask(self) -> Answer:
            self.rate = self.size = 50 if anyio.current_time() < 60 else 5
            return await super().ask()

    result = drive(Falling(50), 180)
    assert result.rate(90, 180) >= 0.9 * 5
    assert result.share_refused(90) < 0.05


def test_after_the_first_refusal_requests_come_one_by_one() -> None:
    result = drive(TokenBucket(20), 60)
    starts = [time for time in result.starts if time > 10]
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert min(gaps) > 0.5 / 20


@pytest.mark.parametrize("most", [1, 3, 16, pytest.param(64, marks=pytest.mark.slow)])
def test_without_limits_and_queues_all_slots_are_used(most: int) -> None:
    result = drive(Workers(), 20, most=most, users=100)
    assert max(result.most_at_once) == most
    assert result.rate(10, 20) >= 0.9 * most / 0.1
    assert max(result.most_at_once[:4]) <= 4


def test_a_server_that_gets_slower_is_not_asked_for_more() -> None:
    result = drive(Workers(capacity=8), 60, most=64, users=100)
    assert result.rate(30, 60) >= 0.9 * 8 / 0.1
    assert max(result.most_at_once[-500:]) <= 3 * 8


@pytest.mark.slow
def test_a_server_that_has_become_slower_for_good_is_used_in_full_again() -> None:
    result = drive(Workers(times=lambda now: 1.0 if now < 20 else 4.0), 120)
    assert result.rate(100, 120) >= 0.9 * 16 / 0.4


def test_the_rate_that_the_user_allows_is_never_exceeded() -> None:
    result = drive(Workers(), 60, max_rate=7)
    gaps = [
        later - earlier for earlier, later in zip(result.starts, result.starts[1:], strict=False)
    ]
    assert min(gaps) >= 1 / 7 - 1e-9
    assert result.rate(0, 60) == pytest.approx(7, rel=0.05)


def test_a_pause_applies_to_all_tasks() -> None:
    result = drive(FixedWindow(30, 60), 60)
    first_refusal = min(result.refused)
    assert not [time for time in result.starts if time > first_refusal]
    assert result.traffic.throttled_until > 0
    assert result.traffic.refused == len(result.refused)


@pytest.mark.slow
def test_the_learnt_rate_is_reported() -> None:
    assert drive(TokenBucket(20), 60).traffic.rate_limit == pytest.approx(20, rel=0.1)
    assert drive(Workers(), 10).traffic.rate_limit is None


def test_the_granted_rate_is_what_was_learnt_or_else_what_is_left_of_the_quota() -> None:
    async def granted(pace: Pace, quota: Quota | None = None) -> float:
        limiter = Limiter(Concurrency(4), pace, Traffic())
        async with limiter.slot() as slot:
            await limiter.wait_for_turn(slot)
            limiter.answered(slot, "kind", quota)
        return limiter.granted_rate()

    async def ask() -> None:
        assert await granted(Pace()) == math.inf
        assert await granted(Pace(3)) == 3
        assert await granted(Pace(), Quota(100, 50.0)) == 2
        assert await granted(Pace(1), Quota(100, 50.0)) == 1
        assert await granted(Pace(3), Quota(100, 50.0)) == 2
        assert await granted(Pace(), Quota(0, 50.0)) == math.inf  # it is a pause, not a rate
        learnt = Pace()
        learnt.learnt = 10
        assert 8 < await granted(learnt, Quota(1, 50.0)) <= 10

    trio.run(ask, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("remaining", ["-5", "0", f"{10**20}"])
def test_a_request_may_be_sent_whatever_is_left_of_the_quota(remaining: str) -> None:
    quota = Quota.of({"RateLimit-Remaining": remaining, "RateLimit-Reset": "0"}, now=0)

    async def ask_twice() -> None:
        limiter = Limiter(Concurrency(4), Pace(), Traffic())
        for _ in range(2):
            async with limiter.slot() as slot:
                await limiter.wait_for_turn(slot)
                limiter.answered(slot, "kind", quota)

    trio.run(ask_twice)
