"""A server at the level of sockets: it sends exactly what the test wants, byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import ByteReceiveStream, SocketAttribute, SocketStream

OK = b"HTTP/1.1 200 OK\r\n"
Answer = Callable[[SocketStream], Awaitable[object]]


@asynccontextmanager
async def serving(answer: Answer, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """The URL of a server that gives each connection to `answer`."""

    async def handle(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.BrokenResourceError):  # the client is gone
                await answer(stream)

    listener = await anyio.create_tcp_listener(local_host=host)
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        tasks.cancel_scope.cancel()


def answers(data: bytes, seen: list[bytes] | None = None) -> Answer:
    """Sends these bytes when a request has come, and closes the connection."""

    async def answer(stream: SocketStream) -> None:
        request = await stream.receive()
        if seen is not None:
            seen.append(request)
        await stream.send(data)

    return answer


async def receive_request(stream: ByteReceiveStream) -> bytes:
    """The head of the next request on a connection; it must have no body."""
    seen = b""
    while not seen.endswith(b"\r\n\r\n"):
        seen += await stream.receive()
    return seen


async def never(stream: SocketStream) -> None:
    await anyio.sleep_forever()
