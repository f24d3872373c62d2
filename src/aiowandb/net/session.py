"""One connection to W&B: every request and every download passes here."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import IO, Self, TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
import msgspec

from aiowandb.config import Settings
from aiowandb.errors import (
    ApiKeyError,
    CommError,
    ConnectError,
    RateLimitError,
    ServerError,
    TimeoutError,
)
from aiowandb.net.credentials import Credentials
from aiowandb.net.limiter import Limiter
from aiowandb.net.retry import RetryPolicy, retry_after
from aiowandb.net.traffic import Traffic
from aiowandb.wire.graphql import Operation, refusal

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
log = logging.getLogger("aiowandb.net")

_MAX_DOWNLOADS = 8
_CHUNK = 1 << 20


class Session:
    """Asks W&B, within the limits, until it answers or the time is over."""

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.settings = settings
        self.traffic = Traffic()
        self._retry = retry or RetryPolicy()
        self._requests = Limiter(settings.max_concurrency)
        # Signed URLs usually lead to an object store, which has limits of its own.
        self._downloads = Limiter(_MAX_DOWNLOADS)
        self._was_answered = False
        self._http = httpx.AsyncClient(
            auth=Credentials(settings.base_url, settings.api_key),
            headers={"User-Agent": "aiowandb"},
            timeout=httpx.Timeout(30.0, connect=10.0, pool=None),
            limits=httpx.Limits(max_connections=settings.max_concurrency + _MAX_DOWNLOADS),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a session that is closed can ask nothing more."""
        with anyio.CancelScope(shield=True):
            await self._http.aclose()

    async def ask(self, operation: Operation[S]) -> S:
        """Send a GraphQL operation and give its data, or raise what the answer amounts to."""
        self._require_key()
        url = f"{self.settings.base_url}/graphql"
        body = operation.body()

        async def post() -> S:
            self.traffic.requests += 1
            response = await self._http.post(
                url, content=body, headers={"Content-Type": "application/json"}
            )
            self.traffic.received_bytes += len(response.content)
            self._check(response, operation.name)
            return operation.read(response.status_code, response.content)

        return await self._persist(operation.name, self._requests, post)

    async def download(self, url: str, into: IO[bytes]) -> None:
        """Write what lies at the URL into the file, from its start, whole or not at all."""
        name = f"Download of {_without_signature(url)}"

        async def get() -> None:
            self.traffic.downloads += 1
            into.seek(0)
            into.truncate()
            async with self._http.stream("GET", url, follow_redirects=True) as response:
                if response.status_code >= 300:
                    await response.aread()
                self._check(response, name)
                async for chunk in response.aiter_bytes(_CHUNK):
                    self.traffic.received_bytes += len(chunk)
                    await anyio.to_thread.run_sync(into.write, chunk)

        await self._persist(name, self._downloads, get)

    async def _persist(self, name: str, limiter: Limiter, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until the answer is final or the time is over."""
        last: _Transient | None = None
        alike = 1
        with anyio.move_on_after(self.settings.timeout):
            for number in itertools.count():
                try:
                    async with limiter.place():
                        return await self._translated(name, attempt)
                except _Transient as failure:
                    alike = alike + 1 if last and failure.looks_like(last) else 1
                    last = failure
                if self._is_hopeless(last.error, number + 1, alike):
                    raise last.error
                seconds = self._retry.wait(number, last.error.retry_after)
                log.debug("%s: try %d failed, next in %.1f s", name, number + 1, seconds)
                if isinstance(last.error, RateLimitError):
                    self.traffic.refused += 1
                    limiter.pause(seconds)
                else:
                    await anyio.sleep(seconds)
        if last:
            raise last.error
        raise TimeoutError(f"{name}: no answer within {self.settings.timeout:g} s.", operation=name)

    async def _translated(self, name: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Run one attempt; what another attempt may mend comes out as `_Transient`."""
        started = time.monotonic()
        try:
            result = await attempt()
        except httpx.ConnectError as error:
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

    def _check(self, response: httpx.Response, name: str) -> None:
        self._was_answered = True
        status = response.status_code
        if status < 300:
            return
        error = refusal(status, response.content, operation=name)
        error.retry_after = retry_after(response.headers.get("Retry-After"), time.time())
        if self._retry.is_transient(status):
            raise _Transient(error, response.content)
        raise error

    def _is_hopeless(self, error: CommError, tries: int, alike: int) -> bool:
        if isinstance(error, ConnectError) and not self._was_answered:
            return tries >= self._retry.first_contact
        return isinstance(error, ServerError) and alike >= self._retry.same_failures

    def _require_key(self) -> None:
        if self.settings.api_key is None:
            raise ApiKeyError(
                f"No API key for {self._host}: pass api_key=, set WANDB_API_KEY,"
                f" or put one into netrc with `wandb login --host {self.settings.base_url}`."
            )

    @property
    def _host(self) -> str:
        return urlsplit(self.settings.base_url).netloc


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


def _without_signature(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
