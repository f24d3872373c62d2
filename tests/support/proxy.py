"""A TCP proxy whose connections break, stall and garble data, determined by a seed."""

from __future__ import annotations

import socket
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar, get_args

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal

_STALL_S = 2.0
_HEAD_END = b"\r\n\r\n"
Where = Literal["at once", "unanswered", "in the head", "after the head", "in the body", "later"]
What = Literal["reset", "close", "stall", "garble"]


@dataclass(frozen=True)
class Fate:
    """What becomes of a connection, and where in its first answer or in a later one.

    `depth` says how far within that: from 0 to 1.
    """

    where: Where
    what: What
    depth: float = 0.5

    @classmethod
    def drawn(cls, chance: Random) -> Fate:
        return cls(chance.choice(get_args(Where)), chance.choice(get_args(What)), chance.random())

    def offset(self, head: int) -> int:
        """How many bytes reach the client, if the first answer has a head of so many."""
        match self.where:
            case "in the head":
                return 1 + int(self.depth * (head - 2))
            case "after the head":
                return head
            case "in the body":
                return head + 1 + int(self.depth * 200)
            case "later":
                return head + int(100_000 * self.depth**4)
        return 0


class Relay(ABC):
    """Listens on a port, and does something with each connection to it."""

    port = 0

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            self.port = listener.extra(SocketAttribute.local_port)
            task_status.started()
            await listener.serve(self._connected)

    @abstractmethod
    async def _connected(self, client: SocketStream) -> None: ...


R = TypeVar("R", bound=Relay)


@contextmanager
def in_thread(relay: R) -> Iterator[R]:
    """The relay, which listens in a thread for as long as the block runs."""
    with start_blocking_portal() as portal:
        future, _ = portal.start_task(relay.serve)
        try:
            yield relay
        finally:
            future.cancel()


class Proxy(Relay):
    """Passes bytes on to a port of this machine. `fate` says what each new connection is in for."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.fate: Callable[[], Fate | None] = lambda: None
        self.fulfilled: Counter[tuple[Where, What]] = Counter()
        self.open = 0

    async def _connected(self, client: SocketStream) -> None:
        self.open += 1
        fate = self.fate()
        try:
            async with (
                client,
                await anyio.connect_tcp("127.0.0.1", self._target) as server,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(self._upwards, client, server, tasks.cancel_scope)
                await self._downwards(server, client, fate)
                tasks.cancel_scope.cancel()
        except OSError:
            pass  # one side left; so do we
        finally:
            self.open -= 1

    async def _upwards(
        self, client: SocketStream, server: SocketStream, scope: anyio.CancelScope
    ) -> None:
        try:
            async for data in client:
                await server.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        scope.cancel()

    async def _downwards(
        self, server: SocketStream, client: SocketStream, fate: Fate | None
    ) -> None:
        try:
            if fate is None or await self._meet(fate, server, client):
                async for data in server:
                    await client.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            pass

    async def _meet(self, fate: Fate, server: SocketStream, client: SocketStream) -> bool:
        """Pass bytes on until fate strikes. Whether the connection outlives it."""
        data = b""
        if fate.where != "at once":
            while _HEAD_END not in data:
                data += await server.receive()
        left = fate.offset(data.find(_HEAD_END) + len(_HEAD_END))
        while data and len(data) <= left:
            await client.send(data)
            left -= len(data)
            data = await server.receive()
        await client.send(data[:left])
        self.fulfilled[fate.where, fate.what] += 1
        if fate.what == "garble":
            await client.send(b"\0" + data[left + 1 :])
            return True
        if fate.what == "stall":
            await anyio.sleep(_STALL_S)
        if fate.what == "reset":
            raw: socket.socket = client.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


def proxy_to(port: int) -> AbstractContextManager[Proxy]:
    """A proxy in a thread, for as long as the block runs."""
    return in_thread(Proxy(port))
