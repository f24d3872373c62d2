"""One request's way through failures: what is tried again, until when, and what comes out."""

from __future__ import annotations

import logging
import ssl
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
from aiowandb.net.limiter import Limiter, Place
from aiowandb.net.retry import RetryPolicy, retry_after
from aiowandb.net.secrets import Secrets
from aiowandb.net.waits import Waits
from aiowandb.wire.graphql import refusal

T = TypeVar("T")
log = logging.getLogger("aiowandb.net")

_LONGEST_REFUSAL = 1 << 16


class Transient(Exception):
    """A try failed in a way that the next one may not."""

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
    """Tries until an answer is final, or until W&B has been silent for `timeout` seconds."""

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

    async def persist(
        self,
        name: str,
        once: Callable[[Attempt], Awaitable[T]],
        kind: Hashable = None,
        *,
        patient: bool = True,
    ) -> T:
        """What `once` gives when it succeeds. `name` says in errors what it was for.

        Requests of one `kind` take about the same time; None if nobody can say. Without
        patience only what is no fault of the question is tried again.
        """
        async with self.limiter.place() as place:
            attempt = Attempt(self, name, kind, place, patient=patient)
            await attempt.turn()
            # Standing in a line of our own was no silence of W&B: patience begins here.
            attempt.heard()
            with attempt.patience:
                while True:
                    try:
                        return await attempt.make(once)
                    except Transient as failure:
                        await attempt.recover(failure)
        raise attempt.error()

    def check(self, response: httpx.Response, body: bytes, name: str) -> None:
        """Raise what a response that is no success amounts to."""
        if response.is_success:
            return
        status = response.status_code
        error = refusal(status, body, operation=name)
        self._secrets.tell(error, response, body)
        error.retry_after = retry_after(response.headers.get("Retry-After"), time.time())
        quota = Quota.of(response.headers, time.time())
        if status == 429 and quota and quota.pause:
            error.retry_after = max(quota.pause, error.retry_after or 0.0)
        raise Transient(error, body) if self.policy.is_transient(status) else error


