"""The body of an answer as it was before it was packed, and no more of it than allowed."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing

import anyio
import httpx

from aiowandb.errors import ServerError, TooLargeError

_PIECE = 1 << 20
_PLAIN = ("", "identity")
_PACKED = ("gzip", "x-gzip", "deflate")


async def whole(response: httpx.Response, max_bytes: int) -> bytes:
    """The body, or an error if it has more than `max_bytes`."""
    async with aclosing(pieces(response, max_bytes)) as parts:
        return b"".join([part async for part in parts])


async def beginning(response: httpx.Response, size: int) -> bytes:
    """About the first `size` bytes of the body."""
    found = bytearray()
    async with aclosing(pieces(response, size + _PIECE)) as parts:
        async for part in parts:
            found += part
            if len(found) >= size:
                break
    return bytes(found)


async def pieces(response: httpx.Response, max_bytes: int) -> AsyncGenerator[bytes]:
    """The body piece by piece, or an error once there are more than `max_bytes`.

    httpx would unpack what has come in one go, however large it becomes, and as many
    times as the server says that it was packed.
    """
    if response.is_stream_consumed:  # a transport of somebody's own has read it already
        yield response.content
        return
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding not in _PLAIN + _PACKED:
        raise ServerError(f"{response.url.host} packed its answer as {coding!r}, unasked.")
    unpacker = _Unpacker() if coding in _PACKED else None
    size = 0
    raw = response.aiter_raw()
    try:
        async for packed in raw:
            for part in unpacker.unpack(packed) if unpacker else (packed,):
                size += len(part)
                if size > max_bytes:
                    raise TooLargeError(f"{response.url.host} sent more than {max_bytes:,} bytes.")
                yield part
    finally:
        await _leave(raw)
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and response.num_bytes_downloaded < int(announced):
        raise httpx.RemoteProtocolError("the answer ended early")
    if unpacker:
        unpacker.end()


async def _leave(raw: AsyncIterator[bytes]) -> None:
    # Closing an iterator would not close those of httpx that it is made of. A cancelled one
    # falls through all of them.
    with anyio.CancelScope() as scope:
        scope.cancel()
        async for _ in raw:
            pass


class _Unpacker:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, as it says

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        try:
            while packed:
                if self._stream.eof:  # a gzip file may be several, one behind the other
                    self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
                yield self._stream.decompress(packed, _PIECE)
                packed = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error as error:
            raise httpx.RemoteProtocolError(f"the answer is garbled: {error}") from error

    def end(self) -> None:
        if not self._stream.eof:
            raise httpx.RemoteProtocolError("the answer is not packed as it says")
