"""Files, wherever they are listed: how all of them, or one of them, come into a folder."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import DownloadError
from aiowandb.files.fetch import IsThere, Remote, fetch, is_there
from aiowandb.files.folder import inside
from aiowandb.net import Session
from aiowandb.redaction import redacted
from aiowandb.wire.files import FileRecord, md5_of

# While half of them are on the wire, the others are compared, named and synced.
FILES_AT_ONCE = 16


class Source(Protocol):
    """Where files are listed: a run, or an artifact."""

    def pages(self, *, fresh: bool = False) -> AsyncGenerator[list[FileRecord]]:
        """The files, page by page; fresh ones have links that have just been made."""
        ...

    async def count(self) -> int:
        """How many there are."""
        ...

    def link(self, file: FileRecord) -> str | None:
        """Where its content is, or None if that is not at W&B."""
        ...

    async def find(self, name: str) -> FileRecord | None:
        """The file of this name as it is now."""
        ...

    async def delete(self, file: FileRecord) -> None:
        """Delete the file at W&B."""
        ...


async def download_file(
    session: Session,
    source: Source,
    file: FileRecord,
    folder: Path,
    *,
    replace: bool = False,
    exist_ok: bool = False,
) -> Path:
    """Bring the file into the folder, and say where it is.

    One that is there already is replaced with `replace`, left with `exist_ok`, else an error.
    """

    path = await run_sync(inside, folder, file.name)
    if not replace and await run_sync(path.exists):
        if exist_ok and await run_sync(path.is_file):
            return path
        raise DownloadError(
            f"{path} is there already: download with replace=True, or leave it with exist_ok=True.",
            name=file.name,
        )
    await _fetch(session, source, file, path)
    return path


async def download_files(
    session: Session,
    source: Source,
    folder: Path,
    *,
    replace: bool = False,
    exist_ok: bool = False,
) -> list[Path]:
    """Bring all files into the folder, some at once, and say where they are."""

    async def download(file: FileRecord) -> Path:
        return await download_file(
            session, source, file, folder, replace=replace, exist_ok=exist_ok
        )

    async with aclosing(_each(source)) as files:
        return await gather(files, download, FILES_AT_ONCE)


async def update_files(
    session: Session, source: Source, folder: Path, has: IsThere = is_there
) -> list[Path]:
    """Bring what is not in the folder as it is at W&B, some at once, and say where all are."""

    async def update(file: FileRecord) -> Path:
        path = await run_sync(inside, folder, file.name)
        if not await run_sync(has, path, file.size, md5_of(file.md5)):
            await _fetch(session, source, file, path)
        return path

    async with aclosing(_each(source)) as files:
        return await gather(files, update, FILES_AT_ONCE)


async def _fetch(session: Session, source: Source, file: FileRecord, path: Path) -> None:
    async def renewed() -> Remote | None:
        fresh = await source.find(file.name)
        return _remote(source, fresh) if fresh else None

    await fetch(session, path, _remote(source, file), renewed)


async def _each(source: Source) -> AsyncGenerator[FileRecord]:
    async with aclosing(source.pages(fresh=True)) as pages:
        async for page in pages:
            for file in page:
                yield file


def _remote(source: Source, file: FileRecord) -> Remote:
    url = source.link(file)
    if url is None:
        raise DownloadError(
            f"{file.name} is a reference to {redacted(file.url or '')}, which is not at W&B.",
            name=file.name,
        )
    md5 = md5_of(file.md5)
    # Of a file that is just being uploaded W&B knows neither yet.
    return Remote(file.name, url, file.size or (0 if md5 else None), md5)
