"""Faults of HTTP itself, which no ASGI app can say: lengths, chunks, ranges, codings, redirects.

A small server of sockets forwards each request, and sends the answer byte by byte as it likes.
"""

from __future__ import annotations

import gzip
import re
import socket
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from random import Random
from typing import Literal, NamedTuple

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.chaos.faults import Headers, Reply, Weather
from tests.support.proxy import Relay, in_thread

_MAX_HEAD = 1 << 16
_STALL_S = 2.0
Ending = Literal["keep", "close", "reset", "half-close", "stall"]


class Sent(NamedTuple):
    """What is sent, and what becomes of the connection then."""

    data: bytes
    ending: Ending = "close"


WireFault = Callable[[Reply, Random], Sent]


def _head(status: int, headers: Headers) -> bytes:
    lines = [b"HTTP/1.1 %d X" % status, *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", b""])


def _sent(
    reply: Reply,
    *more: tuple[bytes, bytes],
    length: int | None = None,
    status: int | None = None,
    body: bytes | None = None,
    ending: Ending = "close",
) -> Sent:
    """The reply with other headers, status or body; without a length it has the right one."""
    body = reply.body if body is None else body
    size = len(body) if length is None else length
    headers = [*reply.without(b"content-length", *(name for name, _ in more))]
    headers += [(b"content-length", b"%d" % max(size, 0)), *more]
    return Sent(_head(status or reply.status, headers) + body, ending)


def _chunked(reply: Reply, body: bytes, *more: tuple[bytes, bytes]) -> bytes:
    headers = [*reply.without(b"content-length"), (b"transfer-encoding", b"chunked"), *more]
    return _head(reply.status, headers) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def longer_length(reply: Reply, chance: Random) -> Sent:
    extra = chance.choice([1, 1000, 10**12])
    return _sent(reply, length=len(reply.body) + extra, ending=chance.choice(["close", "stall"]))


def shorter_length(reply: Reply, chance: Random) -> Sent:
    return _sent(reply, length=int(len(reply.body) * chance.random()), ending="keep")


def bytes_behind(reply: Reply, chance: Random) -> Sent:
    sent = _sent(reply)
    return Sent(
        sent.data + chance.choice([b"\0\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 9999]), "keep"
    )


def answer_behind(reply: Reply, chance: Random) -> Sent:
    """A second answer, which would be the one to the next request on the connection."""
    sent = _sent(reply).data
    return Sent(sent + sent, "keep")


def wrong_range(reply: Reply, chance: Random) -> Sent:
    total = len(reply.body)
    ranges = [b"bytes 1-%d/%d" % (total, total), b"bytes 0-0/1", b"bytes */%d" % total, b"x"]
    return _sent(reply, (b"content-range", chance.choice(ranges)), status=206)


def half_as_range(reply: Reply, chance: Random) -> Sent:
    """A part, though everything was requested."""
    half, total = len(reply.body) // 2, len(reply.body)
    start = chance.choice([0, half])
    part = reply.body[start : start + half]
    where = b"bytes %d-%d/%d" % (start, start + max(half, 1) - 1, total)
    return _sent(reply, (b"content-range", where), status=206, body=part)


def unsatisfiable(reply: Reply, chance: Random) -> Sent:
    return _sent(reply, (b"content-range", b"bytes */0"), status=416, body=b"")


def changing_file(reply: Reply, chance: Random) -> Sent:
    """It breaks off, and has another ETag each time: the rest is not of the same file."""
    tag = b'"%d"' % chance.randrange(10**9)
    half = reply.body[: len(reply.body) // 2]
    return _sent(reply, (b"etag", tag), length=len(reply.body), body=half)


def broken_chunks(reply: Reply, chance: Random) -> Sent:
    start = _chunk(reply.body[: chance.randrange(len(reply.body) or 1)])
    broken = [
        b"zz\r\n",
        b"-5\r\n",
        b"ffffffffffffffff\r\n",
        b"f" * 9999,
        b"0\r\nX: 1\r\n",
        b"0x5\r\n",
    ]
    return Sent(_chunked(reply, start + chance.choice(broken)))


def unended_chunks(reply: Reply, chance: Random) -> Sent:
    return Sent(_chunked(reply, _chunk(reply.body)))


def long_trailers(reply: Reply, chance: Random) -> Sent:
    trailers = b"X-Trailer: %s\r\n" % (b"x" * 50) * chance.choice([3, 200_000])
    return Sent(_chunked(reply, _chunk(reply.body) + b"0\r\n" + trailers + b"\r\n"))


def interim_answers(reply: Reply, chance: Random) -> Sent:
    interim = chance.choice([b"100 Continue", b"102 Processing", b"103 Early Hints"])
    first = b"HTTP/1.1 %s\r\nLink: </x>\r\n\r\n" % interim
    return Sent(first * chance.choice([1, 50]) + _sent(reply).data)


def switched(reply: Reply, chance: Random) -> Sent:
    return Sent(_head(101, [(b"upgrade", b"h2c"), (b"connection", b"upgrade")]) + reply.body)


def two_lengths(reply: Reply, chance: Random) -> Sent:
    other = chance.choice([0, 1, len(reply.body), len(reply.body) * 2])
    return _sent(reply, (b"Content-Length", b"%d" % other))


def length_and_chunks(reply: Reply, chance: Random) -> Sent:
    length = (b"content-length", b"%d" % chance.choice([3, len(reply.body)]))
    return Sent(_chunked(reply, _chunk(reply.body) + b"0\r\n\r\n", length))


def cut_gzip(reply: Reply, chance: Random) -> Sent:
    packed = gzip.compress(reply.body, 1)
    return _sent(reply, (b"content-encoding", b"gzip"), body=packed[: len(packed) * 2 // 3])


def gzip_and_more(reply: Reply, chance: Random) -> Sent:
    more = chance.choice([b"garbage", bytes(100), gzip.compress(b"more")])
    return _sent(reply, (b"content-encoding", b"gzip"), body=gzip.compress(reply.body, 1) + more)


def gzip_twice(reply: Reply, chance: Random) -> Sent:
    body = gzip.compress(reply.body, 1)
    if chance.random() < 0.5:
        return _sent(
            reply, (b"content-encoding", b"gzip"), (b"Content-Encoding", b"gzip"), body=body
        )
    return _sent(reply, (b"content-encoding", b"gzip, gzip"), body=gzip.compress(body, 1))


def no_gzip(reply: Reply, chance: Random) -> Sent:
    coding = chance.choice([b"gzip", b"deflate", b"br", b"nonsense"])
    return _sent(reply, (b"content-encoding", coding))


def redirected(reply: Reply, chance: Random) -> Sent:
    places = [b"", b"/", b"//", b"?again", b"file:///etc/passwd", b"ftp://127.0.0.1/x", b"\xff\xfe"]
    places += [
        b"javascript:alert(1)",
        b"http://",
        b"http://[::1",
        b"http://127.0.0.1:1/x",
        b"x" * 9000,
    ]
    place = (b"location", chance.choice(places))
    return _sent(reply, place, status=chance.choice([301, 302, 303, 307, 308]), body=b"")


def half_closed(reply: Reply, chance: Random) -> Sent:
    data = _sent(reply).data
    return Sent(data[: chance.randrange(1, len(data))], "half-close")


def reset(reply: Reply, chance: Random) -> Sent:
    data = _sent(reply).data
    return Sent(data[: chance.randrange(len(data))], "reset")


def byte_order_mark(reply: Reply, chance: Random) -> Sent:
    return _sent(reply, body=b"\xef\xbb\xbf" + reply.body)


def deeply_nested(reply: Reply, chance: Random) -> Sent:
    deep = b"[" * 100_000 + b"]" * 100_000
    return _sent(reply, body=b'{"deep": %s, %s' % (deep, reply.body.lstrip()[1:]))


def doubled_keys(reply: Reply, chance: Random) -> Sent:
    """Two answers in one object: which of them counts is not defined."""
    other = chance.choice([b"null", b"{}", b'{"project": null}', b"[]", b"5"])
    start = reply.body.rstrip()[:-1]
    return _sent(reply, body=b'%s, "data": %s}' % (start, other))


def infinite_numbers(reply: Reply, chance: Random) -> Sent:
    number = chance.choice([b"1e999", b"-1e999", b"1e400", b"9" * 400, b"NaN", b"Infinity"])
    return _sent(reply, body=re.sub(rb"(?<=[:\[,])\s*\d+(?=[,\]}])", number, reply.body, count=3))


_ANY: tuple[WireFault, ...] = (
    *(longer_length, shorter_length, bytes_behind, answer_behind, wrong_range, half_as_range),
    *(unsatisfiable, changing_file, broken_chunks, unended_chunks, long_trailers),
    *(interim_answers, switched, two_lengths, length_and_chunks, cut_gzip, gzip_and_more),
    *(gzip_twice, no_gzip, redirected, half_closed, reset),
)
_JSON: tuple[WireFault, ...] = (byte_order_mark, deeply_nested, doubled_keys, infinite_numbers)
WIRE_FAULTS: dict[str, WireFault] = {fault.__name__: fault for fault in (*_ANY, *_JSON)}
# Of these, answers are none of JSON.
_ONLY_JSON = {fault.__name__ for fault in _JSON}


class Forger(Relay):
    """Forwards requests to a port of this machine, and spoils the answers as the weather says."""

    def __init__(self, target: int, weather: Callable[[], Weather]) -> None:
        self._target = target
        self._weather = weather

    async def _connected(self, client: SocketStream) -> None:
        with suppress(OSError, anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            async with client, await anyio.connect_tcp("127.0.0.1", self._target) as server:
                asked = BufferedByteReceiveStream(client)
                answered = BufferedByteReceiveStream(server)
                while True:
                    request = await _message(asked)
                    await server.send(request.head + request.body)
                    reply = await _message(answered)
                    sent = self._spoilt(request, reply) or Sent(reply.head + reply.body, "keep")
                    await client.send(sent.data)
                    if sent.ending != "keep":
                        await self._end(client, sent.ending)
                        return

    def _spoilt(self, request: Message, reply: Message) -> Sent | None:
        path = request.head.split(b" ", 2)[1].partition(b"?")[0].decode()
        is_json = path.endswith("/graphql")
        known = [name for name in WIRE_FAULTS if is_json or name not in _ONLY_JSON]
        found = self._weather().pick(known, path, b"wire" + request.body)
        if found is None:
            return None
        name, chance = found
        status = int(reply.head.split(b" ", 2)[1])
        return WIRE_FAULTS[name](Reply(status, reply.headers, reply.body), chance)

    async def _end(self, client: SocketStream, ending: Ending) -> None:
        raw: socket.socket = client.extra(SocketAttribute.raw_socket)
        if ending == "reset":
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif ending == "half-close":
            await client.send_eof()
            await anyio.sleep(_STALL_S)
        elif ending == "stall":
            await anyio.sleep(_STALL_S)


class Message(NamedTuple):
    """A request, or an answer."""

    head: bytes
    headers: Headers
    body: bytes


async def _message(stream: BufferedByteReceiveStream) -> Message:
    head = await stream.receive_until(b"\r\n\r\n", _MAX_HEAD)
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    headers = [(name.strip().lower(), value.strip()) for name, _, value in lines]
    length = int(dict(headers).get(b"content-length", b"0"))
    return Message(head + b"\r\n\r\n", headers, await stream.receive_exactly(length))


def forger_to(port: int, weather: Callable[[], Weather]) -> AbstractContextManager[Forger]:
    """A forger in a thread, for as long as the block runs."""
    return in_thread(Forger(port, weather))
