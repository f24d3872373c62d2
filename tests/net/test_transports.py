"""Proxies and certificates, against servers that really have them."""

from __future__ import annotations

import logging
import socket
import socketserver
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import certifi
import msgspec
import pytest
import trustme
from sniffio import current_async_library

from aiowandb import ConnectError
from aiowandb.config.settings import Settings
from aiowandb.net import Session
from aiowandb.net.proxies import environment_proxies
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
            proxy=f"http://me:secret@127.0.0.1:{port}",
            environ={},
        )
        assert await answer(settings) == 1
    assert asked == ["http://wandb.invalid/graphql", "Basic bWU6c2VjcmV0"]


class Tunnel(socketserver.StreamRequestHandler):
    """A proxy for HTTPS: whatever host it is asked for, it connects to `target`."""

    target: int
    heads: list[str]

    def handle(self) -> None:
        head = ""
        while not head.endswith("\r\n\r\n"):
            head += self.rfile.readline().decode()
        self.heads.append(head)
        with socket.create_connection(("127.0.0.1", self.target)) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(there, self.connection))
            back.start()
            pump(self.connection, there)
            back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


async def test_a_proxy_passes_encrypted_requests_on_and_learns_nothing_of_them(
    authority: trustme.CA,
) -> None:
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), trusting(authority)
    authority.issue_cert("wandb.invalid").configure_cert(server)
    with serving(server) as (port, asked):

        class Own(Tunnel):
            target = port
            heads: list[str] = []  # noqa: RUF012 - this class is this server's

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Own) as proxy:
            threading.Thread(target=proxy.serve_forever).start()
            try:
                settings = Settings.load(
                    api_key="k" * 40,
                    base_url="https://wandb.invalid",
                    proxy=f"http://me:s%C3%A9cret@127.0.0.1:{proxy.server_address[1]}",
                    verify=client,
                    environ={},
                )
                assert await answer(settings) == 1
            finally:
                proxy.shutdown()
    assert asked == ["/graphql"]
    (head,) = Own.heads
    assert head.startswith("CONNECT wandb.invalid:443 HTTP/1.1\r\n")
    credentials = b64encode("me:sécret".encode()).decode()
    assert f"proxy-authorization: basic {credentials}".lower() in head.lower()
    assert b64encode(b"api:" + b"k" * 40).decode() not in head


async def test_the_proxies_of_the_environment_count_where_the_settings_name_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings.load(api_key="k" * 40, base_url="http://wandb.invalid", environ={})
    with serving() as (port, asked):
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{port}")
        assert await answer(settings) == 1
        assert asked == ["http://wandb.invalid/graphql"]
        monkeypatch.setenv("http_proxy", "127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "example.org, 127.0.0.1")
        direct = Settings.load(api_key="k" * 40, base_url=f"http://127.0.0.1:{port}", environ={})
        assert await answer(direct) == 1


@pytest.mark.parametrize(
    ("no_proxy", "patterns"),
    [
        ("", {}),
        ("*", None),
        ("localhost,10.0.0.0/8", {"all://localhost", "all://10.0.0.0/8"}),
        ("::1, .example.org", {"all://[::1]", "all://*.example.org"}),
        ("http://plain.org", {"http://plain.org"}),
    ],
)
def test_who_needs_no_proxy_is_written_as_httpx_does(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, patterns: set[str] | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    found = environment_proxies()
    if patterns is None:
        assert found == {}
    else:
        assert {pattern for pattern, proxy in found.items() if proxy is None} == set(patterns)
        assert found["https://"] == found["all://"] == "http://proxy:1"


async def test_aiohttp_moves_the_bytes_on_asyncio_and_httpcore_on_trio(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "httpcore")
    with serving() as (port, _):
        url = f"http://127.0.0.1:{port}"
        assert await answer(Settings.load(api_key="k" * 40, base_url=url, environ={})) == 1
    is_httpcore = any(record.name.startswith("httpcore") for record in caplog.records)
    assert is_httpcore == (current_async_library() == "trio")


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


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
