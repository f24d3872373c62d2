"""Bodies of requests and responses, for as long as they wait: for the network, or for their turn.

A client may take any time to send or to read. So bodies wait in memory only as long as there is
room for them, and in temporary files after that: slow clients can neither fill the memory nor keep
others from being answered.
"""

from __future__ import annotations

import tempfile
import zlib
from threading import Lock
from typing import IO, TYPE_CHECKING

import anyio.to_thread
from starlette.responses import Response

from aiowandb_server.errors import RequestError
from aiowandb_server.store.metering import count_marks, json_weight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

# Bodies of this size are always in memory: as much as the buffers of a connection have.
_SMALL = 64 << 10
_PIECE = 256 << 10


class Room:
    """The memory for bodies that wait, of all requests together; `folder` is for the others."""

    def __init__(self, size: int, folder: Path | None = None) -> None:
        self._free = size
        self._lock = Lock()
        self.folder = folder

    def take(self, size: int) -> bool:
        """Whether there is room for so many bytes more, which are then taken."""
        with self._lock:
            if size > self._free:
                return False
            self._free -= size
            return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._free += size


class Body:
    """A body that is collected, and then read. To be closed."""

    def __init__(self, room: Room) -> None:
        self.size = 0
        self.marks = 0
        self._room = room
        self._taken = 0
        self._kept = bytearray()
        self._file: IO[bytes] | None = None

    @property
    def weight(self) -> int:
        """The bytes that this takes once it is parsed as JSON, at most, besides its text."""
        return json_weight(self.size, self.marks)

    async def write(self, data: bytes) -> None:
        if self._file is None or len(self._kept) + len(data) < _PIECE:
            self.add(data)
        else:
            await anyio.to_thread.run_sync(self.add, data)

    def add(self, data: bytes) -> None:
        """Add data; blocks, once there is a file."""
        self.size += len(data)
        self.marks += count_marks(data)
        self._kept += data
        if self._file is not None:
            if len(self._kept) >= _PIECE:
                self._move_to_file()
        elif len(self._kept) > max(_SMALL, self._taken):
            # Twice as much each time, as the array grows.
            wanted = max(_PIECE, 2 * len(self._kept)) - self._taken
            if self._room.take(wanted):
                self._taken += wanted
            else:
                self._move_to_file()

    def load(self) -> bytes:
        """All of it; blocks."""
        if self._file is None:
            return bytes(self._kept)
        self._move_to_file()
        self._file.seek(0)
        return self._file.read()

    def pieces(self) -> Iterator[bytes]:
        """All of it, piece by piece; blocks."""
        if self._file is None:
            kept = memoryview(self._kept)
            for start in range(0, len(kept), _PIECE):
                yield bytes(kept[start : start + _PIECE])
            return
        self._move_to_file()
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    def close(self) -> None:
        self._room.give_back(self._taken)
        self._taken = 0
        self._kept = bytearray()
        if self._file is not None:
            self._file.close()

    @property
    def is_in_memory(self) -> bool:
        return self._file is None

    def _move_to_file(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._room.folder)  # noqa: SIM115 - see close()
        self._file.write(self._kept)
        self._file.flush()
        self._kept = bytearray()
        self._room.give_back(self._taken)
        self._taken = 0


def unpacked(packed: Body, room: Room, max_size: int) -> Body:
    """The body without gzip; blocks. Raises RequestError if it is not valid or too large."""
    unpacker = zlib.decompressobj(wbits=31)
    plain = Body(room)
    try:
        for piece in packed.pieces():
            data = unpacker.decompress(piece, _PIECE)
            while data:
                plain.add(data)
                check_size(plain.size, max_size)
                data = unpacker.decompress(unpacker.unconsumed_tail, _PIECE)
        if not unpacker.eof:
            raise RequestError("the body is not valid gzip: it is cut off")
    except zlib.error as failure:
        plain.close()
        raise RequestError(f"the body is not valid gzip: {failure}") from failure
    except BaseException:
        plain.close()
        raise
    return plain


def check_size(size: int, max_size: int) -> None:
    if size > max_size:
        raise RequestError(f"the body is larger than {max_size} bytes", 413)


class BodyResponse(Response):
    """A response whose body waits for its reader."""

    def __init__(self, body: Body, status: int, media_type: str) -> None:
        self._waiting = body
        super().__init__(status_code=status, media_type=media_type)
        self.headers["content-length"] = str(body.size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            pieces = self._waiting.pieces()
            left = self._waiting.size
            while True:
                if self._waiting.is_in_memory:
                    piece = next(pieces, b"")
                else:
                    piece = await anyio.to_thread.run_sync(next, pieces, b"")
                left -= len(piece)
                more = left > 0
                await send({"type": "http.response.body", "body": piece, "more_body": more})
                if not more:
                    return
        finally:
            self._waiting.close()
