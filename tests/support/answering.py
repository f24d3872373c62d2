"""A server that gives every request the same answer, and a query for it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import trustme

from aiowandb.config.settings import Settings
from aiowandb.net import Session
from aiowandb.net.retry import RetryPolicy
from aiowandb.wire.graphql import Operation


class Answer(msgspec.Struct):
    n: int


ASK = Operation("Ask", "query Ask { n }", {}, Answer)


class Handler(BaseHTTPRequestHandler):
    """Answers everything alike, and remembers what was asked for."""

    asked: list[str]

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.asked += self.headers.get_all("Proxy-Authorization", [])
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"data": {"n": 1}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[str]]]:
    """A server on a port, and what it is asked for."""

    class Own(Handler):
        asked: list[str] = []  # noqa: RUF012 - this class is this server's

    with HTTPServer(("127.0.0.1", 0), Own) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, Own.asked
        finally:
            server.shutdown()
            thread.join()


async def ask(settings: Settings) -> int:
    retry = RetryPolicy(random=lambda: 0.0)
    async with Session(settings, retry=retry) as session:
        return (await session.ask(ASK)).n


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """What a client verifies certificates of this authority with."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
