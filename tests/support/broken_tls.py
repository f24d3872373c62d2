"""Servers whose TLS is broken, each in its own way."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
import trustme
from anyio.abc import SocketAttribute, SocketStream

from tests.support.raw_http import Answer

NAME = "localhost"
BODY = b'{"data": {"n": 1}}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
_GONE = (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, OSError)


class Seen:
    """What a server has seen of its clients: connections, decrypted bytes, whether all left."""

    def __init__(self) -> None:
        self.connections = 0
        self.open = 0
        self.data = b""
        self.left = anyio.Event()


def counted(seen: Seen, answer: Callable[[Seen, SocketStream], object]) -> Answer:
    """The answer, with a note of who came and left."""

    async def handle(stream: SocketStream) -> None:
        seen.connections += 1
        seen.open += 1
        with suppress(*_GONE):
            await answer(seen, stream)  # type: ignore[misc]
        with suppress(*_GONE):
            await stream.send_eof()
            while True:
                await stream.receive()
        seen.open -= 1
        if not seen.open:
            seen.left.set()

    return handle


class BrokenTls:
    """Each method is a server: with the wrong certificate, or that does not speak TLS at all."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.unknown_authority = trustme.CA()
        self._folder = folder
        self._now = datetime.now(UTC)
        self.bundle = folder / "authority.pem"
        self.authority.cert_pem.write_to_path(self.bundle)

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def expired(self) -> ssl.SSLContext:
        days = (self._now - timedelta(9), self._now - timedelta(5))
        return self._with(self.authority.issue_cert(NAME, not_before=days[0], not_after=days[1]))

    def not_yet_valid(self) -> ssl.SSLContext:
        days = (self._now + timedelta(5), self._now + timedelta(9))
        return self._with(self.authority.issue_cert(NAME, not_before=days[0], not_after=days[1]))

    def of_another_host(self) -> ssl.SSLContext:
        return self._with(self.authority.issue_cert("other.example"))

    def of_an_unknown_authority(self) -> ssl.SSLContext:
        return self._with(self.unknown_authority.issue_cert(NAME))

    def self_signed(self) -> ssl.SSLContext:
        own = self.unknown_authority
        return self._from_files(own.cert_pem, own.private_key_pem)

    def with_a_cut_chain(self) -> ssl.SSLContext:
        leaf = self.authority.create_child_ca().issue_cert(NAME)
        return self._from_files(leaf.cert_chain_pems[0], leaf.private_key_pem)

    def of_an_old_version(self) -> ssl.SSLContext:
        context = self.valid()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
        return context

    def for_known_clients(self) -> ssl.SSLContext:
        context = self.valid()
        context.verify_mode = ssl.CERT_REQUIRED
        self.authority.configure_trust(context)
        return context

    def valid(self) -> ssl.SSLContext:
        return self._with(self.authority.issue_cert(NAME))

    def _with(self, certificate: trustme.LeafCert) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context

    def _from_files(self, certificate: trustme.Blob, key: trustme.Blob) -> ssl.SSLContext:
        certificate.write_to_path(self._folder / "certificate.pem")
        key.write_to_path(self._folder / "key.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "certificate.pem", self._folder / "key.pem")
        return context


def encrypted(
    context: ssl.SSLContext, answer: bytes = OK, pause: float | None = None, resets: int = 0
) -> Callable[..., object]:
    """Does the handshake, byte by byte if there is a pause, and gives this answer; the first
    connections are reset in the middle of a record."""

    async def handle(seen: Seen, stream: SocketStream) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.wrap_bio(incoming, outgoing, server_side=True)

        async def send() -> None:
            data = outgoing.read()
            for part in [data] if pause is None else [bytes([byte]) for byte in data]:
                await stream.send(part)
                await anyio.sleep(pause or 0)

        async def do(step: Callable[[], bytes | int | None]) -> bytes | int | None:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    await send()
                    incoming.write(await stream.receive())
                except ssl.SSLError:
                    await send()  # the alert that says why
                    raise

        await do(server.do_handshake)
        request = await do(partial(server.read, 1 << 16))
        assert isinstance(request, bytes)
        seen.data += request
        server.write(answer)
        if seen.connections <= resets:
            records = outgoing.read()
            await stream.send(records[: len(records) // 2])
            raw = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.aclose()
        else:
            await send()

    return handle


async def silent(seen: Seen, stream: SocketStream) -> None:
    while True:
        seen.data += await stream.receive()


async def closing_at_once(seen: Seen, stream: SocketStream) -> None:
    pass


async def closing_in_the_handshake(seen: Seen, stream: SocketStream) -> None:
    await stream.receive()
    await stream.send(b"\x16\x03\x03\x00\x7a\x02")


async def speaking_plain_http(seen: Seen, stream: SocketStream) -> None:
    seen.data += await stream.receive()
    await stream.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


async def speaking_nonsense(seen: Seen, stream: SocketStream) -> None:
    await stream.receive()
    await stream.send(bytes([1]) + os.urandom(400))


async def refusing(seen: Seen, stream: SocketStream) -> None:
    """An alert: handshake failure."""
    await stream.receive()
    await stream.send(b"\x15\x03\x03\x00\x02\x02\x28")
