"""Servers with broken certificates and handshakes: one clear error, and the key is not sent."""

from __future__ import annotations

import gc
import io
import re
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import anyio
import httpx
import pytest

from aiowandb import Api, AsyncApi, CommError, ConnectError, RetryPolicy, TimeoutError
from aiowandb.config.settings import Settings
from aiowandb.net import Session, transports
from aiowandb.net.transports import LoopTransport, verification
from aiowandb.redaction import Link
from aiowandb_server import RunChanges, Store, create_app
from tests.support.answering import ASK, answering, ask
from tests.support.broken_tls import OK as OK_ANSWER
from tests.support.broken_tls import (
    BrokenTls,
    Seen,
    closing_at_once,
    closing_in_the_handshake,
    counted,
    encrypted,
    refusing,
    silent,
    speaking_nonsense,
    speaking_plain_http,
)
from tests.support.raw_http import serving
from tests.support.shell import aiowandb

pytestmark = pytest.mark.anyio
KEY = "k" * 40
# The server, what the error says, and how many connections that takes. A certificate does not
# get better, and neither does a server that speaks no TLS; a broken connection may.
FINAL: dict[str, tuple[Callable[[BrokenTls], ssl.SSLContext], str]] = {
    "expired": (BrokenTls.expired, "has expired. It has to be renewed, or this computer"),
    "not yet valid": (BrokenTls.not_yet_valid, "not yet valid. .* computer's date is wrong"),
    "another host": (
        BrokenTls.of_another_host,
        "not valid for 'localhost'. Check the URL",
    ),
    "unknown authority": (BrokenTls.of_an_unknown_authority, "unable to get .* set SSL_CERT_FILE"),
    "self-signed": (BrokenTls.self_signed, "self-signed .* set SSL_CERT_FILE .* verify="),
    "cut chain": (BrokenTls.with_a_cut_chain, "unable to get local issuer"),
    "TLS 1.0": (BrokenTls.of_an_old_version, "no version of TLS that is safe: at least 1.2"),
    # With TLS 1.3 the client learns this only after its handshake.
    "client": (BrokenTls.for_known_clients, "a certificate of the client: .*load_cert_chain"),
}
BROKEN: dict[str, tuple[Callable[..., object], str, int]] = {
    "plain HTTP": (speaking_plain_http, "does not speak TLS on this port, .* http://", 1),
    "nonsense": (speaking_nonsense, "does not speak TLS on this port", 1),
    "closes at once": (closing_at_once, "Could not connect .*(closed the connection|reset)", 2),
    "closes in the handshake": (closing_in_the_handshake, "closed .* the TLS handshake", 2),
    "refuses": (refusing, "SSLV3_ALERT_HANDSHAKE_FAILURE", 2),
}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> BrokenTls:
    return BrokenTls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def _collects_no_garbage() -> Iterator[None]:
    """The garbage collector would close forgotten sockets."""
    gc.disable()
    yield
    gc.enable()


def settings(tls: BrokenTls, url: str, timeout: float = 20.0) -> Settings:
    return Settings.load(
        api_key=KEY,
        base_url=url.replace("http://127.0.0.1", "https://localhost"),
        verify=tls.trusting(),
        timeout=timeout,
        environ={},
    )


async def refused(
    tls: BrokenTls, answer: Callable[..., object], seconds: float = 20.0
) -> tuple[CommError, Seen]:
    """The error of a client that is closed then, and what the server has seen of it."""
    seen = Seen()
    async with serving(counted(seen, answer)) as url:
        retry = RetryPolicy(random=lambda: 0.0)
        async with Session(settings(tls, url, seconds), retry=retry) as session:
            with pytest.raises(CommError) as caught:
                await session.ask(ASK)
        with anyio.fail_after(60):
            await seen.left.wait()  # all connections are closed
    assert seen.data.count(b"Authorization") == 0
    assert "localhost:" in str(caught.value)
    return caught.value, seen


@pytest.mark.parametrize(("server", "words"), FINAL.values(), ids=FINAL)
async def test_a_certificate_that_is_not_accepted_is_an_error_at_once(
    tls: BrokenTls, server: Callable[[BrokenTls], ssl.SSLContext], words: str
) -> None:
    error, seen = await refused(tls, encrypted(server(tls)))
    assert isinstance(error, ConnectError)
    assert re.search(words, str(error))
    assert seen.connections == 1


@pytest.mark.parametrize(("server", "words", "connections"), BROKEN.values(), ids=BROKEN)
async def test_a_server_that_breaks_the_handshake_off_is_not_asked_for_long(
    tls: BrokenTls, server: Callable[..., object], words: str, connections: int
) -> None:
    error, seen = await refused(tls, server)
    assert isinstance(error, ConnectError)
    assert re.search(words, str(error))
    assert seen.connections == connections


@pytest.mark.slow
async def test_a_limit_of_a_call_says_what_failed_before(tls: BrokenTls) -> None:
    async with serving(counted(Seen(), closing_at_once)) as url:
        forever = RetryPolicy(random=lambda: 0.01, max_connect_failures=10**9, max_failures=10**9)
        async with AsyncApi(
            KEY,
            base_url=url.replace("http://127.0.0.1", "https://localhost"),
            verify=tls.trusting(),
            total_timeout=2,
            retry=forever,
        ) as api:
            with pytest.raises(
                TimeoutError, match=r"waiting for Run from .* \(localhost:\d+: could not connect\)"
            ):
                await api.run("e/p/r")


