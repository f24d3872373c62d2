"""The artifacts in a `.wandb` file, whose files are in a cache next to it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import ContentError, NotFoundError
from aiowandb.files.artifact_uploads import NewEntry
from aiowandb.ingest.local_files import local_entry
from aiowandb.ingest.source import SourceArtifact
from aiowandb.ingest.sources.offline_records import value_in
from aiowandb.ingest.sources.offline_run import LoggedRun
from aiowandb.ingest.sources.protobuf import MalformedMessage, Message
from aiowandb.wire.manifest import ManifestEntry

_LATEST = "latest"
_LARGEST_MANIFEST, _LONGEST_LINE = 512 << 20, 16 << 20
_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, msgspec.MsgspecError, RecursionError)


class _Entry(msgspec.Struct):
    """An entry of a manifest in its own file, which wandb writes for very many entries."""

    path: str
    digest: str
    ref: str | None = None
    size: int = 0
    local_path: str | None = None
    extra: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Entry).decode


def artifact_of(record: Message, run: LoggedRun, number: int) -> SourceArtifact:
    """The version in a record, which is the run's artifact with this number."""

    async def entries() -> list[NewEntry]:
        try:
            return [await _entry(each) for each in await run_sync(_entries, record)]
        except (MalformedMessage, msgspec.MsgspecError) as error:
            raise ContentError(f"The manifest is damaged: {error}.", name=record.text(5)) from None

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


def _entries(artifact: Message) -> list[_Entry]:
    manifest = artifact.message(12)
    found: list[_Entry] = []
    if written := manifest.text(5):
        try:
            found += _written_entries(Path(written))
        except _UNREADABLE as error:
            raise NotFoundError(f"{written}, the manifest, cannot be read: {error}") from error
    for entry in manifest.messages(4):
        found.append(
            _Entry(
                path=entry.text(1),
                digest=entry.text(2),
                ref=entry.text(3) or None,
                size=entry.integer(4),
                local_path=entry.text(6) or None,
                extra={item.text(1): value_in(item.text(2)) for item in entry.messages(16)},
            )
        )
    return found


def _written_entries(path: Path) -> Iterator[_Entry]:
    """The entries in a file of their own, of which a little may unpack to very much."""
    if not path.is_file():
        raise FileNotFoundError("it is not a file")
    size = 0
    with gzip.open(path) as lines:
        while line := lines.readline(_LONGEST_LINE):
            size += len(line)
            if size >= _LARGEST_MANIFEST:
                raise ValueError(f"it unpacks to more than {_LARGEST_MANIFEST >> 20} MB")
            yield _decode(line)


async def _entry(entry: _Entry) -> NewEntry:
    if entry.ref is not None or not entry.local_path:
        return NewEntry(entry.path, entry.digest, entry.size, None, entry.ref, entry.extra)
    algorithm = ManifestEntry(entry.digest, extra=entry.extra).algorithm
    found = await local_entry(Path(entry.local_path), entry.path, algorithm)
    if found.digest != entry.digest:
        # Nor may a log that somebody else has written name the user's other files.
        raise ContentError(
            f"{entry.local_path} is not the file {entry.path} that was logged: it was changed.",
            name=entry.path,
        )
    return msgspec.structs.replace(found, digest=entry.digest, extra=entry.extra)
