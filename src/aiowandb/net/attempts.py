"""Retries of one request: which failures are retried, until when, and what is raised in the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

import anyio
import httpx

from aiowandb.errors import (
    CommError,
    ConnectError,
    GraphQLError,
    RateLimitError,
    ServerError,
    TimeoutError,
)
from aiowandb.net import bodies
from aiowandb.net.adaptive import Quota
from aiowandb.net.failures import failure_of, host_of
from aiowandb.net.limiter import Limiter, Slot
from aiowandb.net.retry import RetryPolicy, retry_after
from aiowandb.net.secrets import Secrets
from aiowandb.net.waits import Waits
from aiowandb.redaction import without_frames
from aiowandb.wire.graphql import refusal

T = TypeVar("T")
# A server that is slow or restarted says so for a while; other statuses may be the request's fault.
_PASSING = frozenset({408, 503})

log = logging.getLogger("aiowandb.net")

# How much of an error response is read.
_MAX_ERROR_BODY = 1 << 16
# How much of an address is in a message.
LONGEST_SHOWN = 1_000


class Transient(Exception):
    """An attempt failed, and the next one may succeed."""

    def __init__(self, error: CommError, body: bytes | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.body = body

    def looks_like(self, other: Transient | None) -> bool:
        return (
            other is not None
            and self.body is not None
            and self.body == other.body
            and self.error.status == other.error.status
        )


class Attempts:
    """Sends a request until it succeeds, fails for good, or W&B is silent for `timeout` seconds."""

    def __init__(
        self,
        limiter: Limiter,
        policy: RetryPolicy,
        timeout: float,
        secrets: Secrets,
        waits: Waits,
    ) -> None:
        self.limiter = limiter
        self.waits = waits
        self.policy = policy
        self.timeout = timeout
        self.was_answered = False
        self._secrets = secrets

    async def run(
        self,
        name: str,
        send: Callable[[Attempt], Awaitable[T]],
        kind: Hashable = None,
        *,
        retry: bool = True,
    ) -> T:
        """Call `send` until it succeeds, and return its result. `name` is for error messages.

        Requests of one `kind` take about the same time; None if that is not known. With
        `retry=False` only failures that are not due to the request are retried: a broken
        connection, a rate limit.
        """
        try:
            async with self.limiter.slot() as slot:
                attempt = Attempt(self, name, kind, slot, retry=retry)
                await attempt.wait_for_turn()
                # The time in our own queue does not count: the deadline is for W&B's silence.
                attempt.extend_deadline()
                with attempt.scope:
                    while True:
                        try:
                            return await attempt.make(send)
                        except Transient as failure:
                            await attempt.recover(failure)
        except anyio.get_cancelled_exc_class():
            self.waits.interrupted(anyio.current_time(), name, self.waits.host)
            raise
        raise attempt.error()

    def check(self, response: httpx.Response, body: bytes, name: str) -> None:
        """Raise the exception for a response that is not a success."""
        if response.is_success:
            return
        status = response.status_code
        error = refusal(status, body, operation=name, redirects_to=_redirect(response))
        self._secrets.attach_response(error, response, body)
        error.retry_after = retry_after(response.headers.get("Retry-After"), time.time())
        quota = Quota.of(response.headers, time.time())
        if status == 429 and quota and quota.pause:
            error.retry_after = max(quota.pause, error.retry_after or 0.0)
        raise Transient(error, body) if self.policy.is_transient(status) else error


class Attempt:
    """A request that is sent until it succeeds or its deadline has passed."""

    def __init__(
        self, attempts: Attempts, name: str, kind: Hashable, slot: Slot, *, retry: bool
    ) -> None:
        self.scope = anyio.CancelScope()
        self._retry = retry
        self._all = attempts
        self._name = name
        self._kind = kind
        self._slot = slot
        self._failures = 0
        self._same_failures = 0
        self._last: Transient | None = None
        self._host = attempts.waits.host
        self._started = 0.0

    async def accept(self, response: httpx.Response) -> None:
        """Take note of a response's status and headers, and raise if it is not a success."""
        self._all.was_answered = True
        self._host = response.request.url.netloc.decode()
        if response.is_success:
            self._all.waits.answered(self, self._host)
            quota = Quota.of(response.headers, time.time())
            self._all.limiter.answered(self._slot, self._kind, quota)
        else:
            body = await bodies.read_prefix(response, _MAX_ERROR_BODY)
            self._all.check(response, body, self._name)

    def extend_deadline(self, *, is_new: bool = False) -> None:
        """The server has sent or taken data; `is_new` if it is data that no attempt got before."""
        self.scope.deadline = anyio.current_time() + self._all.timeout
        if self._started:
            self._all.waits.progressed(self, self._all.timeout)
        if is_new:
            self._failures = 0

    def error(self) -> CommError:
        """What to raise when the deadline has passed."""
        if self._last:
            return self._last.error
        source = "" if "://" in self._name else f" from {self._host}"
        return TimeoutError(
            f"{self._name}: no answer{source} within {self._all.timeout:g} s.",
            operation=self._name,
        )

    async def wait_for_turn(self) -> None:
        """Wait until the limits allow this request to be sent."""
        limiter, timeout = self._all.limiter, self._all.timeout
        if 0 < (pause := limiter.pause_left()) <= timeout:
            self._all.waits.pausing(self._name, pause, timeout)
        if not await limiter.wait_for_turn(self._slot, timeout):
            pause = limiter.pause_left()
            raise RateLimitError(
                f"{self._name}: W&B asked for a pause that lasts another {pause:.0f} s,"
                f" longer than the timeout of {timeout:g} s.",
                operation=self._name,
                retry_after=pause,
            )

    async def make(self, send: Callable[[Attempt], Awaitable[T]]) -> T:
        """Send it once. A failure that may pass is raised as `Transient`."""
        name = self._name
        self._started = started = time.monotonic()
        self._all.waits.started(self, self._seconds_left)
        try:
            result = await _without_frames_of_httpx(send, self)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise CommError(f"{name}: {error}", error, operation=name) from error
        except httpx.TransportError as error:
            self._host = host_of(error, self._host)
            failure, may_pass = failure_of(
                error, name, self._host, was_answered=self._all.was_answered
            )
            raise (Transient(failure) if may_pass else failure) from error
        except ServerError as error:
            if error.operation is None:
                # Raised where only bytes are known: say which operation they belong to.
                raise type(error)(f"{name}: {error}", error, operation=name) from error
            raise
        finally:
            self._all.waits.ended(self)
        log.debug("%s answered in %.0f ms", name, (time.monotonic() - started) * 1000)
        return result

    async def recover(self, failure: Transient) -> None:
        """Wait until the next attempt, or raise if there is to be none."""
        self._failures += 1
        self._same_failures = self._same_failures + 1 if failure.looks_like(self._last) else 1
        self._last = failure
        error = failure.error
        limiter = self._all.limiter
        seconds = self._all.policy.wait(self._failures - 1, error.retry_after)
        if isinstance(error, RateLimitError):
            limiter.refused(self._slot, seconds)
        elif self._all.policy.is_overload(error):
            limiter.overloaded(self._slot, error.retry_after or 0.0)
        if self._is_hopeless(error):
            raise error
        wait = max(seconds, limiter.pause_left())
        if anyio.current_time() + wait > self.scope.deadline:
            raise error
        self._report_retry(error, wait)
        await anyio.sleep(seconds)
        await self.wait_for_turn()

    @property
    def _seconds_left(self) -> float:
        """How long W&B may still be silent before this fails."""
        return self.scope.deadline - anyio.current_time()

    def _report_retry(self, error: CommError, wait: float) -> None:
        left = self._seconds_left
        if isinstance(error, ConnectError) and not self._all.was_answered:
            is_last = self._failures + 1 >= self._all.policy.max_connect_failures
            left = wait if is_last else left
        lasted = time.monotonic() - self._started
        self._all.waits.retrying(
            self._name, self._host, _reason(error), lasted=lasted, wait=wait, left=left
        )

    def _is_hopeless(self, error: CommError) -> bool:
        policy = self._all.policy
        if not self._retry and isinstance(error, ServerError | GraphQLError | TimeoutError):
            return True
        if isinstance(error, ConnectError) and not self._all.was_answered:
            return self._failures >= policy.max_connect_failures
        may_pass = error.status in _PASSING or isinstance(
            error, ConnectError | TimeoutError | RateLimitError
        )
        if not may_pass and self._same_failures >= policy.max_same_failures:
            return True
        # A connection that breaks once or twice says nothing about the request.
        is_persistent = self._retry or isinstance(error, ConnectError)
        limit = policy.max_failures if is_persistent else policy.max_same_failures
        return self._failures >= limit and not isinstance(error, RateLimitError)


def _redirect(response: httpx.Response) -> str | None:
    """Where it redirects to, as far as that may be shown."""
    if not response.has_redirect_location:
        return None
    try:
        return shown(response.url.join(response.headers["Location"]))
    except httpx.InvalidURL:
        return "what is no address"


def shown(url: httpx.URL) -> str:
    """The address for messages: without user and signature, and short."""
    path = url.raw_path.partition(b"?")[0].decode()
    text = f"{url.scheme}://{url.netloc.decode()}{path}"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _reason(error: CommError) -> str:
    """What happened, short enough for a progress line."""
    if isinstance(error, ConnectError):
        return "could not connect"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, GraphQLError):
        return "it answered with a temporary error"
    return f"it answered {error.status}" if error.status else "the connection broke"


async def _without_frames_of_httpx(send: Callable[[Attempt], Awaitable[T]], attempt: Attempt) -> T:
    """Send it; errors of httpx come without its frames, whose variables show signed links."""
    try:
        return await send(attempt)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        without_frames(error)
        raise
