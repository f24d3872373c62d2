"""Transports, proxies and certificates, with servers that really have them."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import certifi
import pytest
import trustme
from sniffio import current_async_library

from aiowandb import ConnectError
from aiowandb.config.settings import Settings
from aiowandb.net.transports import verification
from tests.support.answering import answering, ask

pytestmark = pytest.mark.anyio


async def test_aiohttp_moves_the_bytes_on_asyncio_and_httpcore_on_trio(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "httpcore")
    with answering() as (port, _):
        url = f"http://127.0.0.1:{port}"
        assert await ask(Settings.load(api_key="k" * 40, base_url=url, environ={})) == 1
    is_httpcore = any(record.name.startswith("httpcore") for record in caplog.records)
    assert is_httpcore == (current_async_library() == "trio")


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
    with answering(server) as (port, _):
        assert await ask(tls_settings(port, client)) == 1


async def test_an_unknown_certificate_is_refused_unless_that_is_wanted(
    authority: trustme.CA,
) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    with answering(server) as (port, asked):
        with pytest.raises(
            ConnectError, match="certificate of localhost.* was not accepted: unable"
        ):
            await ask(tls_settings(port, None))
        assert asked == []
        with pytest.warns(UserWarning, match="not verified"):
            careless = tls_settings(port, False)
        assert await ask(careless) == 1


def test_the_default_certificates_are_read_once_for_each_environment(
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


def test_the_users_ssl_context_is_used_unchanged() -> None:
    own = ssl.create_default_context()
    assert verification(own) is own
    assert verification(False) is False
