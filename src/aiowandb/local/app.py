"""The embedded W&B as an ASGI application: which path is answered by what.

Works without lifespan events, on asyncio and on trio. The store blocks, so a request is handled
in a worker thread; only reading and sending bytes happens in the event loop.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import orjson
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from aiowandb.errors import UsageError
from aiowandb.local.access import Access
from aiowandb.local.file_stream import parse_update
from aiowandb.local.graphql.context import Context
from aiowandb.local.graphql.execution import answer, refused
from aiowandb.local.links import Links
from aiowandb.local.traffic import DEFAULT_MAX_BODY, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.requests import Request

    from aiowandb.local.store.history import HistoryMode
    from aiowandb.local.store.records import Run
    from aiowandb.local.store.store import Store

logger = logging.getLogger("aiowandb.local")
_JSON = "application/json"


def create_app(
    store: Store,
    *,
    keys: Iterable[str] = (),
    open_access: bool = False,
    history: HistoryMode = "parquet",
    rate_limit: float | None = None,
    latency: float = 0.0,
    max_body: int = DEFAULT_MAX_BODY,
) -> Traffic:
    """The application over a store.

    `keys` are accepted as the user `local`, beside the store's own key. `open_access` accepts any
    key as a user of that name: for development on this machine only. `history` is how finished
    history is handed out: as Parquet, as JSON, or half and half. `rate_limit` (requests a second)
    and `latency` (seconds) make the server behave like a busy one.
    """
    local = store.accounts.ensure_user("local", is_admin=True)
    for key in keys:
        store.accounts.add_key(local.id, key, "given when the server was started")
    endpoints = _Endpoints(store, Access(store, open_access=open_access), history)
    routes = [
        Route("/graphql", endpoints.graphql, methods=["POST"]),
        Route(
            "/files/{entity}/{project}/{run}/file_stream", endpoints.file_stream, methods=["POST"]
        ),
        Route("/exports/{token}.parquet", endpoints.export, methods=["GET", "HEAD"]),
        Route("/healthz", _healthy, methods=["GET"]),
    ]
    return Traffic(
        Starlette(routes=routes), rate_limit=rate_limit, latency=latency, max_body=max_body
    )


class _Endpoints:
    def __init__(self, store: Store, access: Access, history: HistoryMode) -> None:
        self._store = store
        self._access = access
        self._history = history

    async def graphql(self, request: Request) -> Response:
        body = await request.body()
        links = self._links(request)
        authorization = request.headers.get("authorization")

        def execute() -> Response:
            viewer = self._access.user(authorization)
            if viewer is None:
                found = refused("user is not logged in", 401)
            else:
                context = Context(self._store, viewer, self._access, links, self._history)
                found = answer(body, context)
            return Response(found.body, found.status, media_type=_JSON)

        return await _in_thread(execute)

    async def file_stream(self, request: Request) -> Response:
        body = await request.body()
        authorization = request.headers.get("authorization")
        place = request.path_params

        def apply() -> Response:
            viewer = self._access.user(authorization)
            if viewer is None:
                return _error(401, "user is not logged in")
            if not self._access.may_use(viewer, place["entity"]):
                return _error(403, f"permission denied: you are no member of {place['entity']!r}")
            project = self._store.projects.get(place["entity"], place["project"])
            run = self._store.runs.get(project, place["run"]) if project else None
            if run is None:
                return _error(404, f"run {'/'.join(place.values())} not found")
            update = parse_update(body)
            said = self._store.stream.apply(run, update)
            content: dict[str, object] = {
                "exitcode": update.exit_code,
                "limits": {},
                "stopped": said.stop_requested,
            }
            done = BackgroundTask(self._compact, run) if update.complete else None
            return Response(orjson.dumps(content), media_type=_JSON, background=done)

        return await _in_thread(apply)

    async def export(self, request: Request) -> Response:
        if not self._links(request).allows(request.method, request.url.path, request.query_params):
            return _error(403, "this link has expired or is not genuine")
        path = self._store.history.columns_path(request.path_params["token"])
        if not await anyio.Path(path).exists():
            return _error(
                404, "this export has been replaced by a newer one: ask for its link again"
            )
        return FileResponse(path, media_type="application/vnd.apache.parquet")

    def _compact(self, run: Run) -> None:
        try:
            self._store.compaction.compact(run.id)
        except Exception:
            # Nothing is lost: the rows stay in SQLite, and the next reader tries again.
            logger.exception("compacting %s/%s/%s failed", run.entity, run.project, run.name)

    def _links(self, request: Request) -> Links:
        base = str(request.base_url).rstrip("/")
        return Links(self._store.link_secret, base, self._store.clock)


async def _in_thread(work: Callable[[], Response]) -> Response:
    try:
        return await anyio.to_thread.run_sync(work)
    except UsageError as error:
        return _error(400, str(error))
    except sqlite3.OperationalError as error:
        # A full disk, a lock held too long: the client shall try again, nothing was stored.
        logger.exception("the store cannot answer")
        return _error(503, f"the store cannot answer now: {error}")


async def _healthy(_: Request) -> Response:
    return Response("ok")


def _error(status: int, message: str) -> Response:
    # Both forms of error that W&B's clients look for.
    body = {"error": message, "errors": [{"message": message}]}
    return Response(orjson.dumps(body), status, media_type=_JSON)
