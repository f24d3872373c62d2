"""Downloads one file to a path: complete and with the right content, or not at all."""

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

# Whether the file at the path has this size and md5, if they are known. Blocks.
IsThere = Callable[[Path, int | None, bytes | None], bool]


class Download(WithLinks, msgspec.Struct, frozen=True):
    """Where a file is downloaded from, and what is known of its content."""

    name: str
    url: str
    size: int | None
    md5: bytes | None


async def fetch(
    session: Session,
    path: Path,
    remote: Download,
    renewed: Callable[[], Awaitable[Download | None]],
) -> None:
    """Download the file to the path, replacing what is there.

    Links expire, and a live run replaces its files: if the content is not what W&B announced,
    W&B is asked once more, and the file is downloaded again.
    """
    try:
        await _fetch_once(session, path, remote)
    except (LinkError, ContentError):
        fresh = await renewed()
        if fresh is None:
            raise
        await _fetch_once(session, path, fresh)


def is_there(path: Path, size: int | None, md5: bytes | None) -> bool:
    """Whether the file is there with this content, as far as that is known."""
    if md5 is None or not path.is_file() or size not in (None, path.stat().st_size):
        return False
    with path.open("rb") as file:
        return _md5(file) == md5


async def _fetch_once(session: Session, path: Path, remote: Download) -> None:
    try:
        async with atomic_file(path) as file:
            await session.download(remote.url, file, max_bytes=remote.size)
            await run_sync(_check, file, remote)
    except TooLargeError as error:
        if remote.size is None:
            raise
        raise ContentError(
            f"{remote.name}: it is larger than the {remote.size:,} bytes that W&B announced.",
            name=remote.name,
        ) from error
    except AiowandbError:
        raise  # our TimeoutError is an OSError too
    except OSError as error:
        raise DownloadError(
            f"Cannot write {path}: {error.strerror or error}.", name=remote.name
        ) from error


def _check(file: BinaryIO, remote: Download) -> None:
    size = file.seek(0, os.SEEK_END)
    if remote.size is not None and size != remote.size:
        raise ContentError(
            f"{remote.name}: received {size:,} bytes, but W&B announced {remote.size:,}.",
            name=remote.name,
        )
    file.seek(0)
    if remote.md5 is not None and (found := _md5(file)) != remote.md5:
        raise ContentError(
            f"{remote.name}: its md5 is {found.hex()}, but W&B announced {remote.md5.hex()}.",
            name=remote.name,
        )


def _md5(file: BinaryIO) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.digest()
