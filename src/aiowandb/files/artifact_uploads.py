"""Uploads a version of an artifact to W&B, complete or not at all."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from hashlib import md5
from typing import Any

import msgspec

from aiowandb.concurrency.tasks import gather
from aiowandb.errors import CommError
from aiowandb.net import Session
from aiowandb.net.session import supports
from aiowandb.paths import RunRef
from aiowandb.wire.artifact_writing import (
    NewArtifact,
    UploadPlace,
    UploadSpec,
    commit_artifact,
    create_artifact,
    create_artifact_files,
    create_manifest,
)

_TOGETHER = 200
_AT_ONCE = 4
_THERE = "COMMITTED"
_POLICY = {
    "version": 1,
    "storagePolicy": "wandb-storage-policy-v1",
    "storagePolicyConfig": {"storageLayout": "V2"},
}


class NewEntry(msgspec.Struct, frozen=True):
    """A file of a version, with its MD5 in base64; or a reference, which has no content.

    With `{"alg": "XXH128"}` in `extra` it is the XXH128.
    """

    name: str
    digest: str
    size: int
    content: Callable[[], AsyncIterable[bytes]] | None = None
    ref: str | None = None
    extra: Mapping[str, Any] = {}

    @property
    def has_xxh128(self) -> bool:
        return self.extra.get("alg") == "XXH128"

    def said(self) -> dict[str, Any]:
        """The entry as the manifest has it."""
        entry: dict[str, Any] = {"digest": self.digest, "size": self.size}
        if self.ref is not None:
            entry["ref"] = self.ref
        return entry | ({"extra": dict(self.extra)} if self.extra else {})


class UploadedArtifact(msgspec.Struct, frozen=True):
    """An uploaded version: its id, whether this upload created it, and what was sent."""

    id: str
    is_new: bool
    version: int | None = None
    files: int = 0
    bytes: int = 0


def digest_of(entries: Sequence[NewEntry]) -> str:
    """The digest of a version, as W&B's own client computes it."""
    digest = md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
    for entry in sorted(entries, key=lambda entry: entry.name):
        digest.update(f"{entry.name}:{entry.digest}\n".encode())
    return digest.hexdigest()


async def upload_artifact(
    session: Session, run: RunRef, new: NewArtifact, entries: Sequence[NewEntry]
) -> UploadedArtifact:
    """Create the version unless it exists; an interrupted upload is completed."""
    if any(entry.has_xxh128 for entry in entries):
        if not await supports(session, "ARTIFACT_DIGEST_ALGORITHM"):
            raise CommError(
                f"Artifact {new.collection} has XXH128 digests, which this W&B does not support."
            )
        new = msgspec.structs.replace(new, digest_algorithm="MANIFEST_XXH128")
    made = await session.ask(create_artifact(run, new))
    if made.state == _THERE:
        return UploadedArtifact(made.id, is_new=False)
    announced = await session.ask(create_manifest(run, made.id, ""))
    files = [entry for entry in entries if entry.content is not None]
    sent = 0
    for first in range(0, len(files), _TOGETHER):
        some = files[first : first + _TOGETHER]
        specs = [await _spec(entry) for entry in some]
        algorithm = new.digest_algorithm
        places = await session.ask(create_artifact_files(made.id, announced.id, specs, algorithm))
        pairs = list(zip(some, places.nodes, strict=True))
        sent += sum(await gather(pairs, lambda pair: _put(session, *pair), at_once=_AT_ONCE))
    await _put_manifest(session, run, made.id, entries)
    done = await session.ask(commit_artifact(made.id))
    return UploadedArtifact(made.id, True, done.version_index, len(files), sent)


async def _spec(entry: NewEntry) -> UploadSpec:
    if not entry.has_xxh128 or entry.content is None:
        return UploadSpec(entry.name, entry.digest)
    # W&B wants the MD5 of the upload as well, which nobody has computed.
    found = md5(usedforsecurity=False)
    async for piece in entry.content():
        found.update(piece)
    return UploadSpec(entry.name, base64.b64encode(found.digest()).decode(), entry.digest)


async def _put(session: Session, entry: NewEntry, place: UploadPlace) -> int:
    """Upload a file unless W&B has its content; returns the number of bytes sent."""
    if not place.upload_url or entry.content is None:
        return 0
    link = session.link(place.upload_url)
    await session.upload(link, entry.content, entry.size, place.headers())
    return entry.size


async def _put_manifest(
    session: Session, run: RunRef, artifact_id: str, entries: Sequence[NewEntry]
) -> None:
    contents = {entry.name: entry.said() for entry in entries}
    content = msgspec.json.encode({**_POLICY, "contents": contents})
    digest = base64.b64encode(md5(content, usedforsecurity=False).digest()).decode()
    place = (await session.ask(create_manifest(run, artifact_id, digest))).file
    if not place.upload_url:
        raise CommError("W&B sent no URL to upload the manifest of an artifact to.")

    async def once() -> AsyncIterator[bytes]:
        yield content

    await session.upload(session.link(place.upload_url), once, len(content), place.headers())
