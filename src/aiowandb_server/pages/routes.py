"""The routes of the web pages: the same HTML for all of them, static files, and the login."""

from __future__ import annotations

import html
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from starlette.responses import Response
from starlette.routing import Route

from aiowandb_server.pages.expressions import parse_expression
from aiowandb_server.responses import JSON, error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from aiowandb_server.access import Access
    from aiowandb_server.pages.login_links import LoginLinks
    from aiowandb_server.pages.sessions import Sessions

    Endpoint = Callable[[Request], Awaitable[Response]]

HEADERS = {
    # With Trusted Types, the browser refuses to turn text into markup.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
# How the second half of a page's path may begin, as in W&B's URLs.
_KINDS = ("runs", "sweeps", "artifacts", "workspace", "table", "overview", "groups", "reports")
_LONGEST_BODY = 10_000
_NO_PAGES = ("favicon.ico", "robots.txt")


class _Pages:
    def __init__(
        self, access: Access, sessions: Sessions, links: LoginLinks, local_key: str
    ) -> None:
        self._access = access
        self._sessions = sessions
        self._links = links
        self._local_key = local_key

    async def show(self, request: Request) -> Response:
        """The HTML of all pages. It has no data, so it needs no login."""
        parts = request.path_params
        if parts.get("entity") in _NO_PAGES or parts.get("kind", _KINDS[0]) not in _KINDS:
            return error(404, "page not found")
        root = request.scope.get("root_path", "")
        page = _shell().replace("{root}", html.escape(root, quote=True))
        return Response(page, media_type="text/html", headers=HEADERS)

    async def asset(self, request: Request) -> Response:
        found = _assets().get(request.path_params["name"])
        if found is None:
            return error(404, "file not found")
        return Response(found[0], media_type=found[1], headers=HEADERS)

    async def session(self, request: Request) -> Response:
        """The logged-in user."""
        session = self._sessions.find(request.scope)
        user = None
        if session is not None:
            user = await anyio.to_thread.run_sync(self._access.user, session.authorization)
        if session is None or user is None:
            return _json({"user": None}, 401)
        return _json({"user": user.username, "entity": user.entity})

    async def log_in(self, request: Request) -> Response:
        """Log the browser in with an API key, or with the token of a link."""
        # Forms of other origins cannot send this type without a CORS preflight.
        if request.headers.get("content-type", "").partition(";")[0] != JSON:
            return error(415, "send the key as JSON")
        sent = await _texts(request)
        key, mistake = sent.get("key", ""), "this is not a valid API key"
        if token := sent.get("token"):
            mistake = "this link has expired or has been used; `aiowandb open` prints another one"
            if await anyio.to_thread.run_sync(self._links.redeem, token):
                key = self._local_key
        elif not key or not key.isascii():
            return error(400, 'send {"key": "..."}')
        user = await anyio.to_thread.run_sync(self._access.user, f"Bearer {key}")
        if user is None:
            return error(401, mistake)
        cookie, csrf = self._sessions.start(user.id, key)
        response = _json({"csrf": csrf})
        self._sessions.set_cookie(response, cookie, secure=request.url.scheme == "https")
        return response

    async def log_out(self, request: Request) -> Response:
        if self._sessions.find(request.scope) is None:
            return error(401, "this browser is not logged in")
        response = _json({})
        self._sessions.log_out(response, request.scope)
        return response

    async def read_filter(self, request: Request) -> Response:
        """The filter for GraphQL that a filter expression means, or the error in it."""
        if self._sessions.find(request.scope) is None:
            return error(401, "log in first")
        text = request.query_params.get("text", "")
        if len(text) > _LONGEST_BODY:
            return error(400, "the filter is too long")
        try:
            return _json({"filters": await anyio.to_thread.run_sync(parse_expression, text)})
        except ValueError as failure:
            return error(400, str(failure))


def page_routes(
    access: Access, sessions: Sessions, links: LoginLinks, *, local_key: str
) -> list[Route]:
    """The routes of the pages; they must come last, because they match nearly every path."""
    pages = _Pages(access, sessions, links, local_key)
    routes: list[tuple[str, Endpoint, str]] = [
        ("/_pages/session", pages.session, "GET"),
        ("/_pages/login", pages.log_in, "POST"),
        ("/_pages/logout", pages.log_out, "POST"),
        ("/_pages/filter", pages.read_filter, "GET"),
        ("/_pages/{name}", pages.asset, "GET"),
        ("/", pages.show, "GET"),
        ("/{entity}", pages.show, "GET"),
        ("/{entity}/{project}", pages.show, "GET"),
        ("/{entity}/{project}/{kind}", pages.show, "GET"),
        ("/{entity}/{project}/{kind}/{rest:path}", pages.show, "GET"),
    ]
    return [Route(path, endpoint, methods=[method]) for path, endpoint, method in routes]


@cache
def _shell() -> str:
    return (resources.files("aiowandb_server.pages") / "static" / "shell.html").read_text(
        encoding="utf-8"
    )


@cache
def _assets() -> dict[str, tuple[bytes, str]]:
    folder = resources.files("aiowandb_server.pages") / "static"
    return {
        file.name: (file.read_bytes(), _TYPES[suffix])
        for file in folder.iterdir()
        if (suffix := file.name.rpartition(".")[2]) in _TYPES
    }


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(
        orjson.dumps(content),
        status,
        media_type=JSON,
        headers={"Cache-Control": "no-store"},
    )


async def _texts(request: Request) -> dict[str, str]:
    """The texts in the JSON object that was sent; none if it is something else."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_BODY:
            return {}
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    members = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in members if isinstance(value, str)}
