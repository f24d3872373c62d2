"""A TCP proxy whose connections break, stall and garble, as a seed says."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Literal

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal

_STALL_S = 2.0
# Before the head of the first answer, in it, in its body, in later answers.
_OFFSETS = (0, 12, 90, 500, 3_000, 20_000, 100_000)


@dataclass(frozen=True)
class Fate:
    """What becomes of a connection once so many bytes went to the client."""

    after: int
    what: Literal["reset", "close", "stall", "garble"]

    @classmethod
    def drawn(cls, chance: Random) -> Fate:
        offset = chance.choice(_OFFSETS)
        return cls(
            chance.randint(offset // 2, offset),
            chance.choice(["reset", "close", "stall", "garble"]),
        )


class Proxy:
    """Passes bytes on to a port of this machine. `fate` says what each new connection is in for."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.fate: Callable[[], Fate | None] = lambda: None
        self.port = 0
        self.open = 0

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            self.port = listener.extra(SocketAttribute.local_port)
            task_status.started()
            await listener.serve(self._connected)

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
        passed = 0
        try:
            if fate and fate.after == 0 and fate.what != "garble":
                await self._fulfil(client, fate)
                return
            async for data in server:
                if fate and passed + len(data) > fate.after:
                    here = fate.after - passed
                    if fate.what != "garble":
                        await client.send(data[:here])
                        await self._fulfil(client, fate)
                        return
                    data = data[:here] + b"\0" + data[here + 1 :]
                    fate = None
                passed += len(data)
                await client.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass

    async def _fulfil(self, client: SocketStream, fate: Fate) -> None:
        if fate.what == "stall":
            await anyio.sleep(_STALL_S)
        if fate.what == "reset":
            raw: socket.socket = client.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """A proxy in a thread, for as long as the block runs."""
    proxy = Proxy(port)
    with start_blocking_portal() as portal:
        future, _ = portal.start_task(proxy.serve)
        try:
            yield proxy
        finally:
            future.cancel()
