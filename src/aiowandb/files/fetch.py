"""One file's way from W&B to a path: whole and with the content that W&B says, or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from aiowandb.atomic import atomic_file
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import (
    AiowandbError,
    ContentError,
    DownloadError,
    LinkError,
    TooLargeError,
)
from aiowandb.net import Session
from aiowandb.redaction import WithLinks

_PIECE = 1 << 20

# Whether there is a file at the path with this size and md5, as far as W&B says them. Blocks.
IsThere = Callable[[Path, int | None, bytes | None], bool]


class Remote(WithLinks, msgspec.Struct, frozen=True):
    """Where a file is, and what is known of its content."""

    name: str
    url: str
    size: int | None
    md5: bytes | None


async def fetch(
    session: Session, path: Path, remote: Remote, renewed: Callable[[], Awaitable[Remote | None]]
) -> None:
    """Bring the file to the path, replacing what is there.

    Links expire, and a live run writes its files anew: if this is not the file that W&B
    spoke of, it is asked once more, and what it says then counts.
    """
    try:
        await _fetch_once(session, path, remote)
    except (LinkError, ContentError):
        fresh = await renewed()
        if fresh is None:
            raise
        await _fetch_once(session, path, fresh)


def is_there(path: Path, size: int | None, md5: bytes | None) -> bool:
    """Whether the file is there with this content, as far as that can be told."""
    if md5 is None or not path.is_file() or size not in (None, path.stat().st_size):
        return False
    with path.open("rb") as file:
        return _md5(file) == md5


async def _fetch_once(session: Session, path: Path, remote: Remote) -> None:
    try:
        async with atomic_file(path) as file:
            await session.download(remote.url, file, max_bytes=remote.size)
            await run_sync(_check, file, remote)
    except TooLargeError as error:
        if remote.size is None:
            raise
        raise ContentError(
            f"{remote.name}: it has more than the {remote.size:,} bytes that W&B says.",
            name=remote.name,
        ) from error
    except AiowandbError:
        raise  # a time-out is an OSError too
    except OSError as error:
        raise DownloadError(
            f"Cannot write {path}: {error.strerror or error}.", name=remote.name
        ) from error


def _check(file: BinaryIO, remote: Remote) -> None:
    size = file.seek(0, os.SEEK_END)
    if remote.size is not None and size != remote.size:
        raise ContentError(
            f"{remote.name}: {size:,} bytes came, and W&B says that it has {remote.size:,}.",
            name=remote.name,
        )
    file.seek(0)
    if remote.md5 is not None and (found := _md5(file)) != remote.md5:
        raise ContentError(
            f"{remote.name}: its md5 is {found.hex()}, and W&B says {remote.md5.hex()}.",
            name=remote.name,
        )


def _md5(file: BinaryIO) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.digest()