class Attempt:
    """A request that is being tried, until it succeeds or patience is over."""

    def __init__(
        self, attempts: Attempts, name: str, kind: Hashable, place: Place, *, patient: bool
    ) -> None:
        self.patience = anyio.CancelScope()
        self._patient = patient
        self._all = attempts
        self._name = name
        self._kind = kind
        self._place = place
        self._failures = 0
        self._alike = 0
        self._last: Transient | None = None
        self._host = attempts.waits.host
        self._started = 0.0

    async def accept(self, response: httpx.Response) -> None:
        """Learn from an answer's head, and raise what one that is no success amounts to."""
        self._all.was_answered = True
        self._host = response.request.url.netloc.decode()
        if response.is_success:
            self._all.waits.answered(self, self._host)
            quota = Quota.of(response.headers, time.time())
            self._all.limiter.answered(self._place, self._kind, quota)
        else:
            body = await bodies.beginning(response, _LONGEST_REFUSAL)
            self._all.check(response, body, self._name)

    def heard(self, *, is_new: bool = False) -> None:
        """The other side is alive, and may have got the work further than ever before."""
        self.patience.deadline = anyio.current_time() + self._all.timeout
        if self._started:
            self._all.waits.heard(self, self._all.timeout)
        if is_new:
            self._failures = 0

    def error(self) -> CommError:
        """What to raise when patience is over."""
        if self._last:
            return self._last.error
        return TimeoutError(
            f"{self._name}: no answer within {self._all.timeout:g} s.", operation=self._name
        )

    async def turn(self) -> None:
        """Wait until this may be sent."""
        limiter, timeout = self._all.limiter, self._all.timeout
        if 0 < (pause := limiter.pause_left()) <= timeout:
            self._all.waits.pausing(self._name, pause, timeout)
        if not await limiter.turn(self._place, timeout):
            pause = limiter.pause_left()
            raise RateLimitError(
                f"{self._name}: W&B asked for a pause that lasts another {pause:.0f} s,"
                f" longer than the time-out of {timeout:g} s.",
                operation=self._name,
                retry_after=pause,
            )

    async def make(self, once: Callable[[Attempt], Awaitable[T]]) -> T:
        """Try once. What may pass comes out as `Transient`."""
        name = self._name
        self._started = started = time.monotonic()
        self._all.waits.started(self, self._seconds_left)
        try:
            result = await once(self)
        except httpx.ConnectError as error:
            self._host = host = error.request.url.netloc.decode()
            if refused := _refused_certificate(error):
                raise ConnectError(
                    f"The certificate of {host} is not accepted: {refused}. One of your own"
                    " authority can be allowed with verify=.",
                    error,
                    operation=name,
                ) from error
            raise Transient(
                ConnectError(f"Nobody answers at {host}: {error}.", error, operation=name)
            ) from error
        except httpx.TimeoutException as error:
            self._host = host = error.request.url.netloc.decode()
            raise Transient(
                TimeoutError(f"{name}: {host} did not answer in time.", error, operation=name)
            ) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise CommError(f"{name}: {error}", error, operation=name) from error
        except httpx.TransportError as error:
            raise Transient(
                CommError(f"{name}: the connection broke: {error}.", error, operation=name)
            ) from error
        except ServerError as error:
            if error.operation is None:
                # Whoever counts bytes does not know what they were for.
                raise type(error)(f"{name}: {error}", error, operation=name) from error
            raise
        finally:
            self._all.waits.ended(self)
        log.debug("%s answered in %.0f ms", name, (time.monotonic() - started) * 1000)
        return result

    async def recover(self, failure: Transient) -> None:
        """Wait until the next try, or raise if there shall be none."""
        self._failures += 1
        self._alike = self._alike + 1 if failure.looks_like(self._last) else 1
        self._last = failure
        error = failure.error
        limiter = self._all.limiter
        seconds = self._all.policy.wait(self._failures - 1, error.retry_after)
        if isinstance(error, RateLimitError):
            limiter.refused(self._place, seconds)
        elif self._all.policy.is_overload(error):
            limiter.overloaded(self._place, error.retry_after or 0.0)
        if self._is_hopeless(error):
            raise error
        wait = max(seconds, limiter.pause_left())
        if anyio.current_time() + wait > self.patience.deadline:
            raise error
        self._tell_retry(error, wait)
        await anyio.sleep(seconds)
        await self.turn()

    @property
    def _seconds_left(self) -> float:
        """How long W&B may still be silent."""
        return self.patience.deadline - anyio.current_time()

    def _tell_retry(self, error: CommError, wait: float) -> None:
        left = self._seconds_left
        if isinstance(error, ConnectError) and not self._all.was_answered:
            is_last = self._failures + 1 >= self._all.policy.first_contact
            left = wait if is_last else left
        lasted = time.monotonic() - self._started
        self._all.waits.retrying(
            self._name, self._host, _reason(error), lasted=lasted, wait=wait, left=left
        )

    def _is_hopeless(self, error: CommError) -> bool:
        policy = self._all.policy
        if not self._patient and isinstance(error, ServerError | GraphQLError | TimeoutError):
            return True
        if isinstance(error, ConnectError) and not self._all.was_answered:
            return self._failures >= policy.first_contact
        if isinstance(error, ServerError | GraphQLError) and self._alike >= policy.same_failures:
            return True
        # That a connection breaks once or twice is no fault of the question.
        is_patient = self._patient or isinstance(error, ConnectError)
        most = policy.failures if is_patient else policy.same_failures
        return self._failures >= most and not isinstance(error, RateLimitError)


def _reason(error: CommError) -> str:
    """What happened, in so many words as a line of progress has room for."""
    if isinstance(error, ConnectError):
        return "nobody answers"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, GraphQLError):
        return "it answered with an error that may pass"
    return f"it answered {error.status}" if error.status else "the connection broke"


def _refused_certificate(error: BaseException | None) -> str | None:
    """Why the other side's certificate is refused, if that is what lies under the error."""
    while error:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None
