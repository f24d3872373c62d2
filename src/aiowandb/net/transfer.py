"""Downloads from and uploads to the URLs that W&B gives for files."""

from __future__ import annotations

import re
import sys
from base64 import b64decode
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import lru_cache, partial
from hashlib import md5
from typing import IO, NamedTuple, Self, TypeAlias, TypeVar

import anyio.to_thread
import httpx
from anyio import SpooledTemporaryFile

from aiowandb.errors import CommError, ContentError, LinkError, TimeoutError, TooLargeError
from aiowandb.net import bodies
from aiowandb.net.attempts import LONGEST_SHOWN, Attempt, Attempts, shown
from aiowandb.net.stalls import Stalls
from aiowandb.net.traffic import Traffic, count
from aiowandb.net.transports import HttpClient
from aiowandb.redaction import Link, without_frames

T = TypeVar("T")
# What a download is written to: a file, or one that stays in memory while it is small.
Target: TypeAlias = IO[bytes] | SpooledTemporaryFile[bytes]

# What object stores answer to an expired link (Google 400, the others 403), and for files that
# were replaced.
_STALE = frozenset({400, 401, 403, 404, 410})
_MAX_REDIRECTS = 5
# This much has to arrive within the timeout, and it is worth a switch to a worker thread.
_PIECE = 1 << 18
_md5 = partial(md5, usedforsecurity=False)


