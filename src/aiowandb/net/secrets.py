"""Removes secrets from what errors show of a response: servers repeat what they were sent."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

import httpx

from aiowandb.config.credentials import ApiKey, AuthorizationHeader, Credentials
from aiowandb.config.headers import ExtraHeaders
from aiowandb.config.settings import refused_credentials
from aiowandb.errors import AuthenticationError, CommError, ResponseFacts

_LONGEST_TEXT = 2_000
_LONGEST_HEADER = 200
# Shorter values are not secrets, and may occur in any text.
_SHORTEST_SECRET = 12
# What follows the path of a link, which W&B may have signed.
_QUERY = re.compile(r"(https?://[^\s\"'<>?]+\?)[^\s\"'<>]+")
# Who answered, how, and the number under which the server has logged the request.
SAFE_HEADERS = frozenset(
    {
        "age",
        "cf-ray",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "retry-after",
        "server",
        "via",
        "x-amz-id-2",
        "x-amz-request-id",
        "x-guploader-uploadid",
        "x-ms-request-id",
        "x-request-id",
    }
)


class Secrets:
    """The credentials of a session, and the user's headers.

    `token` is the current access token, `assertion` the identity token that it was issued for.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        base_url: str,
        headers: ExtraHeaders = ExtraHeaders(),  # noqa: B008 - it does not change
    ) -> None:
        self.token: str | None = None
        self.assertion: str | None = None
        self._credentials = credentials
        self._base_url = base_url
        self._forms = list(headers.secrets())
        if isinstance(credentials, ApiKey):
            key = credentials.reveal()
            self._forms += [key, base64.b64encode(f"api:{key}".encode()).decode()]
        elif isinstance(credentials, AuthorizationHeader):
            self._forms += ExtraHeaders({"Authorization": credentials.reveal()}).secrets()

    def hide(self, text: str, url: httpx.URL) -> str:
        """The text without credentials, the signature of this URL, and those of other links."""
        text = _QUERY.sub(r"\1***", text)
        for secret in (*self._forms, self.token or "", self.assertion or "", *_signature(url)):
            if len(secret) >= _SHORTEST_SECRET:
                text = _without(text, secret)
        return text

    def attach_response(self, error: CommError, response: httpx.Response, body: bytes) -> None:
        """Add to the error what may be shown of the response that it stands for."""
        url = response.request.url
        headers = {
            name: self.hide(value, url)[:_LONGEST_HEADER]
            for name, value in response.headers.items()
            if name in SAFE_HEADERS
        }
        text = self.hide(body[:_LONGEST_TEXT].decode("utf-8", "replace"), url)
        error.response = ResponseFacts(response.status_code, headers, text)
        error.url = str(url.copy_with(query=None, fragment=None))
        error.message = self.hide(error.message, url)
        is_ours = str(url).startswith(f"{self._base_url}/")
        # A link that is refused has expired: the key has no part in it.
        is_link = response.status_code == 403 and url.query
        if isinstance(error, AuthenticationError) and is_ours and not is_link:
            advice = refused_credentials(self._credentials, self._base_url, response.status_code)
            error.message = f"{error.message.rstrip('.')}. {advice}"
        error.args = (error.message,)


def _without(text: str, secret: str) -> str:
    text = text.replace(secret, "***")
    # A text that was cut off may end in the middle of the secret.
    for size in range(min(len(secret), len(text)) - 1, _SHORTEST_SECRET - 1, -1):
        if text.removesuffix("…").endswith(secret[:size]):
            return text.removesuffix("…")[:-size] + "***"
    return text


def _signature(url: httpx.URL) -> Iterator[str]:
    """The query, and its values, both encoded and decoded."""
    query = url.query.decode()
    yield query
    for pair in query.split("&"):
        value = pair.partition("=")[2]
        yield value
        yield unquote_plus(value)
