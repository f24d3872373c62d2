"""Files on their way, from and to the URLs that W&B hands out."""

from __future__ import annotations

import re
import sys
from base64 import b64decode
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from hashlib import md5
from typing import IO, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import anyio.to_thread
import httpx

from aiowandb.errors import CommError, LinkError, TimeoutError, TooLargeError
from aiowandb.net import bodies
from aiowandb.net.attempts import Attempt, Attempts
from aiowandb.net.spool import Spool
from aiowandb.net.stalls import Stalls
from aiowandb.net.traffic import Traffic, count

T = TypeVar("T")

# What stores answer for links that have expired, be it 400 as Google or 403 as the others,
# and for files that were replaced.
_STALE = frozenset({400, 401, 403, 404, 410})
_MAX_REDIRECTS = 5
# As much as this has to come within the time-out. A hop to a worker thread is worth it, too.
_PIECE = 1 << 18
# Asked for as it is, a file may come packed nevertheless; if nobody says how large it is,
# it may unpack to this much.
_MAX_UNPACKED = 1 << 30
_md5 = partial(md5, usedforsecurity=False)


class Transfers:
    """Downloads and uploads: whole or not at all."""

    def __init__(self, http: httpx.AsyncClient, attempts: Attempts, traffic: Traffic) -> None:
        self._http = http
        self._attempts = attempts
        self._traffic = traffic
        self._stalls = Stalls(attempts.timeout)

    async def download(self, url: str, into: IO[bytes] | Spool, max_bytes: int | None) -> None:
        """Write what lies at the URL into the file, from the file's start.

        What is cut in the middle goes on from there, if the server says that it can and
        that it is still the same.
        """
        arrival = _Arrival(into, max_bytes)

        async def get(attempt: Attempt) -> None:
            count(self._traffic, downloads=1)
            async with self._followed(url, arrival.wish()) as response:
                if response.status_code == 416:
                    arrival.forget()
                await attempt.accept(response)
                await arrival.begin(response)
                try:
                    await arrival.fill(response, attempt, self._stalls)
                finally:
                    count(self._traffic, received_bytes=response.num_bytes_downloaded)

        await self._persist(url, get)

    async def piece(self, url: str, wanted: str) -> Piece | None:
        """Some bytes of what lies at the URL; None if whoever has it gives no pieces."""

        async def get(attempt: Attempt) -> Piece | None:
            count(self._traffic, downloads=1)
            headers = {"Accept-Encoding": "identity", "Range": f"bytes={wanted}"}
            async with self._followed(url, headers) as response:
                await attempt.accept(response)
                version = _Version.of(response)
                if response.status_code != 206 or version is None:
                    return None
                content = await bodies.whole(response, version.length)
                count(self._traffic, received_bytes=len(content))
                return Piece(content, version.length, version)

        return await self._persist(url, get)

    async def upload(
        self,
        url: str,
        content: Callable[[], AsyncIterable[bytes]],
        size: int,
        headers: Mapping[str, str],
    ) -> None:
        """Put the content at the URL."""
        all_headers = {**headers, "Content-Length": str(size)}

        async def put(attempt: Attempt) -> None:
            async def sent() -> AsyncIterator[bytes]:
                async for piece in content():
                    attempt.heard()
                    yield piece

            request = self._http.stream("PUT", url, content=sent(), headers=all_headers)
            async with request as response:
                await attempt.accept(response)

        await self._attempts.persist(f"Upload to {_without_signature(url)}", put)

    async def _persist(self, url: str, get: Callable[[Attempt], Awaitable[T]]) -> T:
        try:
            return await self._attempts.persist(f"Download of {_without_signature(url)}", get)
        except TimeoutError as error:
            self._stalls.timed_out(url, error)
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
        self, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        # httpx would carry the key along to another scheme of the same host.
        for _ in range(_MAX_REDIRECTS + 1):
            if urlsplit(url).scheme not in ("http", "https"):
                raise CommError(f"{_without_signature(url)} is no address to download from.")
            async with self._http.stream("GET", url, headers=headers) as response:
                if not response.has_redirect_location:
                    host = response.url.netloc.decode()
                    # The head alone is not enough: a host may stall behind it.
                    if not response.is_success:
                        self._stalls.heard(host)
                    yield response
                    self._stalls.heard(host)
                    return
                url = str(response.url.join(response.headers["Location"]))
        raise CommError(f"{_without_signature(url)}: redirected more than {_MAX_REDIRECTS} times.")


