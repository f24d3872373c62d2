"""Uploads and downloads: run files, artifact files, manifests, Parquet exports.

Each needs a signed link, or the API key of a user who may see the entity.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import closing, suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response

from aiowandb_server.errors import RequestError
from aiowandb_server.responses import blocking, error, unavailable
from aiowandb_server.store.files import check_name
from aiowandb_server.store.manifests import XXH128_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request

    from aiowandb_server.access import Access
    from aiowandb_server.bodies import Room
    from aiowandb_server.links import Links
    from aiowandb_server.store.disk import Blob
    from aiowandb_server.store.records import RunRow
    from aiowandb_server.store.store import Store

# A worker thread writes uploads in pieces of this size, as far as there is room: smaller ones are
# not worth the switch. Those of the others are no larger than the buffers of their connections.
_PIECE = 1 << 20
_SMALL_PIECE = 64 << 10


class Content:
    """The endpoints for uploads and downloads."""

    def __init__(
        self, store: Store, access: Access, links: Callable[[Request], Links], room: Room
    ) -> None:
        self._store = store
        self._room = room
        self._access = access
        self._links = links

    async def export(self, request: Request) -> Response:
        """The Parquet file of a segment."""
        if self._bound(request) is None:
            return error(403, "this link has expired or is not genuine")
        token = request.path_params["token"]

        def find() -> Path | None:
            with suppress(FileNotFoundError):
                return self._store.history.columns_path(token)
            return None

        path = await blocking(find)
        if isinstance(path, Response):
            return path
        response = await _sent(path, "application/vnd.apache.parquet")
        if path is not None and isinstance(response, FileResponse):
            response.headers["Content-MD5"] = await anyio.to_thread.run_sync(_md5, path)
        return response

    async def get_run_file(self, request: Request) -> Response:
        bound = self._bound(request)

        def find() -> Path | None:
            run = self._run(request)
            file = self._store.files.get(run, request.path_params["name"]) if run else None
            if file is None or bound not in (None, "", str(file.id)):
                return None
            return self._store.files.path(file)

        if refusal := await self._refused(request, bound):
            return refusal
        return await _sent(await anyio.to_thread.run_sync(find))

    async def put_run_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        bound = self._bound(request)

        def register(blob: Blob) -> None:
            check_name(name)
            run = self._run(request)
            if run is None or bound not in (None, "", str(run.id)):
                raise RequestError(f"run {request.path_params['run']!r} not found", 404)
            self._store.files.register(run, name, blob)

        return await self._receive(request, bound, register)

    async def get_artifact_file(self, request: Request) -> Response:
        digest, _ = _digest(request)

        def find() -> Path | None:
            entity = self._store.accounts.entity(request.path_params["entity"])
            return self._store.manifests.content(entity.id, digest) if entity else None

        if refusal := await self._refused(request, self._bound(request)):
            return refusal
        return await _sent(await anyio.to_thread.run_sync(find))

    async def put_artifact_file(self, request: Request) -> Response:
        digest, xxh128 = _digest(request)

        def register(blob: Blob) -> None:
            entity = self._store.accounts.entity(request.path_params["entity"])
            if entity is None:
                raise RequestError("the entity of this artifact has been deleted", 404)
            self._store.manifests.add_content(entity.id, digest, blob, xxh128=xxh128)

        return await self._receive(request, self._bound(request), register)

    async def get_manifest(self, request: Request) -> Response:
        def find() -> Path | None:
            manifest = self._store.manifests.get(request.path_params["manifest"])
            return self._store.manifests.path(manifest) if manifest else None

        if self._bound(request) is None:
            return error(403, "this link has expired or is not genuine")
        return await _sent(await anyio.to_thread.run_sync(find), "application/json")

    async def put_manifest(self, request: Request) -> Response:
        bound = self._bound(request)
        if bound is None:
            return error(403, "this link has expired or is not genuine")

        def register(blob: Blob) -> None:
            manifest = self._store.manifests.get(request.path_params["manifest"])
            if manifest is None:
                raise RequestError("the artifact of this manifest has been deleted", 404)
            if not self._store.manifests.upload(manifest, blob):
                raise RequestError("this version has been committed: its files do not change", 409)

        return await self._receive(request, bound, register)

    def _bound(self, request: Request) -> str | None:
        """The id of the row that the link holds for, not for a later one of its path; empty if it
        holds for the path. None if there is no genuine link, or not any more."""
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        genuine = self._links(request).allows(request.method, path, request.query_params)
        return request.query_params.get("id", "") if genuine else None

    async def _refused(self, request: Request, bound: str | None) -> Response | None:
        """The error response if neither the link nor the key allows this."""
        return await blocking(lambda: self._check_key(request)) if bound is None else None

    def _check_key(self, request: Request) -> None:
        """Raise RequestError unless the key is that of a user who may see the entity."""
        entity = request.path_params["entity"]
        viewer = self._access.user(request.headers.get("authorization"))
        if viewer is None:
            raise RequestError(
                "user is not logged in, and this link is not genuine or expired", 401
            )
        if not self._access.may_use(viewer, entity):
            raise RequestError(f"permission denied: you are not a member of {entity!r}", 403)

    async def _receive(
        self, request: Request, bound: str | None, register: Callable[[Blob], None]
    ) -> Response:
        """Write the body to disk, then register it: an incomplete upload leaves nothing behind."""
        if refusal := await self._refused(request, bound):
            return refusal
        taken = _PIECE if self._room.take(_PIECE) else 0
        try:
            with closing(await anyio.to_thread.run_sync(self._store.blobs.writer)) as writer:
                piece = bytearray()
                async for data in request.stream():
                    piece += data
                    if len(piece) >= (taken or _SMALL_PIECE):
                        await anyio.to_thread.run_sync(writer.write, bytes(piece))
                        piece.clear()
                await anyio.to_thread.run_sync(writer.write, bytes(piece))
                # The key may have been revoked meanwhile, or its user have left the team.
                if refusal := await self._refused(request, bound):
                    return refusal
                return await blocking(lambda: self._stored(writer.commit(), register))
        except OSError as failure:
            return unavailable(failure)
        except ClientDisconnect:
            return error(400, "the upload was interrupted")
        finally:
            self._room.give_back(taken)

    def _stored(self, blob: Blob, register: Callable[[Blob], None]) -> Response:
        try:
            register(blob)
        except RequestError:
            self._store.blobs.discard(blob)
            raise
        return Response(headers={"ETag": f'"{base64.b64decode(blob.md5).hex()}"'})

    def _run(self, request: Request) -> RunRow | None:
        place = request.path_params
        project = self._store.projects.get(place["entity"], place["project"])
        return self._store.runs.get(project, place["run"]) if project else None


async def _sent(path: Path | None, media_type: str = "application/octet-stream") -> Response:
    if path is None or not await anyio.Path(path).exists():
        return error(404, "there is no such file, or a newer one has replaced it")
    return FileResponse(path, media_type=media_type)


@lru_cache(1024)
def _md5(segment: Path) -> str:
    # Cached: the file of a segment never changes.
    with segment.open("rb") as file:
        digest = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()


def _digest(request: Request) -> tuple[str, bool]:
    """The digest in the path, in base64, and whether it may be an XXH128."""
    hex_digest: str = request.path_params["digest"]
    digits = hex_digest.removeprefix(XXH128_PREFIX)
    try:
        return base64.b64encode(bytes.fromhex(digits)).decode(), digits != hex_digest
    except ValueError:
        return "", False