class Transfers:
    """Downloads and uploads, complete or not at all."""

    def __init__(self, http: HttpClient, attempts: Attempts, traffic: Traffic) -> None:
        self._http = http
        self._attempts = attempts
        self._traffic = traffic
        self._stalls = Stalls(attempts.timeout)

    async def download(
        self, link: Link, into: Target, max_bytes: int | None, max_decompressed: int
    ) -> None:
        """Write what is behind the link into the file, from the start of the file.

        A download that breaks off is resumed where it ended, if the server supports that and
        the content is still the same. A file may come compressed though that was not asked for:
        then it may have `max_decompressed` bytes, unless there is a limit in `max_bytes`.
        """
        file = ResumableDownload(into, max_bytes, max_decompressed)

        async def get(attempt: Attempt) -> None:
            count(self._traffic, downloads=1)
            async with self._followed(link, file.range_headers()) as response:
                if response.status_code == 416:
                    file.restart()
                await attempt.accept(response)
                await file.begin(response)
                try:
                    await file.fill(response, attempt, self._stalls)
                finally:
                    count(self._traffic, received_bytes=response.num_bytes_downloaded)

        await self._run(link, get)

    async def piece(self, link: Link, byte_range: str) -> Piece | None:
        """Some bytes of what is behind the link; None if the server does not support ranges.

        Nor does it if it sends others: Parquet without checksums would be read wrongly.
        """

        async def get(attempt: Attempt) -> Piece | None:
            count(self._traffic, downloads=1)
            headers = {"Accept-Encoding": "identity", "Range": f"bytes={byte_range}"}
            async with self._followed(link, headers) as response:
                await attempt.accept(response)
                version = _Version.of(response)
                if response.status_code != 206 or version is None:
                    return None
                first, end = _span(byte_range, version.length)
                given = response.headers["Content-Range"].strip().lower()
                if given != f"bytes {first}-{end - 1}/{version.length}":
                    return None
                content = await bodies.read_large(response, end - first)
                count(self._traffic, received_bytes=len(content))
                if len(content) < end - first:
                    raise httpx.RemoteProtocolError("the response is not all of the part")
                return Piece(content, version.length, version)

        return await self._run(link, get)

    async def upload(
        self,
        link: Link,
        content: Callable[[], AsyncIterable[bytes]],
        size: int,
        headers: Mapping[str, str],
    ) -> None:
        """Upload the content to the link."""
        all_headers = {**headers, "Content-Length": str(size)}
        name = f"Upload to {_address(link)}"

        async def put(attempt: Attempt) -> None:
            taken = 0

            async def sent() -> AsyncIterator[bytes]:
                nonlocal taken
                async for piece in content():
                    attempt.extend_deadline()
                    taken += len(piece)
                    if taken <= size:
                        yield piece
                if taken != size:  # HTTP clients have errors of their own for it
                    raise ContentError(f"{name}: it no longer has {size:,} bytes.", name=f"{link}")

            request = self._http.stream("PUT", link, content=sent(), headers=all_headers)
            async with request as response:
                await attempt.accept(response)
            if taken < size:  # a proxy or server in trouble: nobody has the file
                raise httpx.RemoteProtocolError("it confirmed an upload before it had the content")

        await self._attempts.run(name, put)

    async def _run(self, link: Link, get: Callable[[Attempt], Awaitable[T]]) -> T:
        try:
            return await self._attempts.run(f"Download of {_address(link)}", get)
        except TimeoutError as error:
            self._stalls.timed_out(str(link), error)
            raise
        except CommError as error:
            if error.status not in _STALE:
                raise
            stale = LinkError(
                error.message, status=error.status, operation=error.operation, url=error.url
            )
            stale.response = error.response
            raise stale from error

    @asynccontextmanager
    async def _followed(
        self, link: Link, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        # httpx would send the key along if the scheme changes but not the host.
        for _ in range(_MAX_REDIRECTS + 1):
            _address(link)  # raises if it is none
            async with self._http.stream("GET", link, headers=headers) as response:
                if not response.has_redirect_location:
                    host = response.url.netloc.decode()
                    # The headers alone do not count: a host may stall after them.
                    if not response.is_success:
                        self._stalls.received(host)
                    yield response
                    self._stalls.received(host)
                    return
                link = Link(str(response.url.join(response.headers["Location"])))
        raise CommError(f"{_address(link)}: redirected more than {_MAX_REDIRECTS} times.")


class _Version(NamedTuple):
    """What distinguishes the contents that a URL has had."""

    etag: str | None
    modified: str | None
    length: int

    @classmethod
    def of(cls, response: httpx.Response) -> Self | None:
        headers = response.headers
        length = headers.get("Content-Length", "")
        if response.status_code == 206:
            length = headers.get("Content-Range", "").rpartition("/")[2]
        if not length.isdigit() or headers.get("Content-Encoding", "identity") != "identity":
            return None
        etag = headers.get("ETag", "")
        strong = etag if etag.startswith('"') else None
        return cls(strong, headers.get("Last-Modified"), int(length))


def _span(byte_range: str, length: int) -> tuple[int, int]:
    """Where these bytes of a file of this length begin and end."""
    first, _, last = byte_range.partition("-")
    if not first:
        return max(0, length - int(last)), length
    return int(first), min(int(last) + 1, length)


class Piece(NamedTuple):
    """Some bytes of a file of `total` bytes."""

    content: bytes | bytearray
    total: int
    version: _Version

    def is_of(self, other: Piece) -> bool:
        """Whether both are from the same version of the file."""
        return self.version == other.version


class ResumableDownload:
    """A file that is filled by one response or by several."""

    def __init__(self, file: Target, max_bytes: int | None, max_decompressed: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._max_decompressed = max_decompressed
        self._size = 0
        self._largest_size = 0
        self._version: _Version | None = None
        self._announced: bytes | None = None
        self._digest = _md5()

    def range_headers(self) -> dict[str, str]:
        """The headers that ask for the bytes that are missing."""
        headers = {"Accept-Encoding": "identity"}
        if self._size and self._version:
            headers["Range"] = f"bytes={self._size}-"
            if self._version.etag:
                headers["If-Range"] = self._version.etag
        return headers

    def restart(self) -> None:
        """Ask for the whole file again."""
        self._version = None

    async def begin(self, response: httpx.Response) -> None:
        """Continue at the end of the file if the response does, else start over."""
        version = _Version.of(response)
        if response.status_code == 206:
            first = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if version and version == self._version and first and int(first[1]) == self._size:
                return
            self.restart()
            raise httpx.RemoteProtocolError("the response is not the rest of the file")
        if version and self._max_bytes is not None and version.length > self._max_bytes:
            raise TooLargeError(
                f"it has {version.length:,} bytes, more than the allowed {self._max_bytes:,}."
            )
        self._version = version
        self._announced = _announced_md5(response.headers) if version else None
        self._digest = _md5()
        self._size = 0
        if isinstance(self._file, SpooledTemporaryFile):
            await self._file.seek(0)
            await self._file.truncate()
        else:
            await anyio.to_thread.run_sync(self._file.seek, 0)
            await anyio.to_thread.run_sync(self._file.truncate)

    async def fill(self, response: httpx.Response, attempt: Attempt, stalls: Stalls) -> None:
        """Write the body of the response."""
        is_compressed = response.headers.get("Content-Encoding", "identity") != "identity"
        limit = self._max_decompressed if is_compressed else sys.maxsize
        if self._max_bytes is not None:
            limit = self._max_bytes
        piece = bytearray()
        try:
            async with aclosing(bodies.pieces(response, limit - self._size)) as parts:
                async for part in parts:
                    piece += part
                    if len(piece) >= _PIECE:
                        full, piece = piece, bytearray()
                        await self._write(full)
                        attempt.extend_deadline(is_new=self._size > self._largest_size)
                        stalls.received(response.url.netloc.decode())
                        self._largest_size = max(self._largest_size, self._size)
        finally:
            # Keep what has arrived: it need not be sent again.
            if isinstance(self._file, SpooledTemporaryFile):
                with anyio.CancelScope(shield=True):
                    await self._write(piece)
            else:
                self._write_to_disk(self._file, piece)  # too little to block for long
        if self._announced not in (None, self._digest.digest()):
            self.restart()
            raise httpx.RemoteProtocolError("the content does not match its checksum")

    async def _write(self, piece: bytearray) -> None:
        if isinstance(self._file, SpooledTemporaryFile):
            await self._file.write(piece)  # in a thread only if it is on disk
            self._count(piece)
        else:
            await anyio.to_thread.run_sync(self._write_to_disk, self._file, piece)

    def _write_to_disk(self, file: IO[bytes], piece: bytearray) -> None:
        file.write(piece)
        self._count(piece)

    def _count(self, piece: bytearray) -> None:
        self._size += len(piece)
        if self._announced:
            self._digest.update(piece)


def _announced_md5(headers: httpx.Headers) -> bytes | None:
    """The checksum of the file, in the headers of S3 and Azure or in those of Google."""
    hashes = dict(
        entry.strip().partition("=")[::2] for entry in headers.get("x-goog-hash", "").split(",")
    )
    try:
        return b64decode(headers.get("Content-MD5") or hashes.get("md5", ""), validate=True) or None
    except ValueError:
        return None


@lru_cache(64)  # a download asks several times
def _address(link: Link) -> str:
    """What the link leads to, for messages: without user and signature, short, and printable.

    Raises if that is no address. Sockets and HTTP clients have errors of their own for it.
    """
    try:
        url = httpx.URL(link.reveal())
        host = url.host.encode("idna")  # as sockets do
        is_address = host and 0 <= (url.port or 0) < 1 << 16
    except (httpx.InvalidURL, ValueError) as error:
        why = str(error)[:LONGEST_SHOWN]
        raise CommError(f"W&B sent a link that is not an address: {why}.") from without_frames(
            error
        )
    if url.scheme not in ("http", "https") or not is_address:
        raise CommError(f"{shown(url)} is not an address of a file.")
    return shown(url)
