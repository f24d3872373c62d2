"""Both of what moves the bytes under httpx on asyncio, for tests that both have to pass."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import httpx
import pytest

from aiowandb.net.aiohttp_transport import AiohttpTransport
from aiowandb.net.transports import HttpcoreTransport

Open = Callable[..., httpx.AsyncBaseTransport]


@pytest.fixture(params=["aiohttp", "httpcore"])
def open_transport(request: pytest.FixtureRequest) -> Open:
    return _aiohttp if request.param == "aiohttp" else _httpcore


def _aiohttp(
    verify: ssl.SSLContext | bool = False, connections: int = 4
) -> httpx.AsyncBaseTransport:
    return AiohttpTransport(verify=verify, limits=httpx.Limits(max_connections=connections))


def _httpcore(
    verify: ssl.SSLContext | bool = False, connections: int = 4
) -> httpx.AsyncBaseTransport:
    limits = httpx.Limits(max_connections=connections)
    return HttpcoreTransport(verify=verify, limits=limits, proxy=None)
