"""One connection to W&B: every request and every transfer of a file passes here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import IO, Any, Self, TypeVar, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
import msgspec
from anyio.abc import TaskGroup

from aiowandb.config import Settings
from aiowandb.errors import ApiKeyError
from aiowandb.net.answers import Answer, Answers
from aiowandb.net.attempts import Attempts
from aiowandb.net.client import open_client
from aiowandb.net.credentials import Signing
from aiowandb.net.limiter import Limiter
from aiowandb.net.retry import RetryPolicy
from aiowandb.net.traffic import Traffic
from aiowandb.tasks import ReadAhead, Stream
from aiowandb.wire.graphql import Operation

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")

_MAX_TRANSFERS = 8
_CHUNK = 1 << 20
_MAX_KEPT = 64 << 20
_JSON = {"Content-Type": "application/json"}


class Session:
    """Asks W&B, within the limits, until it answers or the time is over.

    Entered with `async with` it can also work ahead of its users; without, it works
    on demand only.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.settings = settings
        self.traffic = Traffic()
        self._attempts = Attempts(retry or RetryPolicy(), self.host, settings.timeout, self.traffic)
        self._requests = Limiter(settings.max_concurrency)
        # Signed URLs usually lead to an object store, which has limits of its own.
        self._transfers = Limiter(_MAX_TRANSFERS)
        self._answers = Answers(_MAX_KEPT)
        self._tasks: TaskGroup | None = None
        self._http = open_client(
            settings,
            auth=Signing(settings, self._attempts.check),
            max_connections=settings.max_concurrency + _MAX_TRANSFERS,
            transport=transport,
        )

    @property
    def host(self) -> str:
        return urlsplit(self.settings.base_url).netloc

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop what is under way and close the connections."""
        tasks, self._tasks = self._tasks, None
        try:
            if tasks:
                tasks.cancel_scope.cancel()
                await tasks.__aexit__(None, None, None)
        finally:
            with anyio.CancelScope(shield=True):
                await self._http.aclose()

    def ahead(self, items: AsyncGenerator[T]) -> Stream[T]:
        """The same items, the next one under way while this one is used, if that can be."""
        return ReadAhead(items, self._tasks) if self._tasks else items

    async def ask(self, operation: Operation[S], *, patient: bool = True) -> S:
        """Send a GraphQL operation and give its data, or raise what the answer amounts to.

        Whoever has another way to ask is not `patient`: a failure of the server or a
        time-out is then raised the first time.
        """
        answer = await self._answer(operation, patient=patient)
        if operation.changes:
            self._answers.flush()
        data: S = answer.data
        return data

    async def recall(self, operation: Operation[S]) -> S:
        """The answer to a question that was asked before, else `ask`. Do not change it."""

        async def ask() -> Answer:
            return await self._answer(operation)

        data: S = await self._answers.get(operation.body(), ask)
        return data

    def flush(self) -> None:
        """Forget what `recall` has kept."""
        self._answers.flush()

    async def post(self, name: str, path: str, content: Any, answer: type[S]) -> S:
        """Send JSON to a path under the base URL."""
        self._require_key()
        body = msgspec.json.encode(content)

        async def post() -> S:
            self.traffic.requests += 1
            response = await self._http.post(
                self.settings.base_url + path, content=body, headers=_JSON
            )
            self._attempts.check(response, name)
            return msgspec.json.decode(response.content, type=answer)

        return await self._attempts.persist(name, self._requests, post)

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
                self._attempts.check(response, name)
                content = cast("AsyncGenerator[bytes, None]", response.aiter_bytes(_CHUNK))
                async with aclosing(content) as chunks:
                    async for chunk in chunks:
                        self.traffic.received_bytes += len(chunk)
                        await anyio.to_thread.run_sync(into.write, chunk)

        await self._attempts.persist(name, self._transfers, get)

    async def upload(
        self,
        url: str,
        content: Callable[[], AsyncIterable[bytes]],
        size: int,
        headers: Mapping[str, str],
    ) -> None:
        """Put the content at the URL. Each try calls `content` for the bytes from their start."""
        name = f"Upload to {_without_signature(url)}"
        all_headers = {**headers, "Content-Length": str(size)}

        async def put() -> None:
            response = await self._http.put(url, content=content(), headers=all_headers)
            self._attempts.check(response, name)

        await self._attempts.persist(name, self._transfers, put)

    async def _answer(self, operation: Operation[S], *, patient: bool = True) -> Answer:
        self._require_key()
        url = f"{self.settings.base_url}/graphql"
        body = operation.body()

        async def post() -> Answer:
            self.traffic.requests += 1
            response = await self._http.post(url, content=body, headers=_JSON)
            self.traffic.received_bytes += len(response.content)
            self._attempts.check(response, operation.name)
            data = operation.read(response.status_code, response.content)
            return Answer(data, len(response.content))

        return await self._attempts.persist(operation.name, self._requests, post, patient=patient)

    def _require_key(self) -> None:
        if self.settings.credentials is None:
            raise ApiKeyError(
                f"No API key for {self.host}: pass api_key=, set WANDB_API_KEY,"
                f" or put one into netrc with `aiowandb login --host {self.settings.base_url}`."
            )


def _without_signature(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
