"""Downloads one file to a path: complete and with the right content, or not at all."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from aiowandb.atomic import atomic_file, reason_of
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import (
    AiowandbError,
    ContentError,
    DownloadError,
    LinkError,
    TooLargeError,
)
from aiowandb.net import Session
from aiowandb.redaction import Link
from aiowandb.wire.checksum import Algorithm, Checksum, new_hasher

_PIECE = 1 << 20

# Whether the file at the path has this size and checksum, if they are known. Blocks.
IsThere = Callable[[Path, int | None, Checksum | None], bool]


class Download(msgspec.Struct, frozen=True):
    """Where a file is downloaded from, and what is known of its content."""

    name: str
    link: Link
    size: int | None
    checksum: Checksum | None


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


def is_there(path: Path, size: int | None, checksum: Checksum | None) -> bool:
    """Whether the file is there with this content, as far as that is known."""
    try:
        if checksum is None or not path.is_file() or size not in (None, path.stat().st_size):
            return False
        with path.open("rb") as file:
            return checksum_of(file, checksum.algorithm) == checksum
    except OSError as error:  # such as a name that is too long here
        raise DownloadError(
            f"Cannot read {path}: {error.strerror or error}.", name=path.name
        ) from error


async def _fetch_once(session: Session, path: Path, remote: Download) -> None:
    try:
        async with atomic_file(path) as file:
            await session.download(remote.link, file, max_bytes=remote.size)
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
            f"Cannot write {path}: {reason_of(error)}.", name=remote.name
        ) from error


def _check(file: BinaryIO, remote: Download) -> None:
    size = file.seek(0, os.SEEK_END)
    if remote.size is not None and size != remote.size:
        raise ContentError(
            f"{remote.name}: received {size:,} bytes, but W&B announced {remote.size:,}.",
            name=remote.name,
        )
    file.seek(0)
    wanted = remote.checksum
    if wanted and (found := checksum_of(file, wanted.algorithm)) != wanted:
        raise ContentError(
            f"{remote.name}: its {wanted.algorithm.lower()} is {found.digest.hex()},"
            f" but W&B announced {wanted.digest.hex()}.",
            name=remote.name,
        )


def checksum_of(file: BinaryIO, algorithm: Algorithm) -> Checksum:
    """The checksum of the rest of the file. Blocks."""
    hasher = new_hasher(algorithm)
    while piece := file.read(_PIECE):
        hasher.update(piece)
    return Checksum(hasher.digest(), algorithm)
