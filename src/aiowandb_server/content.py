"""Uploads and downloads: run files, artifact files, manifests, Parquet exports.

Each needs a signed link, or the API key of a user who may see the entity.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import closing
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response

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
        if not self._signed(request):
            return error(403, "this link has expired or is not genuine")
        path = self._store.history.columns_path(request.path_params["token"])
        response = await _sent(path, "application/vnd.apache.parquet")
        if isinstance(response, FileResponse):
            response.headers["Content-MD5"] = await anyio.to_thread.run_sync(_md5, path)
        return response

    async def get_run_file(self, request: Request) -> Response:
        def find() -> Path | None:
            run = self._run(request)
            file = self._store.files.get(run, request.path_params["name"]) if run else None
            if file is None or not self._holds_for(request, file.id):
                return None
            return self._store.files.path(file)

        if refusal := await self._refused(request, request.path_params["entity"]):
            return refusal
        return await _sent(await anyio.to_thread.run_sync(find))

    async def put_run_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if refusal := await self._refused(request, request.path_params["entity"]):
            return refusal

        def register(blob: Blob) -> Response:
            check_name(name)
            run = self._run(request)
            if run is None or not self._holds_for(request, run.id):
                self._store.blobs.discard(blob)
                return error(404, f"run {request.path_params['run']!r} not found")
            self._store.files.register(run, name, blob)
            return _stored(blob)

        return await self._receive(request, register)

    async def get_artifact_file(self, request: Request) -> Response:
        digest, _ = _digest(request)

        def find() -> Path | None:
            entity = self._store.accounts.entity(request.path_params["entity"])
            return self._store.manifests.content(entity.id, digest) if entity else None

        if refusal := await self._refused(request, request.path_params["entity"]):
            return refusal
        return await _sent(await anyio.to_thread.run_sync(find))

    async def put_artifact_file(self, request: Request) -> Response:
        digest, xxh128 = _digest(request)
        if refusal := await self._refused(request, request.path_params["entity"]):
            return refusal

        def register(blob: Blob) -> Response:
            entity = self._store.accounts.entity(request.path_params["entity"])
            if entity is None:
                self._store.blobs.discard(blob)
                return error(404, "the entity of this artifact has been deleted")
            self._store.manifests.add_content(entity.id, digest, blob, xxh128=xxh128)
            return _stored(blob)

        return await self._receive(request, register)

    async def get_manifest(self, request: Request) -> Response:
        def find() -> Path | None:
            manifest = self._store.manifests.get(request.path_params["manifest"])
            return self._store.manifests.path(manifest) if manifest else None

        if not self._signed(request):
            return error(403, "this link has expired or is not genuine")
        return await _sent(await anyio.to_thread.run_sync(find), "application/json")

    async def put_manifest(self, request: Request) -> Response:
        if not self._signed(request):
            return error(403, "this link has expired or is not genuine")

        def register(blob: Blob) -> Response:
            manifest = self._store.manifests.get(request.path_params["manifest"])
            if manifest is None:
                self._store.blobs.discard(blob)
                return error(404, "the artifact of this manifest has been deleted")
            if not self._store.manifests.upload(manifest, blob):
                self._store.blobs.discard(blob)
                return error(409, "this version has been committed: its files do not change")
            return _stored(blob)

        return await self._receive(request, register)

    def _signed(self, request: Request) -> bool:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        return self._links(request).allows(request.method, path, request.query_params)

    def _holds_for(self, request: Request, row_id: int) -> bool:
        """False if the link is for something else of the same name, which has been deleted."""
        bound = request.query_params.get("id", "") if self._signed(request) else ""
        return bound in ("", str(row_id))

    async def _refused(self, request: Request, entity: str) -> Response | None:
        """The error response if neither the link nor the key allows this."""
        if self._signed(request):
            return None
        authorization = request.headers.get("authorization")

        def check() -> Response | None:
            viewer = self._access.user(authorization)
            if viewer is None:
                return error(401, "user is not logged in, and this link is not genuine or expired")
            if not self._access.may_use(viewer, entity):
                return error(403, f"permission denied: you are not a member of {entity!r}")
            return None

        return await anyio.to_thread.run_sync(check)

    async def _receive(self, request: Request, register: Callable[[Blob], Response]) -> Response:
        """Write the body to disk, then register it: an incomplete upload leaves nothing behind."""
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
                return await blocking(lambda: register(writer.commit()))
        except OSError as failure:
            return unavailable(failure)
        except ClientDisconnect:
            return error(400, "the upload was interrupted")
        finally:
            self._room.give_back(taken)

    def _run(self, request: Request) -> RunRow | None:
        place = request.path_params
        project = self._store.projects.get(place["entity"], place["project"])
        return self._store.runs.get(project, place["run"]) if project else None


async def _sent(path: Path | None, media_type: str = "application/octet-stream") -> Response:
    if path is None or not await anyio.Path(path).exists():
        return error(404, "there is no such file, or a newer one has replaced it")
    return FileResponse(path, media_type=media_type)


def _stored(blob: Blob) -> Response:
    return Response(headers={"ETag": f'"{base64.b64decode(blob.md5).hex()}"'})


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
