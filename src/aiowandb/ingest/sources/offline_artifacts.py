"""The artifacts in a `.wandb` file, whose files are in a cache next to it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from aiowandb.errors import NotFoundError
from aiowandb.files.artifact_uploads import NewEntry
from aiowandb.ingest.local_files import local_entry
from aiowandb.ingest.source import SourceArtifact
from aiowandb.ingest.sources.offline_run import LoggedRun
from aiowandb.ingest.sources.protobuf import Message
from aiowandb.wire import lenient

_LATEST = "latest"


class _Entry(msgspec.Struct):
    """An entry of a manifest in its own file, which wandb writes for very many entries."""

    path: str
    digest: str
    ref: str | None = None
    size: int = 0
    local_path: str | None = None
    extra: dict[str, Any] = {}


def artifact_of(record: Message, run: LoggedRun, number: int) -> SourceArtifact:
    """The version in a record, which is the run's artifact with this number."""

    async def entries() -> list[NewEntry]:
        return [await _entry(each) for each in _entries(record.message(12))]

    return SourceArtifact(
        key=record.text(15) or f"{run.facts.id}/{number}",
        name=record.text(5),
        type=record.text(4),
        version=None,
        digest=record.text(6),
        entries=entries,
        aliases=tuple(alias for alias in record.texts(11) if alias != _LATEST),
        tags=tuple(record.texts(19)),
        description=record.text(7) or None,
        metadata=record.text(8) or None,
        created_at=run.facts.created_at,
        client_id=record.text(15) or None,
        sequence_client_id=record.text(16) or None,
    )


def _entries(manifest: Message) -> Iterator[_Entry]:
    if written := manifest.text(5):
        try:
            with gzip.open(written) as lines:
                yield from (msgspec.json.decode(line, type=_Entry) for line in lines)
        except (OSError, EOFError) as error:
            raise NotFoundError(f"{written}, the manifest, cannot be read: {error}") from error
    for entry in manifest.messages(4):
        yield _Entry(
            path=entry.text(1),
            digest=entry.text(2),
            ref=entry.text(3) or None,
            size=entry.integer(4),
            local_path=entry.text(6) or None,
            extra={item.text(1): lenient.loads(item.text(2)) for item in entry.messages(16)},
        )


async def _entry(entry: _Entry) -> NewEntry:
    if entry.ref is not None or not entry.local_path:
        return NewEntry(entry.path, entry.digest, entry.size, None, entry.ref, entry.extra)
    found = await local_entry(Path(entry.local_path), entry.path)
    return msgspec.structs.replace(found, digest=entry.digest, extra=entry.extra)