@pytest.mark.slow
@pytest.mark.parametrize("is_dripping", [False, True])
async def test_a_handshake_that_does_not_end_is_a_timeout_and_leaves_no_socket(
    tls: BrokenTls, is_dripping: bool
) -> None:
    server = encrypted(tls.valid(), pause=0.02) if is_dripping else silent
    error, seen = await refused(tls, server, seconds=1)
    assert isinstance(error, TimeoutError)
    assert re.search("no answer from localhost:.* within 1 s", str(error))
    assert seen.connections == 1


# In a record of a short answer, and in one of several of a long file.
LONG = bytes(range(256)) * 400
FILE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(LONG), LONG)


# As everywhere: httpcore leaves what it sends to the garbage collector when that breaks.
@pytest.mark.filterwarnings("ignore:Async generator 'http(x|core)[.]:ResourceWarning")
@pytest.mark.parametrize("resets", [2, 10**9])
async def test_a_connection_that_is_reset_within_a_record_is_a_failed_attempt(
    tls: BrokenTls, resets: int
) -> None:
    retry = RetryPolicy(random=lambda: 0.0, max_failures=3)
    for answer in (OK_ANSWER, FILE):
        seen, file = Seen(), io.BytesIO()
        server = counted(seen, encrypted(tls.valid(), answer, resets=resets))
        async with serving(server) as url:
            async with Session(settings(tls, url), retry=retry) as session:
                link = Link(f"{session.settings.base_url}/file")
                with pytest.raises(CommError) if resets > 3 else nullcontext() as caught:
                    if answer is FILE:
                        await session.download(link, file)
                    else:
                        assert (await session.ask(ASK)).n == 1
            with anyio.fail_after(60):
                await seen.left.wait()
        assert seen.connections == 3
        if caught:
            assert re.search(
                "localhost.*the connection broke|the connection broke.*localhost", str(caught.value)
            )
        elif answer is FILE:
            assert file.getvalue() == LONG


def test_the_synchronous_client_and_the_commands_say_the_same(tls: BrokenTls) -> None:
    with answering(tls.expired()) as (port, asked):
        url = f"https://localhost:{port}"
        with (
            Api(KEY, base_url=url, verify=tls.trusting()) as api,
            pytest.raises(ConnectError, match="certificate has expired") as caught,
        ):
            api.run("e/p/r")
        told = aiowandb(
            "runs", "e/p", WANDB_BASE_URL=url, WANDB_API_KEY=KEY, SSL_CERT_FILE=str(tls.bundle)
        )
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr == f"aiowandb: {caught.value}\n"
        assert asked == []


def test_an_authority_in_the_environment_is_trusted(
    tls: BrokenTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.bundle))
    context = verification(True)
    assert isinstance(context, ssl.SSLContext)
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("is_folder", [False, True])
async def test_an_authority_of_the_system_is_trusted(
    tls: BrokenTls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_folder: bool
) -> None:
    """As the authorities that a company installs, in a folder as OpenSSL has it, or otherwise."""
    paths = ssl.get_default_verify_paths()._replace(capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    transports._usual_authorities.cache_clear()
    if is_folder:
        if not shutil.which("openssl"):
            pytest.skip("there is no openssl to name the file")
        command = ["openssl", "x509", "-subject_hash", "-noout", "-in", str(tls.bundle)]
        name = (await anyio.run_process(command)).stdout.decode().strip()
        shutil.copy(tls.bundle, tmp_path / f"{name}.0")
    else:

        def load(context: ssl.SSLContext) -> None:
            context.load_verify_locations(tls.bundle)

        monkeypatch.setattr(ssl.SSLContext, "load_default_certs", load)
    try:
        with answering(tls.valid()) as (port, _):
            url = f"https://localhost:{port}"
            assert await ask(Settings.load(api_key=KEY, base_url=url, environ={})) == 1
    finally:
        transports._usual_authorities.cache_clear()


async def test_a_download_from_a_host_with_a_bad_certificate_fails_at_once(
    tls: BrokenTls, tmp_path: Path
) -> None:
    seen = Seen()
    with Store.open(tmp_path / "wandb", crash_after=float("inf")) as store:
        project, _ = store.projects.ensure("local", "p")
        run, _ = store.runs.upsert(project, "r", RunChanges())
        store.history.append(run, [f'{{"_step": {step}}}' for step in range(9)])
        store.compaction.compact(run.id)
        async with serving(counted(seen, encrypted(tls.expired()))) as url:
            transport = ElsewhereTransport(
                store, url.replace("http://127.0.0.1", "https://localhost"), tls
            )
            async with AsyncApi(
                store.local_key, base_url="http://wandb.test", transport=transport
            ) as api:
                reading = (await api.run("local/p/r")).scan_history()
                with pytest.raises(ConnectError, match="certificate of localhost:.* has expired"):
                    [row async for row in reading]
    assert seen.data == b""
    assert seen.connections == 1


class ElsewhereTransport(httpx.AsyncBaseTransport):
    """Asks the embedded W&B; its links lead to another host, which is really asked."""

    def __init__(self, store: Store, files: str, tls: BrokenTls) -> None:
        self._wandb = httpx.ASGITransport(create_app(store))
        self._files = files.replace("http://127.0.0.1", "https://localhost").encode()
        self._network = LoopTransport(tls.trusting(), httpx.Limits())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != "wandb.test":
            assert "Authorization" not in request.headers
            return await self._network.handle_async_request(request)
        response = await self._wandb.handle_async_request(request)
        body = (await response.aread()).replace(b"http://wandb.test", self._files)
        return httpx.Response(response.status_code, content=body)

    async def aclose(self) -> None:
        await self._network.aclose()
