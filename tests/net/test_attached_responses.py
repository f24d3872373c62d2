"""What errors contain of responses: enough to understand them, and no secrets."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import msgspec
import pytest

from aiowandb import AuthenticationError, CommError, GraphQLError, LinkError, ServerError
from aiowandb.config.settings import Settings
from aiowandb.errors import ResponseFacts
from aiowandb.net import Session
from aiowandb.net.retry import RetryPolicy
from aiowandb.redaction import Link
from aiowandb.wire.graphql import Operation

pytestmark = pytest.mark.anyio
KEY = "s3cret" * 7
BASIC = base64.b64encode(f"api:{KEY}".encode()).decode()
SIGNATURE = "%2Fq7" + "f00d" * 30 + "%3D"
URL = f"http://store.test/x?Expires=1795000000&Signature={SIGNATURE}"


class Answer(msgspec.Struct):
    n: int


ASK = Operation("Ask", "query Ask { n }", {}, Answer)


async def error_of(answer: httpx.Response, link: str | None = None) -> CommError:
    settings = Settings.load(api_key=KEY, base_url="http://wandb.test", environ={})
    transport = httpx.MockTransport(lambda request: answer)
    retry = RetryPolicy(random=lambda: 0.0)
    async with Session(settings, transport=transport, retry=retry) as session:
        with pytest.raises(CommError) as caught:
            if link:
                await session.download(Link(link), io.BytesIO())
            else:
                await session.ask(ASK)
    return caught.value


def shown(error: CommError) -> str:
    return repr((str(error), error.args, vars(error)))


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (401, {"errors": [{"message": "not logged in"}]}, AuthenticationError),
        (500, {"error": "oops"}, ServerError),
        (200, {"errors": [{"message": "permission denied"}], "data": None}, GraphQLError),
        (200, {"data": {"n": "no number"}}, ServerError),
    ],
)
async def test_an_error_has_the_request_and_the_response(
    status: int, said: Any, kind: type[CommError]
) -> None:
    error = await error_of(httpx.Response(status, json=said))
    assert type(error) is kind
    assert (error.operation, error.url, error.status) == (
        "Ask",
        "http://wandb.test/graphql",
        status,
    )
    assert error.response is not None
    assert error.response.status_code == status
    assert error.response.text == httpx.Response(200, json=said).text
    assert error.response.headers["content-type"] == "application/json"


async def test_a_refused_key_is_named_by_its_source_and_its_end() -> None:
    error = await error_of(httpx.Response(401, json={"error": f"wrong key {KEY}"}))
    assert str(error) == (
        "Ask: W&B answered 401: wrong key ***. The request used the API key from the argument"
        " api_key that ends in cret, which wandb.test rejects: get a key at http://wandb.test/authorize."
    )


async def test_a_key_that_may_not_is_named_too() -> None:
    error = await error_of(httpx.Response(403, json={"error": "not yours"}))
    assert "used the API key from the argument api_key that ends in cret" in str(error)


@pytest.mark.parametrize(
    ("status", "link"),
    [(401, URL), (403, URL), (403, f"http://wandb.test/x.parquet?signature={SIGNATURE}")],
    ids=["401", "403", "of W&B itself"],
)
async def test_a_refused_link_is_no_matter_of_the_key(status: int, link: str) -> None:
    error = await error_of(httpx.Response(status, json={"error": "expired"}), link)
    assert isinstance(error, LinkError)
    assert "API key" not in str(error)


async def test_without_an_answer_there_are_no_facts() -> None:
    settings = Settings.load(api_key=KEY, base_url="http://wandb.test", environ={})

    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with Session(settings, transport=httpx.MockTransport(nobody)) as session:
        with pytest.raises(CommError) as caught:
            await session.ask(ASK)
    assert caught.value.response is None
    assert isinstance(caught.value.exc, httpx.ConnectError)


async def test_only_the_beginning_of_a_long_answer_is_shown() -> None:
    error = await error_of(httpx.Response(400, text="x" * 1_000_000))
    assert error.response is not None
    assert error.response.text == "x" * 2_000


async def test_only_safe_headers_are_shown() -> None:
    headers = {
        "X-Request-Id": "1234",
        "Retry-After": "7",
        "Set-Cookie": "session=1",
        "Location": URL,
        "WWW-Authenticate": "Basic",
        "Server": f"echo {KEY}",
    }
    error = await error_of(httpx.Response(400, headers=headers))
    assert error.response == ResponseFacts(
        400,
        {"x-request-id": "1234", "retry-after": "7", "server": "echo ***"},
        "",
    )


@pytest.mark.parametrize("secret", [KEY, BASIC])
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("place", [0, 290, 1_990], ids=["whole", "cut in words", "cut in text"])
async def test_a_key_that_the_server_repeats_is_not_shown(
    secret: str, status: int, place: int
) -> None:
    error = await error_of(httpx.Response(status, text="x" * place + secret + "y" * 5_000))
    assert secret[:12] not in shown(error)


async def test_a_signature_that_the_store_repeats_is_not_shown() -> None:
    said = f"<Signature>{SIGNATURE}</Signature> /q7{'f00d' * 30}= {URL}"
    error = await error_of(httpx.Response(403, text=said), URL)
    assert isinstance(error, LinkError)
    assert (error.status, error.url) == (403, "http://store.test/x")
    assert error.response is not None
    assert error.response.text == "<Signature>***</Signature> *** http://store.test/x?***"
    assert "f00d" not in shown(error)
