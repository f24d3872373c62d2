"""Faults of HTTP responses, and an ASGI layer that injects them, determined by a seed."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from typing import Any

import anyio
import orjson

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

BOMB = gzip.compress(bytes(50_000_000))
_LOGIN = b"<!doctype html><html><title>Sign in to continue</title><form>Password</form></html>"
_STALL_S = 2.0


@dataclass(frozen=True)
class Reply:
    """An answer on its way to the client."""

    status: int
    headers: Headers
    body: bytes
    delay: float = 0.0

    def without(self, *names: bytes) -> Headers:
        return [pair for pair in self.headers if pair[0] not in names]

    def with_body(self, body: bytes) -> Reply:
        return replace(self, headers=self.without(b"content-length"), body=body)


Fault = Callable[[Reply, Random], Reply]


def too_many(reply: Reply, chance: Random) -> Reply:
    headers = chance.choice(
        [
            [],
            [(b"retry-after", b"0.02")],
            [(b"ratelimit-remaining", b"0"), (b"ratelimit-reset", b"0.03")],
        ]
    )
    return Reply(429, headers, b'{"error": "rate limit exceeded"}')


def failing(reply: Reply, chance: Random) -> Reply:
    status = chance.choice([408, 500, 502, 503, 504])
    return Reply(status, [], b"upstream said no %d" % chance.randrange(10**9))


def always_the_same(reply: Reply, chance: Random) -> Reply:
    return Reply(502, [], b"bad gateway")


def login_page(reply: Reply, chance: Random) -> Reply:
    return Reply(200, [(b"content-type", b"text/html")], _LOGIN)


def cut(reply: Reply, chance: Random) -> Reply:
    """An answer that ends early and does not know it."""
    return reply.with_body(reply.body[: chance.randrange(len(reply.body) or 1)])


def garbled(reply: Reply, chance: Random) -> Reply:
    """Bytes that are not valid text, so that the difference from the original is noticed."""
    body = bytearray(reply.body)
    for _ in range(chance.randint(1, 5)):
        if body:
            body[chance.randrange(len(body))] = chance.choice([0x00, 0xFF])
    return reply.with_body(bytes(body))


def bomb(reply: Reply, chance: Random) -> Reply:
    headers = [*reply.without(b"content-length"), (b"content-encoding", b"gzip")]
    return Reply(200, headers, BOMB)


def stalled(reply: Reply, chance: Random) -> Reply:
    return replace(reply, delay=_STALL_S)


def errors_beside_data(reply: Reply, chance: Random) -> Reply:
    answer = orjson.loads(reply.body)
    project = (answer.get("data") or {}).get("project") or {}
    if project:
        project[chance.choice(list(project))] = None
    answer["errors"] = [{"message": "context deadline exceeded", "path": ["project"]}]
    return reply.with_body(orjson.dumps(answer))


def _paged(reply: Reply, change: Callable[[dict[str, Any]], None]) -> Reply:
    answer = orjson.loads(reply.body)
    runs = ((answer.get("data") or {}).get("project") or {}).get("runs")
    if runs and runs["edges"]:
        change(runs)
    return reply.with_body(orjson.dumps(answer))


def cursor_for_ever(reply: Reply, chance: Random) -> Reply:
    def change(runs: dict[str, Any]) -> None:
        runs["pageInfo"]["hasNextPage"] = True
        for edge in runs["edges"]:
            edge["cursor"] = "again"

    return _paged(reply, change)


def skipped_run(reply: Reply, chance: Random) -> Reply:
    return _paged(reply, lambda runs: runs["edges"].pop(0) if len(runs["edges"]) > 1 else None)


def run_twice(reply: Reply, chance: Random) -> Reply:
    return _paged(reply, lambda runs: runs["edges"].insert(0, chance.choice(runs["edges"])))


def expired(reply: Reply, chance: Random) -> Reply:
    return Reply(403, [], b'{"error": "this link has expired"}')


API_FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        too_many,
        failing,
        always_the_same,
        login_page,
        cut,
        garbled,
        bomb,
        stalled,
        errors_beside_data,
        cursor_for_ever,
        skipped_run,
        run_twice,
    )
}
DOWNLOAD_FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        too_many,
        failing,
        always_the_same,
        login_page,
        cut,
        garbled,
        bomb,
        stalled,
        expired,
    )
}


@dataclass
class Weather:
    """Which faults there are, how often, and how many until the sky is clear.

    Whether an answer is spoilt depends on the seed, on what was asked and on how many
    times it was, but not on the order in which concurrent requests arrive.
    """

    seed: int = 0
    faults: tuple[str, ...] = ()
    rate: float = 0.0
    budget: float = math.inf
    elsewhere: str | None = None
    happened: Counter[str] = field(default_factory=Counter)
    asked: Counter[bytes] = field(default_factory=Counter)

    def fault_for(self, path: str, body: bytes) -> tuple[str, Fault, Random] | None:
        known = API_FAULTS if path.endswith("/graphql") else DOWNLOAD_FAULTS
        found = self.pick(known, path, body)
        return (found[0], known[found[0]], found[1]) if found else None

    def pick(self, known: Collection[str], path: str, body: bytes) -> tuple[str, Random] | None:
        """The name of the fault of this answer, if it has one, and its own randomness."""
        faults = [name for name in self.faults if name in known]
        question = sha256(path.encode() + body).digest()
        self.asked[question] += 1
        chance = Random(f"{self.seed} {question.hex()} {self.asked[question]}")
        if not faults or chance.random() >= self.rate or self.happened.total() >= self.budget:
            return None
        name = chance.choice(faults)
        self.happened[name] += 1
        return name, chance


class FaultLayer:
    """An ASGI app in front of another whose answers suffer from the weather.

    It sees every request, and keeps the headers of those that came to a host `elsewhere`.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self.weather = Weather()
        self.elsewhere: list[dict[str, str]] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        weather = self.weather
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        path: str = scope["path"]
        is_elsewhere = weather.elsewhere is not None and headers.get("host") == weather.elsewhere
        if is_elsewhere:
            self.elsewhere.append(headers)
        body = await _whole(receive)
        reply = await _answer(self._app, scope, body)
        if found := weather.fault_for(path, body):
            _, fault, chance = found
            reply = fault(reply, chance)
            await anyio.sleep(reply.delay)
        elif weather.elsewhere and not is_elsewhere and "/exports/" in path:
            query = scope["query_string"].decode()
            place = f"http://{weather.elsewhere}{path}?{query}".encode()
            reply = Reply(307, [(b"location", place), (b"set-cookie", b"id=1")], b"")
        length = (b"content-length", b"%d" % len(reply.body))
        start = [*reply.without(b"content-length"), length]
        await send({"type": "http.response.start", "status": reply.status, "headers": start})
        await send({"type": "http.response.body", "body": reply.body})


async def _whole(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _answer(app: App, scope: Message, body: bytes) -> Reply:
    parts: list[bytes] = []
    head: Message = {}
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            head.update(message)
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return Reply(head["status"], list(head["headers"]), b"".join(parts))
