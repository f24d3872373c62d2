"""Adds credentials to requests, only to those for the host that they belong to."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncGenerator, Callable

import anyio
import httpx

from aiowandb.config.credentials import ApiKey, AuthorizationHeader, IdentityToken
from aiowandb.config.headers import PROXY_AUTHORIZATION
from aiowandb.config.settings import Settings
from aiowandb.errors import AuthenticationError
from aiowandb.net.access_tokens import AccessTokens
from aiowandb.net.attempts import Transient
from aiowandb.net.secrets import Secrets


class SignedUrl(httpx.URL):
    """A URL whose query may be a signature, which httpx would write to its log."""


def _hide_signatures(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            httpx.URL(arg).copy_with(query=None) if isinstance(arg, SignedUrl) else arg
            for arg in record.args
        )
    return True


# httpx2 can stand in for httpx under its name; its logger has its own.
logging.getLogger(httpx.__name__).addFilter(_hide_signatures)


class HostAuth(httpx.Auth):
    """Adds credentials to requests below the base URL; other URLs carry their own signature.

    `check` raises the exception for a response that is not a success.
    """

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        check: Callable[[httpx.Response, bytes, str], None],
    ) -> None:
        self._base = httpx.URL(settings.base_url)
        self._credentials = settings.credentials
        self._extra = settings.headers.without(PROXY_AUTHORIZATION)
        self._secrets = secrets
        self._check = check
        self._exchanging = anyio.Lock()
        self._tokens: AccessTokens | None = None
        if isinstance(settings.credentials, IdentityToken):
            self._tokens = AccessTokens(settings.base_url, settings.credentials)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        bearer: str | None = None
        request.url = SignedUrl(request.url)
        if is_ours := self._is_ours(request.url):
            self._add_headers(request)
            if isinstance(self._credentials, ApiKey):
                token = base64.b64encode(f"api:{self._credentials.reveal()}".encode()).decode()
                request.headers["Authorization"] = f"Basic {token}"
            elif isinstance(self._credentials, AuthorizationHeader):
                request.headers["Authorization"] = self._credentials.reveal()
            elif self._tokens:
                async with self._exchanging:
                    while (bearer := await self._tokens.current()) is None:
                        exchange = await self._tokens.exchange()
                        self._secrets.assertion = self._tokens.assertion
                        self._add_headers(exchange)
                        try:
                            response = yield exchange
                        finally:
                            self._forget_headers(exchange)
                            _forget_body(exchange)
                        await self._tokens.store(await self._granted(response))
                self._secrets.token = bearer
                request.headers["Authorization"] = f"Bearer {bearer}"
        try:
            response = yield request
        finally:
            if is_ours:
                self._forget_headers(request)
        if self._tokens and bearer:
            self._learn(self._tokens, bearer, response)

    def _add_headers(self, request: httpx.Request) -> None:
        request.headers.update(self._extra.reveal())

    def _forget_headers(self, request: httpx.Request) -> None:
        """httpx's exceptions hold the request, and may end up in a report or a pickle."""
        for name in ("Authorization", *self._extra.names):
            request.headers.pop(name, None)

    def _learn(self, tokens: AccessTokens, bearer: str, response: httpx.Response) -> None:
        if response.status_code != 401:
            tokens.accepted(bearer)
        elif tokens.refused(bearer):
            raise Transient(self._refusal("no longer accepts the access token.", response))
        else:
            raise self._refusal(
                "does not accept the access token that it has just issued.", response
            )

    async def _granted(self, response: httpx.Response) -> bytes:
        body = await response.aread()
        if 400 <= response.status_code < 500 and response.status_code != 429:
            raise self._refusal(
                "did not exchange the identity token for an access token: it answered"
                f" {response.status_code}. Check the token's audience and expiry.",
                response,
            )
        self._check(response, body, "Token exchange")
        return body

    def _refusal(self, what: str, response: httpx.Response) -> AuthenticationError:
        error = AuthenticationError(
            f"{self._base} {what}", status=response.status_code, operation="Token exchange"
        )
        # Without the response's body: it may repeat the token.
        self._secrets.attach_response(error, response, b"")
        return error

    def _is_ours(self, url: httpx.URL) -> bool:
        base = self._base
        same_origin = (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)
        return same_origin and url.path.startswith(base.path.rstrip("/") + "/")

    def __repr__(self) -> str:
        return f"HostAuth({self._base}, {self._credentials!r})"


def _forget_body(request: httpx.Request) -> None:
    """The same for what was sent, which has the identity token."""
    vars(request).pop("_content", None)
    request.stream = httpx.ByteStream(b"")
