"""Downloads files into a folder, one or all, from any list of files at W&B."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import DownloadError
from aiowandb.files.fetch import Download, IsThere, fetch, is_there
from aiowandb.files.folder import path_inside, require_distinct
from aiowandb.net import Session
from aiowandb.redaction import Link, redacted
from aiowandb.wire.checksum import Checksum
from aiowandb.wire.files import FileRecord

# While half of them are being transferred, the others are compared, renamed and synced.
FILES_AT_ONCE = 16


class FileSource(Protocol):
    """A list of files at W&B: those of a run, or of an artifact."""

    def pages(self, *, fresh: bool = False) -> AsyncGenerator[list[FileRecord]]:
        """The files, page by page; with `fresh` their links are new."""
        ...

    async def count(self) -> int:
        """How many there are."""
        ...

    def link(self, file: FileRecord) -> Link | None:
        """The link to its content, or None if that is not at W&B."""
        ...

    async def find(self, name: str) -> FileRecord | None:
        """The file of this name as it is now."""
        ...

    async def delete(self, file: FileRecord) -> None:
        """Delete the file at W&B."""
        ...


async def download_file(
    session: Session,
    source: FileSource,
    file: FileRecord,
    folder: Path,
    *,
    replace: bool = False,
    exist_ok: bool = False,
) -> Path:
    """Download the file into the folder, and return its path.

    If it is there already, it is replaced with `replace`, kept with `exist_ok`, else an error.
    """

    path = await run_sync(path_inside, folder, file.name)
    if not replace and await run_sync(path.exists):
        if exist_ok and await run_sync(path.is_file):
            return path
        raise DownloadError(
            f"{path} exists already: replace it with replace=True, or keep it with exist_ok=True.",
            name=file.name,
        )
    await _fetch(session, source, file, path)
    return path


async def download_files(
    session: Session,
    source: FileSource,
    folder: Path,
    *,
    replace: bool = False,
    exist_ok: bool = False,
) -> list[Path]:
    """Download all files into the folder, several at once, and return their paths."""

    async def download(file: FileRecord) -> Path:
        return await download_file(
            session, source, file, folder, replace=replace, exist_ok=exist_ok
        )

    async with aclosing(_each(source)) as files:
        paths = await gather(files, download, FILES_AT_ONCE)
    await run_sync(require_distinct, paths)
    return paths


async def update_files(
    session: Session, source: FileSource, folder: Path, has: IsThere = is_there
) -> list[Path]:
    """Download the files that are missing or different, and return the paths of all."""

    async def update(file: FileRecord) -> Path:
        path = await run_sync(path_inside, folder, file.name)
        if not await run_sync(has, path, file.size, Checksum.of(file.md5)):
            await _fetch(session, source, file, path)
        return path

    async with aclosing(_each(source)) as files:
        paths = await gather(files, update, FILES_AT_ONCE)
    await run_sync(require_distinct, paths)
    return paths


async def _fetch(session: Session, source: FileSource, file: FileRecord, path: Path) -> None:
    async def renewed() -> Download | None:
        fresh = await source.find(file.name)
        return _remote(source, fresh) if fresh else None

    await fetch(session, path, _remote(source, file), renewed)


async def _each(source: FileSource) -> AsyncGenerator[FileRecord]:
    async with aclosing(source.pages(fresh=True)) as pages:
        async for page in pages:
            for file in page:
                yield file


def _remote(source: FileSource, file: FileRecord) -> Download:
    link = source.link(file)
    if link is None:
        raise DownloadError(
            f"{file.name} is a reference to {redacted(file.url or '')}, which is outside of W&B.",
            name=file.name,
        )
    checksum = Checksum.of(file.md5)
    # For a file that is being uploaded W&B has neither yet.
    return Download(file.name, link, file.size or (0 if checksum else None), checksum)
