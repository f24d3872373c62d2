"""Proxies: which one is used, and what it learns. On asyncio aiohttp speaks to them."""

from __future__ import annotations

import ssl
from base64 import b64encode
from contextlib import suppress

import anyio
import pytest
import trustme
from anyio import CancelScope
from anyio.abc import ByteStream, SocketStream
from anyio.streams.tls import TLSStream

from aiowandb.config.settings import Settings
from aiowandb.net.proxies import environment_proxies
from tests.support.answering import answering, ask, trusting
from tests.support.raw_http import receive_request, serving

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_requests_go_through_a_proxy() -> None:
    with answering() as (port, asked):
        settings = Settings.load(
            api_key="k" * 40,
            base_url="http://wandb.invalid",
            proxy=f"http://me:secret@127.0.0.1:{port}",
            environ={},
        )
        assert await ask(settings) == 1
    assert asked == ["http://wandb.invalid/graphql", "Basic bWU6c2VjcmV0"]


async def pump(source: ByteStream, target: ByteStream, both_ways: CancelScope) -> None:
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await target.send(await source.receive())
    both_ways.cancel()


async def tunnel(client: ByteStream, port: int) -> None:
    """Connect to the port, whatever host the client has asked for."""
    async with (
        await anyio.connect_tcp("127.0.0.1", port) as there,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(pump, client, there, tasks.cancel_scope)
        tasks.start_soon(pump, there, client, tasks.cancel_scope)


@pytest.mark.parametrize("scheme", ["http", pytest.param("https", marks=pytest.mark.slow)])
async def test_a_proxy_passes_encrypted_requests_on_and_learns_nothing_of_them(
    authority: trustme.CA, scheme: str
) -> None:
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), trusting(authority)
    authority.issue_cert("wandb.invalid", "127.0.0.1").configure_cert(server)
    heads: list[str] = []

    async def connect(stream: SocketStream) -> None:
        outer: ByteStream = stream
        if scheme == "https":
            outer = await TLSStream.wrap(
                stream, server_side=True, ssl_context=server, standard_compatible=False
            )
        heads.append((await receive_request(outer)).decode())
        await outer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await tunnel(outer, port)

    with answering(server) as (port, asked):
        async with serving(connect) as url:
            settings = Settings.load(
                api_key="k" * 40,
                base_url="https://wandb.invalid",
                proxy=url.replace("http://", f"{scheme}://me:s%C3%A9cret@"),
                verify=client,
                environ={},
            )
            assert await ask(settings) == 1
    assert asked == ["/graphql"]
    (head,) = heads
    assert head.startswith("CONNECT wandb.invalid:443 HTTP/1.1\r\n")
    credentials = b64encode("me:sécret".encode()).decode()
    assert f"proxy-authorization: basic {credentials}".lower() in head.lower()
    assert b64encode(b"api:" + b"k" * 40).decode() not in head


@pytest.mark.parametrize("scheme", ["https", pytest.param("http", marks=pytest.mark.slow)])
async def test_a_proxy_of_socks_is_used_on_both_event_loops(
    authority: trustme.CA, scheme: str
) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("wandb.invalid").configure_cert(server)
    hosts: list[bytes] = []

    async def connect(stream: SocketStream) -> None:
        assert (await stream.receive())[0] == 5
        await stream.send(b"\x05\x00")  # needs no password
        request = await stream.receive()
        hosts.append(request[5 : 5 + request[4]])
        await stream.send(b"\x05\x00\x00\x01" + bytes(6))
        await tunnel(stream, port)

    with answering(server if scheme == "https" else None) as (port, asked):
        async with serving(connect) as url:
            settings = Settings.load(
                api_key="k" * 40,
                base_url=f"{scheme}://wandb.invalid",
                proxy=url.replace("http://", "socks5://"),
                verify=trusting(authority),
                environ={},
            )
            assert await ask(settings) == 1
    assert asked == ["/graphql"]
    assert hosts == [b"wandb.invalid"]


async def test_the_proxies_of_the_environment_count_where_the_settings_name_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings.load(api_key="k" * 40, base_url="http://wandb.invalid", environ={})
    with answering() as (port, asked):
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{port}")
        assert await ask(settings) == 1
        assert asked == ["http://wandb.invalid/graphql"]
        monkeypatch.setenv("http_proxy", "127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "example.org, 127.0.0.1")
        direct = Settings.load(api_key="k" * 40, base_url=f"http://127.0.0.1:{port}", environ={})
        assert await ask(direct) == 1


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
def test_no_proxy_is_converted_to_the_format_of_httpx(
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
