"""The session: every request to W&B and every transfer of a file goes through it."""

from __future__ import annotations

from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from contextlib import AbstractContextManager
from functools import partial
from gzip import compress
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

import anyio
import httpx
import msgspec

from aiowandb.concurrency.background import BackgroundTask
from aiowandb.concurrency.read_ahead import ReadAhead
from aiowandb.concurrency.tasks import OnDemand, Stream
from aiowandb.concurrency.threads import run_sync
from aiowandb.config.settings import Settings, app_url
from aiowandb.errors import (
    ApiKeyError,
    CommError,
    GraphQLError,
    ServerError,
    UsageError,
)
from aiowandb.net import bodies
from aiowandb.net.adaptive import Concurrency, Pace
from aiowandb.net.attempts import Attempt, Attempts, Transient
from aiowandb.net.auth import HostAuth
from aiowandb.net.cache import Answer, ResponseCache
from aiowandb.net.lifetime import Lifetime
from aiowandb.net.limiter import Limiter
from aiowandb.net.memory import MemoryBudget
from aiowandb.net.renames import Renamed, Renames
from aiowandb.net.retry import RetryPolicy
from aiowandb.net.secrets import Secrets
from aiowandb.net.total_time import limited, limited_steps
from aiowandb.net.traffic import Traffic, count
from aiowandb.net.transfer import Piece, Target, Transfers
from aiowandb.net.transports import HttpClient, make_client
from aiowandb.net.waits import Waits
from aiowandb.paths import RunRef
from aiowandb.redaction import Link, without_frames
from aiowandb.wire.graphql import MALFORMED, Operation, RenamedProjectError
from aiowandb.wire.server import Feature, FeaturesData, server_features

S = TypeVar("S")
T = TypeVar("T")

_MAX_CACHED_BYTES = 64 << 20
# However small the budget is: this is what a page of runs may have.
_LEAST_LIMIT = 64 << 20
_JSON = {"Content-Type": "application/json"}
# Smaller bodies fit into a few packets anyhow. Higher levels take longer than sending does.
_WORTH_COMPRESSING = 4 << 10
_QUICKLY = 1


