"""Proxies and certificates, against servers that really have them."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import certifi
import msgspec
import pytest
import trustme

from aiowandb import ConnectError
from aiowandb.config.settings import Settings
from aiowandb.net import Session
from aiowandb.net.retry import RetryPolicy
from aiowandb.net.transports import verification
from aiowandb.wire.graphql import Operation

pytestmark = pytest.mark.anyio


class Answer(msgspec.Struct):
    n: int


ASK = Operation("Ask", "query Ask { n }", {}, Answer)


class Handler(BaseHTTPRequestHandler):
    """Answers everything alike, and remembers what was asked for."""

    asked: list[str]

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"data": {"n": 1}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[str]]]:
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


async def answer(settings: Settings) -> int:
    retry = RetryPolicy(random=lambda: 0.0)
    async with Session(settings, retry=retry) as session:
        return (await session.ask(ASK)).n


async def test_a_proxy_is_asked_in_place_of_the_host() -> None:
    with serving() as (port, asked):
        settings = Settings.load(
            api_key="k" * 40,
            base_url="http://wandb.invalid",
            proxy=f"http://127.0.0.1:{port}",
            environ={},
        )
        assert await answer(settings) == 1
    assert asked == ["http://wandb.invalid/graphql"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_settings(port: int, verify: ssl.SSLContext | bool | None) -> Settings:
    url = f"https://localhost:{port}"
    return Settings.load(api_key="k" * 40, base_url=url, verify=verify, environ={})


async def test_an_authority_and_a_certificate_of_ones_own_are_used(authority: trustme.CA) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.issue_cert("me@example.org").configure_cert(client)
    for side in (server, client):
        authority.configure_trust(side)
    with serving(server) as (port, _):
        assert await answer(tls_settings(port, client)) == 1


async def test_an_unknown_certificate_is_refused_unless_that_is_wanted(
    authority: trustme.CA,
) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    with serving(server) as (port, asked):
        with pytest.raises(
            ConnectError, match="certificate of localhost.* was not accepted: unable"
        ):
            await answer(tls_settings(port, None))
        assert asked == []
        with pytest.warns(UserWarning, match="not verified"):
            careless = tls_settings(port, False)
        assert await answer(careless) == 1


def test_the_usual_authorities_are_read_once_for_each_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    usual = verification(True)
    assert isinstance(usual, ssl.SSLContext)
    assert usual.verify_mode is ssl.CERT_REQUIRED
    assert verification(True) is usual
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert verification(True) is not usual
    assert verification(True) is verification(True)


def test_what_the_user_says_of_certificates_is_taken_as_it_is() -> None:
    own = ssl.create_default_context()
    assert verification(own) is own
    assert verification(False) is False
