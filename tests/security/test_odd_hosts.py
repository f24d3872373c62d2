"""Heads of requests as no client writes them, with other names for the server than its own."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiowandb_server import Store, connections, create_app, serve_in_thread, server

VIEWER = b'{"query": "{viewer{username}}"}'


@pytest.fixture(params=["httptools", "h11"])
def port(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[int]:
    """That of a server with each of the two parsers."""
    if request.param == "h11":
        monkeypatch.setattr(server, "connection_class", lambda: connections._H11Connection)
    with Store.open(tmp_path / "data") as store:
        project, _ = store.projects.ensure("local", "p")
        run, _ = store.runs.upsert(project, "r")
        store.files.add(run, "a.txt", b"content")
        with serve_in_thread(create_app(store, open_access=True)) as url:
            yield int(url.rpartition(":")[2])


def ask(port: int, line: str, *headers: str, body: bytes = b"") -> tuple[int, str]:
    """Status and text of the answer to exactly this head, in which PORT is the server's."""
    length = [f"Content-Length: {len(body)}"] if body else []
    head = "\r\n".join([f"{line} HTTP/1.1", *headers, *length, "Connection: close", "", ""])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.replace("PORT", str(port)).encode() + body)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return int(received.split()[1]), received.decode("latin-1")


def test_only_a_name_of_this_machine_with_a_port_is_its_host(port: int) -> None:
    for host in ("127.0.0.1:PORT", "LOCALHOST.:PORT", "[::1]", "127.9.9.9", "a.localhost:80"):
        status, _ = ask(port, "GET /healthz", f"Host: {host}")
        assert status == 200, host
    for host in (
        *("127.0.0.1:PORT@evil.test", "evil.test@127.0.0.1:PORT", "[::1]:80@evil.test"),
        *("[::1]evil.test", "localhost:PORT:evil.test", "localhost:evil.test", "localhost/evil"),
        *(
            "localhost..",
            "127.0.0.1, evil.test",
            "127.0.0.1\tevil.test",
            "localhost#",
            "localhost?",
        ),
        *("", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "[::ffff:10.0.0.1]", "[::1%25lo]"),
    ):
        status, _ = ask(port, "GET /healthz", f"Host: {host}")
        assert status in (400, 403), host
    for pair in (("127.0.0.1:PORT", "evil.test"), ("evil.test", "127.0.0.1:PORT")):
        status, _ = ask(port, "GET /healthz", *(f"Host: {host}" for host in pair))
        assert status in (400, 403), pair


def test_links_lead_to_this_server_whatever_a_head_says(port: int) -> None:
    query = (
        '{"query": "{project(name:\\"p\\"){run(name:\\"r\\"){files{edges{node{url uploadUrl}}}}}}"}'
    )
    forwarded = (
        *("X-Forwarded-Host: evil.test", "Forwarded: host=evil.test", "X-Host: evil.test"),
        *("X-Original-Host: evil.test", "X-Forwarded-Server: evil.test"),
        *("X-Forwarded-Prefix: //evil.test", "X-Original-URL: //evil.test/"),
    )
    headers = ("Host: localhost:PORT", "Authorization: Bearer local", *forwarded)
    for target in ("/graphql", "http://evil.test/graphql"):
        status, text = ask(port, f"POST {target}", *headers, body=query.encode())
        links = re.findall(r'"(\w+://[^"]*)"', text)
        assert status in (200, 404), target
        assert bool(links) == (status == 200)
        assert all(link.startswith(f"http://localhost:{port}/files/") for link in links)


def test_an_origin_that_is_not_exactly_this_server_writes_nothing(port: int) -> None:
    headers = ("Host: 127.0.0.1:PORT", "Authorization: Bearer local")
    for origin in ("http://127.0.0.1:PORT", "HTTP://127.0.0.1:PORT"):
        status, _ = ask(port, "POST /graphql", *headers, f"Origin: {origin}", body=VIEWER)
        assert status == 200, origin
    for origin in (
        *("null", "", "http://", "file://", "http://[evil", "http://127.0.0.1", "127.0.0.1:PORT"),
        *(
            "http://127.0.0.1:PORT@evil.test",
            "http://evil.test@127.0.0.1:PORT",
            "http://[::1]:PORT",
        ),
        *("http://127.0.0.1:PORT.evil.test", "http://127.0.0.1:PORT, http://evil.test"),
        *("http://localhost:PORT", "http://127.0.0.1:PORT/"),
    ):
        status, text = ask(port, "POST /graphql", *headers, f"Origin: {origin}", body=VIEWER)
        assert status == 403, origin
        assert "may not write to this server" in text
    status, _ = ask(port, "POST /graphql", "Host: ", *headers[1:], "Origin: null", body=VIEWER)
    assert status in (400, 403)
