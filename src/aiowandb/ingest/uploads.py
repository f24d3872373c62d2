"""Uploads the files of a source to a run, piece by piece and without using the disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from hashlib import md5

import anyio
from anyio import SpooledTemporaryFile

from aiowandb.concurrency.tasks import gather
from aiowandb.errors import CommError, ContentError
from aiowandb.files.run_files import RunFiles
from aiowandb.ingest.source import SourceFile
from aiowandb.net import Piece, Session
from aiowandb.net.session import supports
from aiowandb.paths import RunRef
from aiowandb.redaction import Link
from aiowandb.wire.checksum import Checksum
from aiowandb.wire.files import create_files, mark_uploaded

_PIECE = 2 << 20
# The files that are announced in one request, and those that are uploaded at once.
_TOGETHER = 50
_AT_ONCE = 4


async def upload_files(
    session: Session, ref: RunRef, files: AsyncGenerator[SourceFile], *, is_new: bool
) -> tuple[int, int]:
    """Upload the files that are missing; returns their number and bytes."""
    known = {} if is_new else await _known_files(session, ref)
    count = size = 0
    waiting: list[SourceFile] = []

    async def send() -> None:
        nonlocal count, size
        await _upload(session, ref, waiting)
        count += len(waiting)
        size += sum(file.size for file in waiting)
        waiting.clear()

    async with aclosing(files):
        async for file in files:
            if file.md5 is None or known.get(file.name) != (file.size, file.md5):
                waiting.append(file)
            if len(waiting) >= _TOGETHER:
                await send()
    if waiting:
        await send()
    return count, size


async def _known_files(session: Session, ref: RunRef) -> dict[str, tuple[int, str | None]]:
    known = {}
    async with aclosing(RunFiles(session, ref, per_page=1000, fresh=True).pages()) as pages:
        async for page in pages:
            for file in page:
                checksum = Checksum.of(file.md5)
                known[file.name] = (file.size, checksum.text if checksum else None)
    return known


async def _upload(session: Session, ref: RunRef, files: Sequence[SourceFile]) -> None:
    by_name = {file.name: file for file in files}
    made = await session.ask(create_files(ref, list(by_name)))
    links = {
        target.name: session.link(target.upload_url) for target in made.files if target.upload_url
    }
    headers = made.headers()

    async def put(file: SourceFile) -> None:
        link = links.get(file.name)
        if link is None:
            raise CommError(f"W&B sent no URL to upload {file.name} of run {ref} to.")
        await session.upload(link, checked(file), file.size, headers)

    await gather(files, put, at_once=_AT_ONCE)
    if await supports(session, "MARK_RUN_FILES_UPLOADED"):
        await session.ask(mark_uploaded(ref, list(by_name)))


def checked(file: SourceFile) -> Callable[[], AsyncIterable[bytes]]:
    """The content of the file; raises if its size or checksum is wrong."""

    async def pieces() -> AsyncIterator[bytes]:
        digest, size = md5(usedforsecurity=False), 0
        async for piece in file.content():
            digest.update(piece)
            size += len(piece)
            is_last = size >= file.size
            if size > file.size or (is_last and file.md5 not in (None, digest.hexdigest())):
                raise ContentError(
                    f"{file.name} does not match its size and checksum: it was changed meanwhile,"
                    " or is damaged.",
                    name=file.name,
                )
            yield piece

    return pieces


def remote_content(session: Session, link: Link, size: int) -> Callable[[], AsyncIterable[bytes]]:
    """The content behind a link in pieces, downloaded for each call."""

    async def pieces() -> AsyncIterator[bytes]:
        first: Piece | None = None
        for start in range(0, size, _PIECE):
            piece = await session.piece(link, f"{start}-{min(start + _PIECE, size) - 1}")
            if piece is None or (first and not piece.is_of(first)):
                break
            first = first or piece
            yield bytes(piece.content)
        else:
            return
        if first is not None:
            raise CommError("A file was changed at W&B while it was copied.", url=str(link))
        spool = SpooledTemporaryFile(max_size=_PIECE)  # the server does not support ranges
        try:
            await session.download(link, spool)
            await spool.seek(0)
            while part := await spool.read(_PIECE):
                yield part
        finally:
            with anyio.CancelScope(shield=True):
                await spool.aclose()

    return pieces
