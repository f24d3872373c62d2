"""One connection to W&B: every request and every transfer of a file passes here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from types import TracebackType
from typing import IO, Any, Self, TypeVar
from urllib.parse import urlsplit

import anyio
import httpx
import msgspec

from aiowandb.concurrency.read_ahead import ReadAhead
from aiowandb.concurrency.tasks import OnDemand, Stream
from aiowandb.config.settings import Settings, app_url
from aiowandb.errors import ApiKeyError, CommError, GraphQLError, ServerError
from aiowandb.net import bodies
from aiowandb.net.adaptive import Concurrency, Pace
from aiowandb.net.attempts import Attempt, Attempts, Transient
from aiowandb.net.auth import Signing
from aiowandb.net.cache import Answer, Answers
from aiowandb.net.lifetime import Lifetime
from aiowandb.net.limiter import Limiter
from aiowandb.net.retry import RetryPolicy
from aiowandb.net.secrets import Secrets
from aiowandb.net.spool import Spool
from aiowandb.net.traffic import Traffic, count
from aiowandb.net.transfer import Piece, Transfers
from aiowandb.net.transports import open_client
from aiowandb.net.waits import Waits
from aiowandb.wire.graphql import MALFORMED, Operation
from aiowandb.wire.server import Feature, FeaturesData, server_features

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")

_MAX_KEPT = 64 << 20
_MAX_ANSWER = 1 << 30
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
        # What the server can do, once it was asked; see `net/features.py`.
        self.features: FeaturesData | None = None
        self._answers = Answers(_MAX_KEPT)
        retry = retry or RetryPolicy()
        most = settings.max_concurrency
        requests = Limiter(Concurrency(most), Pace(settings.max_rate), self.traffic)
        self._secrets = secrets = Secrets(settings.credentials, settings.base_url)
        # Who keeps this session waiting, requests and transfers alike.
        self.waits = Waits(self.host)
        self._requests = Attempts(requests, retry, settings.timeout, secrets, self.waits)
        self._http = open_client(
            settings,
            auth=Signing(settings, secrets, self._requests.check),
            max_connections=2 * most,
            transport=transport,
        )
        self._lifetime = Lifetime(self._http)
        # Signed URLs usually lead to an object store, which has limits of its own and no need
        # of a slow start.
        transfers = Limiter(Concurrency(most, most), Pace(), self.traffic)
        self._transfers = Transfers(
            self._http,
            Attempts(transfers, retry, settings.timeout, secrets, self.waits),
            self.traffic,
        )

    @property
    def host(self) -> str:
        return urlsplit(self.settings.base_url).netloc

    @property
    def is_entered(self) -> bool:
        """Whether there may be tasks that work ahead of the users."""
        self.require_open()
        return self._lifetime.is_entered

    @property
    def is_closed(self) -> bool:
        return self._lifetime.is_closed

    def require_open(self) -> None:
        """An error where nothing can be asked any more."""
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
        """Stop what is under way and close the connections. Any task of the loop may do it."""
        await self._lifetime.aclose()

    def ahead(self, items: AsyncGenerator[T]) -> Stream[T]:
        """The same items, the next one under way while this one is used, if that can be."""
        if not self.is_entered:
            return OnDemand(items)
        self._lifetime.require_loop()
        return ReadAhead(items, self._lifetime.tasks)

    async def ask(self, operation: Operation[S]) -> S:
        """Send a GraphQL operation and give its data, or raise what the answer amounts to."""
        answer = await self.answer(operation)
        if operation.changes:
            self._answers.flush()
        data: S = answer.data
        return data

    async def answer(self, operation: Operation[S], *, patient: bool = True) -> Answer:
        """The answer to a question, and what it took.

        Whoever has another way to ask is not `patient`: a failure of the server or a
        time-out is then raised the first time.
        """
        self._lifetime.require_loop()
        self._require_key()
        question = operation.body()
        tries = 0

        async def post(attempt: Attempt) -> Answer:
            nonlocal tries
            tries += 1
            started = anyio.current_time()
            response, body = await self._post(attempt, "/graphql", question)
            seconds = anyio.current_time() - started
            try:
                return Answer(operation.read(200, body), len(body), seconds, tries)
            except (ServerError, GraphQLError) as error:
                self._secrets.tell(error, response, body)
                if isinstance(error, ServerError) or error.may_pass:
                    raise Transient(error, body) from error
                raise

        # Long questions are about many things, and take their time.
        kind = (operation.name, len(question).bit_length())
        with self._lifetime.call():
            return await self._requests.persist(operation.name, post, kind, patient=patient)

    async def recall(self, operation: Operation[S], *, fresh: bool = False) -> S:
        """The answer to a question that was asked before, else `ask`. Do not change it.

        A `fresh` one is asked in any case.
        """
        if fresh:
            return await self.ask(operation)

        async def ask() -> Answer:
            return await self.answer(operation)

        self._lifetime.require_loop()
        data: S = await self._answers.get(operation.body(), ask)
        return data

    def flush(self) -> None:
        """Forget what `recall` has kept."""
        self._answers.flush()

    async def post(self, name: str, path: str, content: Any, answer: type[S]) -> S:
        """Send JSON to a path under the base URL."""
        self._lifetime.require_loop()
        self._require_key()
        body = msgspec.json.encode(content)

        async def post(attempt: Attempt) -> S:
            response, found = await self._post(attempt, path, body)
            try:
                return msgspec.json.decode(found, type=answer)
            except MALFORMED as error:
                malformed = ServerError(
                    f"{name}: the answer is not what W&B says ({error}).", error, operation=name
                )
                self._secrets.tell(malformed, response, found)
                raise Transient(malformed, found) from error

        with self._lifetime.call():
            return await self._requests.persist(name, post, (name, len(body).bit_length()))

    async def download(
        self, url: str, into: IO[bytes] | Spool, *, max_bytes: int | None = None
    ) -> None:
        """Write what lies at the URL into the file, whole; more than `max_bytes` is an error.

        It takes as long as it takes: the time-out is for silence.
        """
        with self._lifetime.call():
            await self._transfers.download(url, into, max_bytes)

    async def piece(self, url: str, wanted: str) -> Piece | None:
        """Some bytes of a file, as an HTTP range names them: `0-99`, or `-100` for the last ones.

        None if whoever has the file gives it whole only.
        """
        with self._lifetime.call():
            return await self._transfers.piece(url, wanted)

    async def upload(
        self,
        url: str,
        content: Callable[[], AsyncIterable[bytes]],
        size: int,
        headers: Mapping[str, str],
    ) -> None:
        """Put the content at the URL. Each try calls `content` for the bytes from their start."""
        with self._lifetime.call():
            await self._transfers.upload(url, content, size, headers)

    async def _post(
        self, attempt: Attempt, path: str, content: bytes
    ) -> tuple[httpx.Response, bytes]:
        count(self.traffic, requests=1)
        url = self.settings.base_url + path
        async with self._http.stream("POST", url, content=content, headers=_JSON) as response:
            await attempt.accept(response)
            body = await bodies.whole(response, _MAX_ANSWER)
            count(self.traffic, received_bytes=len(body))
            return response, body

    def _require_key(self) -> None:
        if self.settings.credentials is None:
            raise ApiKeyError(
                f"No API key for {self.host}: pass api_key=, set WANDB_API_KEY,"
                f" or put one into netrc with `aiowandb login --host {self.settings.base_url}`."
                f" Yours is at {app_url(self.settings.base_url)}/authorize."
            )


async def announces(session: Session, feature: Feature) -> bool:
    """Whether the server says that it has this feature. It is asked once in a session."""
    if session.features is None:
        try:
            session.features = await session.ask(server_features())
        except CommError as error:
            if error.status in (200, 400):  # it is older than the question
                return False
            raise
    return session.features.has(feature)
