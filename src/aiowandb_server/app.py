"""The embedded W&B as an ASGI application, and its routes.

Works without lifespan events, on asyncio and trio. The store blocks, so requests are handled in
worker threads; the event loop only receives and sends data.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import orjson
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from aiowandb_server.access import Access
from aiowandb_server.bodies import Body, BodyResponse, Room
from aiowandb_server.budget import DEFAULT_MAX_MEMORY, Budget
from aiowandb_server.content import Content
from aiowandb_server.file_stream import is_typed, parse_update
from aiowandb_server.gate import BODY, DEFAULT_MAX_BODY, USER, RequestGate
from aiowandb_server.graphql.context import Context
from aiowandb_server.graphql.execution import answer
from aiowandb_server.idle_compaction import IdleCompaction
from aiowandb_server.links import Links
from aiowandb_server.origins import OriginRules
from aiowandb_server.pages import LoginLinks, Sessions, page_routes
from aiowandb_server.responses import JSON, error
from aiowandb_server.text_limits import MAX_VALUES, too_many_values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

    from aiowandb_server.store.history import HistoryMode
    from aiowandb_server.store.store import Store

logger = logging.getLogger("aiowandb_server")


def create_app(
    store: Store,
    *,
    keys: Iterable[str] = (),
    open_access: bool = False,
    history: HistoryMode = "parquet",
    rate_limit: float | None = None,
    latency: float = 0.0,
    max_body: int = DEFAULT_MAX_BODY,
    max_memory: int = DEFAULT_MAX_MEMORY,
    allowed_hosts: Iterable[str] | None = None,
    pages: bool = True,
) -> RequestGate:
    """The application that serves a store.

    `keys` log in as the user `local`, besides the store's own key. `open_access` accepts any key as
    the name of a user: only for development on this machine. `history` is the format in which
    histories are exported: Parquet, JSON, or `mixed`, which is Parquet with only the first half of
    live runs. `rate_limit` (requests a second) and `latency` (seconds) simulate a busy server.
    `max_memory` bounds what all requests together take; those that need more wait for their turn.
    `allowed_hosts` are host names that it answers to, besides those of this machine: by default
    that of the address where `serve` listens, and every name in the process. `pages` serves the web
    pages, besides the API.
    """
    access = Access(store, keys=keys, open_access=open_access)
    budget = Budget(max_memory)
    room = Room(budget.waiting, store.folder)
    # Through the store, because it may have been given another one.
    compaction = IdleCompaction(lambda run_id: store.compaction.compact(run_id), budget)
    store.before_close(compaction.close)
    api = _Api(store, access, history, budget, room, compaction)
    content = Content(store, access, api.links, room)
    run = "/files/{entity}/{project}/{run}"
    stored = "/wandb_artifacts/{entity}/{digest}"
    manifest = "/manifests/{manifest:int}/wandb_manifest.json"
    routes = [
        Route("/graphql", api.graphql, methods=["POST"]),
        Route(f"{run}/file_stream", api.file_stream, methods=["POST"]),
        Route(f"{run}/{{name:path}}", content.get_run_file, methods=["GET", "HEAD"]),
        Route(f"{run}/{{name:path}}", content.put_run_file, methods=["PUT"]),
        Route("/exports/{token}.parquet", content.export, methods=["GET", "HEAD"]),
        Route(stored, content.get_artifact_file, methods=["GET", "HEAD"]),
        Route(stored, content.put_artifact_file, methods=["PUT"]),
        # The path where the SDK looks for files that it has no link for.
        Route("/artifacts/{entity}/{digest}", content.get_artifact_file, methods=["GET", "HEAD"]),
        Route(
            "/artifactsV2/{region}/{entity}/{place:path}/{digest}/{name}",
            content.get_artifact_file,
            methods=["GET", "HEAD"],
        ),
        Route(manifest, content.get_manifest, methods=["GET", "HEAD"]),
        Route(manifest, content.put_manifest, methods=["PUT"]),
        Route("/healthz", _healthy, methods=["GET"]),
    ]
    sessions = Sessions(store.link_secret, store.clock) if pages else None
    if sessions is not None:
        logins = LoginLinks(store.folder, store.clock)
        routes += page_routes(access, sessions, logins, local_key=store.local_key)
    return RequestGate(
        Starlette(routes=routes),
        access.user,
        origins=OriginRules(allowed_hosts),
        rate_limit=rate_limit,
        latency=latency,
        max_body=max_body,
        add_key=sessions.add_key if sessions else None,
        room=room,
        writing=compaction.writing,
    )


class _Api:
    """The endpoints of W&B's API: GraphQL and the file stream."""

    def __init__(
        self,
        store: Store,
        access: Access,
        history: HistoryMode,
        budget: Budget,
        room: Room,
        compaction: IdleCompaction,
    ) -> None:
        self._store = store
        self._access = access
        self._history: HistoryMode = history
        self._budget = budget
        self._room = room
        self._compaction = compaction

    async def graphql(self, request: Request) -> Response:
        body: Body = request.scope[BODY]
        viewer = request.scope[USER]
        links = self.links(request)

        def execute() -> Response:
            if body.marks > MAX_VALUES:
                raise too_many_values("the request", body.marks)
            context = Context(self._store, viewer, self._access, links, self._history)
            found = answer(body.load(), context)
            waiting = Body(self._room)
            waiting.add(found.body)
            return BodyResponse(waiting, found.status, JSON)

        return await self._budget.run(viewer.id, body.size + body.weight, execute)

    async def file_stream(self, request: Request) -> Response:
        body: Body = request.scope[BODY]
        viewer = request.scope[USER]
        place = request.path_params

        def apply() -> Response:
            if not self._access.may_use(viewer, place["entity"]):
                return error(403, f"permission denied: you are not a member of {place['entity']!r}")
            project = self._store.projects.get(place["entity"], place["project"])
            run = self._store.runs.get(project, place["run"]) if project else None
            if run is None:
                return error(404, f"run {'/'.join(place.values())} not found")
            update = parse_update(body.load(), request.headers)
            applied = self._store.stream.apply(run, update)
            content: dict[str, object] = {
                "exitcode": update.exit_code,
                "limits": {},
                "stopped": applied.stop_requested,
            }
            if update.complete:
                self._compaction.add(run, viewer.id)
            return Response(orjson.dumps(content), media_type=JSON)

        # Columns are counted as they are read: they take more or less than JSON does.
        need = body.size if is_typed(request.headers) else body.size + body.weight
        return await self._budget.run(viewer.id, need, apply)

    def links(self, request: Request) -> Links:
        base = str(request.base_url).rstrip("/")
        return Links(self._store.link_secret, base, self._store.clock)


async def _healthy(_: Request) -> Response:
    return Response("ok")
