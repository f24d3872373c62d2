"""One request's way through failures: what is tried again, until when, and what comes out."""

from __future__ import annotations

import itertools
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import httpx

from aiowandb.errors import CommError, ConnectError, RateLimitError, ServerError, TimeoutError
from aiowandb.net.limiter import Limiter
from aiowandb.net.retry import RetryPolicy, retry_after
from aiowandb.net.traffic import Traffic
from aiowandb.wire.graphql import refusal

T = TypeVar("T")
log = logging.getLogger("aiowandb.net")


class Attempts:
    """Tries until an answer is final or the time is over."""

    def __init__(self, policy: RetryPolicy, host: str, timeout: float, traffic: Traffic) -> None:
        self._policy = policy
        self._host = host
        self._timeout = timeout
        self._traffic = traffic
        self._was_answered = False

    async def persist(
        self,
        name: str,
        limiter: Limiter,
        attempt: Callable[[], Awaitable[T]],
        *,
        patient: bool = True,
    ) -> T:
        """What the attempt gives once it succeeds. `name` says in errors what it was for.

        Without patience only what is no fault of the question is tried again.
        """
        last: _Transient | None = None
        alike = 1
        with anyio.move_on_after(self._timeout):
            for number in itertools.count():
                try:
                    async with limiter.place():
                        return await self._once(name, attempt)
                except _Transient as failure:
                    alike = alike + 1 if last and failure.looks_like(last) else 1
                    last = failure
                if not patient and isinstance(last.error, ServerError | TimeoutError):
                    raise last.error
                if self._is_hopeless(last.error, number + 1, alike):
                    raise last.error
                seconds = self._policy.wait(number, last.error.retry_after)
                log.debug("%s: try %d failed, next in %.1f s", name, number + 1, seconds)
                if isinstance(last.error, RateLimitError):
                    self._traffic.refused += 1
                    limiter.pause(seconds)
                else:
                    await anyio.sleep(seconds)
        if last:
            raise last.error
        raise TimeoutError(f"{name}: no answer within {self._timeout:g} s.", operation=name)

    def check(self, response: httpx.Response, name: str) -> None:
        """Raise what a response that is no success amounts to; its body must have been read."""
        self._was_answered = True
        status = response.status_code
        if status < 300:
            return
        error = refusal(status, response.content, operation=name)
        error.retry_after = retry_after(response.headers.get("Retry-After"), time.time())
        if self._policy.is_transient(status):
            raise _Transient(error, response.content)
        raise error

    async def _once(self, name: str, attempt: Callable[[], Awaitable[T]]) -> T:
        started = time.monotonic()
        try:
            result = await attempt()
        except httpx.ConnectError as error:
            if refused := _refused_certificate(error):
                raise ConnectError(
                    f"The certificate of {self._host} is not accepted: {refused}. One of your own"
                    " authority can be allowed with verify=.",
                    error,
                    operation=name,
                ) from error
            raise _Transient(
                ConnectError(f"Nobody answers at {self._host}: {error}.", error, operation=name)
            ) from error
        except httpx.TimeoutException as error:
            raise _Transient(
                TimeoutError(f"{name}: {self._host} did not answer in time.", error, operation=name)
            ) from error
        except httpx.TransportError as error:
            raise _Transient(
                CommError(f"{name}: the connection broke: {error}.", error, operation=name)
            ) from error
        except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
            raise CommError(f"{name}: {error}", error, operation=name) from error
        log.debug("%s answered in %.0f ms", name, (time.monotonic() - started) * 1000)
        return result

    def _is_hopeless(self, error: CommError, tries: int, alike: int) -> bool:
        if isinstance(error, ConnectError) and not self._was_answered:
            return tries >= self._policy.first_contact
        return isinstance(error, ServerError) and alike >= self._policy.same_failures


class _Transient(Exception):
    """An attempt failed in a way that the next one may not."""

    def __init__(self, error: CommError, body: bytes | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.body = body

    def looks_like(self, other: _Transient) -> bool:
        return (
            self.body is not None
            and self.body == other.body
            and self.error.status == other.error.status
        )


def _refused_certificate(error: BaseException | None) -> str | None:
    """Why the other side's certificate is refused, if that is what lies under the error."""
    while error:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None