class _Version(NamedTuple):
    """What tells one content of a URL from another."""

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


class Piece(NamedTuple):
    """Some bytes of a file, whose whole size is `total`."""

    content: bytes
    total: int
    version: _Version

    def is_of(self, other: Piece) -> bool:
        """Whether both are of the same content."""
        return self.version == other.version


class _Arrival:
    """A file that is filled by one answer or by several."""

    def __init__(self, file: IO[bytes] | Spool, max_bytes: int | None) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._size = 0
        self._most = 0
        self._version: _Version | None = None
        self._announced: bytes | None = None
        self._digest = _md5()

    def wish(self) -> dict[str, str]:
        """The headers that ask for what is missing."""
        wish = {"Accept-Encoding": "identity"}
        if self._size and self._version:
            wish["Range"] = f"bytes={self._size}-"
            if self._version.etag:
                wish["If-Range"] = self._version.etag
        return wish

    def forget(self) -> None:
        """Ask for everything again."""
        self._version = None

    async def begin(self, response: httpx.Response) -> None:
        """Go on where the file ends if that is what comes, else start over."""
        version = _Version.of(response)
        if response.status_code == 206:
            first = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if version and version == self._version and first and int(first[1]) == self._size:
                return
            self.forget()
            raise httpx.RemoteProtocolError("what came is not the rest of what was there")
        if version and self._max_bytes is not None and version.length > self._max_bytes:
            raise TooLargeError(
                f"it has {version.length:,} bytes, more than the {self._max_bytes:,} that it may."
            )
        self._version = version
        self._announced = _announced_md5(response.headers) if version else None
        self._digest = _md5()
        self._size = 0
        if isinstance(self._file, Spool):
            self._file.clear()
        else:
            await anyio.to_thread.run_sync(self._file.seek, 0)
            await anyio.to_thread.run_sync(self._file.truncate)

    async def fill(self, response: httpx.Response, attempt: Attempt, stalls: Stalls) -> None:
        """Write what comes."""
        is_packed = response.headers.get("Content-Encoding", "identity") != "identity"
        limit = _MAX_UNPACKED if is_packed else sys.maxsize
        if self._max_bytes is not None:
            limit = self._max_bytes
        piece = bytearray()
        try:
            async with aclosing(bodies.pieces(response, limit - self._size)) as parts:
                async for part in parts:
                    piece += part
                    if len(piece) >= _PIECE:
                        whole, piece = piece, bytearray()
                        if isinstance(self._file, Spool) and self._file.has_room(len(whole)):
                            self._write(whole)
                        else:
                            await anyio.to_thread.run_sync(self._write, whole)
                        attempt.heard(is_new=self._size > self._most)
                        stalls.heard(response.url.netloc.decode())
                        self._most = max(self._most, self._size)
        finally:
            # What came before a cut need not come again; it is too little to block for long.
            self._write(piece)
        if self._announced not in (None, self._digest.digest()):
            self.forget()
            raise httpx.RemoteProtocolError("what came has another checksum than was said")

    def _write(self, piece: bytearray) -> None:
        self._file.write(piece)
        self._size += len(piece)
        if self._announced:
            self._digest.update(piece)


def _announced_md5(headers: httpx.Headers) -> bytes | None:
    """The checksum of the whole file, as S3 and Azure say it or as Google's storage does."""
    hashes = dict(
        entry.strip().partition("=")[::2] for entry in headers.get("x-goog-hash", "").split(",")
    )
    try:
        return b64decode(headers.get("Content-MD5") or hashes.get("md5", ""), validate=True) or None
    except ValueError:
        return None


def _without_signature(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
