"""Reading the body of a response, decompressed, and never more than a given size."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing

import anyio
import httpx

from aiowandb.errors import ServerError, TooLargeError

_PIECE = 1 << 20
_PLAIN = ("", "identity")
_COMPRESSED = ("gzip", "x-gzip", "deflate")


async def read_all(response: httpx.Response, max_bytes: int) -> bytes:
    """The body, or an error if it has more than `max_bytes`."""
    async with aclosing(pieces(response, max_bytes)) as parts:
        return b"".join([part async for part in parts])


async def read_large(response: httpx.Response, max_bytes: int) -> bytearray:
    """The same for a body of many MB: without holding it twice in memory, which costs more time
    than it takes to copy."""
    found = bytearray()
    async with aclosing(pieces(response, max_bytes)) as parts:
        async for part in parts:
            found += part
    return found


async def read_prefix(response: httpx.Response, size: int) -> bytes:
    """About the first `size` bytes of the body."""
    found = bytearray()
    async with aclosing(pieces(response, size + _PIECE)) as parts:
        async for part in parts:
            found += part
            if len(found) >= size:
                break
    return bytes(found)


async def pieces(response: httpx.Response, max_bytes: int) -> AsyncGenerator[bytes]:
    """The body in pieces; an error as soon as there are more than `max_bytes`.

    httpx would decompress each chunk at once, however large the result is, and as many
    times as the server says that it was compressed.
    """
    if response.is_stream_consumed:  # a custom transport has read it already
        yield response.content
        return
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding not in _PLAIN + _COMPRESSED:
        raise ServerError(f"{response.url.host} sent an unexpected encoding: {coding!r}.")
    decompressor = _Decompressor() if coding in _COMPRESSED else None
    size = 0
    raw = response.aiter_raw()
    try:
        async for data in raw:
            for part in decompressor.decompress(data) if decompressor else (data,):
                size += len(part)
                if size > max_bytes:
                    raise TooLargeError(f"{response.url.host} sent more than {max_bytes:,} bytes.")
                yield part
    finally:
        await _close(raw)
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and response.num_bytes_downloaded < int(announced):
        raise httpx.RemoteProtocolError("the response ended early")
    if decompressor:
        decompressor.end()


async def _close(raw: AsyncIterator[bytes]) -> None:
    # aclose() would not close the inner iterators of httpx. A cancellation passes through them.
    with anyio.CancelScope() as scope:
        scope.cancel()
        async for _ in raw:
            pass


class _Decompressor:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib

    def decompress(self, data: bytes) -> Iterator[bytes]:
        try:
            while data:
                if self._stream.eof:  # there may be several gzip members
                    self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
                yield self._stream.decompress(data, _PIECE)
                data = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error as error:
            raise httpx.RemoteProtocolError(f"the response is corrupt: {error}") from error

    def end(self) -> None:
        if not self._stream.eof:
            raise httpx.RemoteProtocolError("the compressed response is cut off")