class Session:
    """Sends requests to W&B within the limits, and retries them until they succeed or time out.

    Inside of its `async with` block it can also read ahead; without, it works on demand.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        retry: RetryPolicy | None = None,
        max_response_bytes: int = 1 << 30,
    ) -> None:
        self.settings = settings
        # How large a response may become once it is decompressed, or a file of unknown size.
        self.max_response_bytes = max_response_bytes
        self.transport = transport
        self.traffic = Traffic()
        # What the server supports, once it was asked; see `supports`.
        self.features: FeaturesData | None = None
        # How often the Parquet files of a run could not be fetched, so that it was read as JSON.
        self.read_as_json = Counter[RunRef]()
        # Whether what W&B says of the rows of runs is true of them, once it was asked.
        self.row_facts_are_true: bool | None = None
        # How often this session has changed something at W&B, or its cache was flushed.
        self.changes = 0
        self.memory = MemoryBudget(settings.max_memory)
        self._cache = ResponseCache(_MAX_CACHED_BYTES)
        self._renames = Renames()
        retry = retry or RetryPolicy()
        max_concurrency = settings.max_concurrency
        requests = Limiter(Concurrency(max_concurrency), Pace(settings.max_rate), self.traffic)
        self._secrets = secrets = Secrets(settings.credentials, settings.base_url, settings.headers)
        # What this session waits for, in requests and transfers.
        self.waits = Waits(self.host)
        self._requests = Attempts(requests, retry, settings.timeout, secrets, self.waits)
        self._http = HttpClient(
            partial(
                make_client,
                settings,
                auth=HostAuth(settings, secrets, self._requests.check),
                max_connections=2 * max_concurrency,
                transport=transport,
            )
        )
        self._lifetime = Lifetime(self._http)
        # Signed URLs usually lead to an object store, which has limits of its own and needs no
        # slow start.
        transfers = Limiter(Concurrency(max_concurrency, max_concurrency), Pace(), self.traffic)
        self._transfers = Transfers(
            self._http,
            Attempts(transfers, retry, settings.timeout, secrets, self.waits),
            self.traffic,
        )

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "An object that asks W&B cannot be sent to another process, because it needs its"
            " connection: send its path, and create an API client there."
        )

    @property
    def host(self) -> str:
        return urlsplit(self.settings.base_url).netloc

    @property
    def granted_rate(self) -> float:
        """How many requests a second may start, by what W&B said last; infinite if unknown."""
        return self._requests.limiter.granted_rate()

    @property
    def is_entered(self) -> bool:
        """Whether it may start tasks that read ahead."""
        self.require_open()
        return self._lifetime.is_entered

    @property
    def is_closed(self) -> bool:
        return self._lifetime.is_closed

    def require_open(self) -> None:
        """Raise if the session is closed."""
        self._lifetime.require_open()

    async def __aenter__(self) -> Self:
        self._lifetime.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel requests in progress and close the connections, from any task of the loop."""
        await self._lifetime.aclose()

    def ahead(
        self, items: AsyncGenerator[T], on_left: Callable[[], object] = lambda: None
    ) -> Stream[T]:
        """The same items; inside of `async with` the next one is read while this one is used.

        `on_left` is called when a loop over these is left.
        """
        if (total := self.settings.total_timeout) is not None:
            items = limited_steps(items, total, self.waits)
        return self.read_ahead(items, on_left) if self.is_entered else OnDemand(items)

    def limited(self, what: str) -> AbstractContextManager[None]:
        """Cancel what the block does after `total_timeout` seconds, and raise a `TimeoutError`."""
        return limited(self.settings.total_timeout, what, self.waits)

    def read_ahead(
        self, items: AsyncGenerator[T], on_left: Callable[[], object] = lambda: None
    ) -> ReadAhead[T]:
        """The same items, read by a task of the session, which must be entered."""
        self._lifetime.require_loop()
        return ReadAhead(items, self._lifetime.tasks, on_left=on_left)

    def start(self, work: Callable[[], Awaitable[object]]) -> BackgroundTask:
        """Run `work`, which handles its own errors, in a task that ends with the session."""
        self._lifetime.require_loop()
        return self._lifetime.tasks.start(work)

    async def ask(self, operation: Operation[S]) -> S:
        """Send a GraphQL operation and return its data, or raise what W&B answered."""
        data: S = (await self.answer(operation)).data
        return data

    async def answer(
        self, operation: Operation[S], *, retry: bool = True, max_bytes: int | None = None
    ) -> Answer:
        """Send a GraphQL operation and return its data with what it cost.

        With `retry=False` an error of the server or a timeout is raised at once: for callers
        that have another way to ask.
        """
        self._lifetime.require_loop()
        self._require_key()
        send = partial(self._answer, operation, retry=retry, max_bytes=max_bytes)
        return await self._renames.checked(send, self.ask)

    async def _answer(
        self, operation: Operation[S], renamed: Renamed, *, retry: bool, max_bytes: int | None
    ) -> Answer:
        content = operation.body()
        tries = 0

        async def send_once(attempt: Attempt) -> Answer:
            nonlocal tries
            tries += 1
            started = anyio.current_time()
            response, body = await self._send(attempt, "/graphql", content, max_bytes=max_bytes)
            seconds = anyio.current_time() - started
            try:
                return Answer(operation.read(200, body, renamed), len(body), seconds, tries)
            except (ServerError, GraphQLError) as error:
                self._secrets.attach_response(error, response, body)
                failure = Transient(error, body)
                del body  # may have signed links, and error reports show variables
                without_frames(error)
                if isinstance(error, RenamedProjectError):
                    raise error  # only another request can tell whether it may pass
                if isinstance(error, ServerError) or error.may_pass:
                    raise failure from error
                raise error

        # A long request asks for many things, and takes longer.
        kind = (operation.name, len(content).bit_length())
        try:
            with self._lifetime.call():
                return await self._requests.run(operation.name, send_once, kind, retry=retry)
        finally:
            # W&B may have carried it out though the answer was lost.
            if operation.changes:
                self.flush()

    async def ask_cached(self, operation: Operation[S], *, fresh: bool = False) -> S:
        """As `ask`, but sent once for equal operations: do not change what it returns.

        With `fresh=True` it is sent in any case.
        """
        if fresh:
            return await self.ask(operation)

        async def ask() -> Answer:
            return await self.answer(operation)

        self._lifetime.require_loop()
        data: S = await self._cache.get(operation.body(), ask)
        return data

    def is_cached(self, operation: Operation[S]) -> bool:
        """Whether `ask_cached` has the response already."""
        return self._cache.has(operation.body())

    def keep_expected(
        self, answers: Iterable[tuple[Operation[S], Any, int]], changes: int, seconds: float
    ) -> None:
        """Cache answers to operations that are expected soon, with their sizes in bytes.

        They are dropped if they are not used within so many seconds, and not kept at all if
        something was changed since `changes` was read.
        """
        if changes == self.changes:
            until = anyio.current_time() + seconds
            for operation, data, size in answers:
                self._cache.keep_unused(operation.body(), Answer(data, size), until)

    def flush(self) -> None:
        """Empty the cache of `ask_cached`."""
        self.changes += 1
        self._cache.flush()

    async def post(
        self, name: str, path: str, content: Any, response_type: type[S], *, gzip: bool = False
    ) -> S:
        """Send JSON to a path below the base URL; with `gzip`, compressed."""
        self._lifetime.require_loop()
        self._require_key()
        body = msgspec.json.encode(content)
        headers = _JSON
        if gzip and len(body) >= _WORTH_COMPRESSING:
            body = await run_sync(compress, body, _QUICKLY)
            headers = _JSON | {"Content-Encoding": "gzip"}

        async def send_once(attempt: Attempt) -> S:
            response, found = await self._send(attempt, path, body, headers)
            try:
                return msgspec.json.decode(found, type=response_type)
            except MALFORMED as error:
                malformed = ServerError(
                    f"{name}: W&B sent a response of the wrong form ({error}).",
                    error,
                    operation=name,
                )
                self._secrets.attach_response(malformed, response, found)
                raise Transient(malformed, found) from error

        try:
            with self._lifetime.call():
                return await self._requests.run(name, send_once, (name, len(body).bit_length()))
        finally:
            self.changes += 1

    def link(self, url: str) -> Link:
        """A link that W&B sent; those to W&B itself may have no host."""
        return Link(self.settings.base_url + url if url.startswith("/") else url)

    async def download(self, link: Link, into: Target, *, max_bytes: int | None = None) -> None:
        """Write the file behind the link into `into`; more than `max_bytes` bytes are an error.

        There is no limit for the whole download: the timeout is for silence.
        """
        with self._lifetime.call():
            await self._transfers.download(link, into, max_bytes, self.max_response_bytes)

    async def piece(self, link: Link, byte_range: str) -> Piece | None:
        """Some bytes of a file, given as an HTTP range: `0-99`, or `-100` for the last ones.

        None if the server does not support ranges.
        """
        with self._lifetime.call():
            return await self._transfers.piece(link, byte_range)

    async def upload(
        self,
        link: Link,
        content: Callable[[], AsyncIterable[bytes]],
        size: int,
        headers: Mapping[str, str],
    ) -> None:
        """Upload to the link. Each attempt calls `content` for the bytes from the start."""
        with self._lifetime.call():
            await self._transfers.upload(link, content, size, headers)

    async def _send(
        self,
        attempt: Attempt,
        path: str,
        content: bytes,
        headers: Mapping[str, str] = _JSON,
        max_bytes: int | None = None,
    ) -> tuple[httpx.Response, bytes]:
        count(self.traffic, requests=1)
        link = Link(self.settings.base_url + path)
        async with self._http.stream("POST", link, content=content, headers=headers) as response:
            await attempt.accept(response)
            most = min(self.max_response_bytes, max(_LEAST_LIMIT, self.settings.max_memory))
            body = await bodies.read_all(response, max_bytes or most)
            count(self.traffic, received_bytes=len(body))
            return response, body

    def _require_key(self) -> None:
        if self.settings.credentials is None:
            raise ApiKeyError(
                f"No API key for {self.host}: pass api_key=, set WANDB_API_KEY,"
                f" or save one with `aiowandb login --host {self.settings.base_url}`."
                f" Find yours at {app_url(self.settings.base_url)}/authorize."
            )


async def supports(session: Session, feature: Feature) -> bool:
    """Whether the server has this feature. It is asked once in a session."""
    if session.features is None:
        try:
            session.features = await session.ask(server_features())
        except CommError as error:
            # It is too old to know the query. After any other error, what it can do is unknown.
            if "Cannot query field" not in str(error):
                raise
            session.features = FeaturesData()
    return session.features.has(feature)
