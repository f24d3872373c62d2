"""The files of one run, and its console output."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from hashlib import md5
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync

from aiowandb.errors import CommError, MissingFileError, NotFoundError, ServerError, UsageError
from aiowandb.files.folder import pieces_of
from aiowandb.net import Session
from aiowandb.net.paging import pages_of
from aiowandb.net.session import supports
from aiowandb.paths import RunRef
from aiowandb.redaction import Link
from aiowandb.user_warnings import warn
from aiowandb.wire import lenient
from aiowandb.wire.checksum import Checksum
from aiowandb.wire.connection import Connection
from aiowandb.wire.console import ConsoleLogLine, ConsoleRun, console_page, console_tail
from aiowandb.wire.files import (
    FileRecord,
    FilesRun,
    create_files,
    delete_files,
    list_files,
    mark_uploaded,
    project_id,
)
from aiowandb.wire.runs import run_not_found

FILES_PER_PAGE = 50
# When to look again at a file that was just uploaded.
_LISTED_AFTER_S = (0.5, 2.0)


def file_key(file: FileRecord) -> tuple[str, str]:
    """What tells a file in a list from the others."""
    return file.id, file.name


class RunFiles:
    """The files of a run: all, those with these names, or those that match the pattern."""

    def __init__(
        self,
        session: Session,
        ref: RunRef,
        names: Sequence[str] = (),
        pattern: str | None = None,
        per_page: int = FILES_PER_PAGE,
        *,
        fresh: bool = False,
    ) -> None:
        if names and pattern:
            raise UsageError("Pass names or a pattern, not both.")
        self._session = session
        self._ref = ref
        self._names = names
        self._pattern = pattern
        self._per_page = per_page
        self._fresh = fresh

    def pages(self, *, fresh: bool = False) -> AsyncGenerator[list[FileRecord]]:
        async def page(cursor: str | None) -> Connection[FileRecord]:
            run = await self._ask(self._names, self._pattern, cursor, fresh)
            if run.files is None and run.file_count:
                warn(f"W&B counts {run.file_count:,} files of run {self._ref} but lists none.")
            return run.files or Connection()

        return pages_of(f"the files of {self._ref}", page, key=file_key)

    async def count(self) -> int:
        if self._names or self._pattern:  # W&B counts only all of them
            async with aclosing(self.pages()) as pages:
                return sum([len(page) async for page in pages])
        return (await self._ask((), None, None, False)).file_count

    def link(self, file: FileRecord) -> Link | None:
        return Link(file.url) if file.url is not None else None

    async def find(self, name: str) -> FileRecord | None:
        files = (await self._ask([name], None, None, True)).nodes
        return files[0] if files else None

    async def read(self, name: str) -> bytes | None:
        """The content of the file of this name, or None if there is no such file."""
        file = await self.find(name)
        if file is None or file.url is None:
            return None
        content = BytesIO()
        await self._session.download(Link(file.url), content)
        return content.getvalue()

    async def get(self, name: str) -> FileRecord:
        """The file of this name; raises if there is no such file."""
        file = await self.find(name)
        if file is None:
            raise NotFoundError(f"Run {self._ref} has no file {name}.", operation="RunFiles")
        return file

    async def metadata(self) -> dict[str, Any] | None:
        """What the run recorded about its machine and program, or None."""
        content = await self.read("wandb-metadata.json")
        return lenient.loads(content) if content else None

    async def upload(self, path: Path, root: Path) -> FileRecord:
        """Upload a local file to the run, under its path relative to `root`."""
        name = await _name_below(path, root)
        size = (await anyio.Path(path).stat()).st_size
        made = await self._session.ask(create_files(self._ref, [name]))
        if not made.files or not made.files[0].upload_url:
            raise CommError(f"W&B sent no URL to upload {name} of run {self._ref} to.")
        link = self._session.link(made.files[0].upload_url)
        digest = md5(usedforsecurity=False)

        async def content() -> AsyncIterator[bytes]:
            nonlocal digest
            digest = md5(usedforsecurity=False)
            async for piece in pieces_of(path):
                digest.update(piece)
                yield piece

        await self._session.upload(link, content, size, made.headers())
        if await supports(self._session, "MARK_RUN_FILES_UPLOADED"):
            await self._session.ask(mark_uploaded(self._ref, [name]))
        return await self._uploaded(name, size, digest.digest())

    async def _uploaded(self, name: str, size: int, digest: bytes) -> FileRecord:
        """The file as W&B lists it, which may learn of it a moment later from its object store."""
        pauses = iter(_LISTED_AFTER_S)
        while True:
            file = await self.find(name)
            if file is None:
                raise NotFoundError(
                    f"{name} was uploaded to run {self._ref}, but is not listed there."
                )
            checksum = Checksum.of(file.md5)
            if file.size == size and (checksum is None or checksum.digest == digest):
                return file
            if (pause := next(pauses, None)) is None:
                break
            await anyio.sleep(pause)
        if not file.size and checksum is None:  # it still knows nothing of the content
            return file
        warn(
            f"{name} was uploaded to run {self._ref}, but W&B lists a file of other content there,"
            f" with {file.size:,} bytes instead of {size:,}: compare it before you delete yours."
        )
        return file

    async def delete(self, file: FileRecord) -> None:
        ref = self._ref
        project = await self._session.ask_cached(project_id(ref.entity, ref.project))
        if project is None:
            raise self._not_found()
        await self._session.ask(delete_files([file.id], project))

    async def _ask(
        self, names: Sequence[str], pattern: str | None, cursor: str | None, fresh: bool
    ) -> FilesRun:
        asked = list_files(self._ref, names, pattern, self._per_page, cursor)
        run = await self._session.ask_cached(asked, fresh=fresh or self._fresh)
        if run is None:
            raise self._not_found()
        return run

    def _not_found(self) -> NotFoundError:
        return run_not_found(self._ref, "RunFiles")


async def _name_below(path: Path, root: Path) -> str:
    """The name that a file of this computer gets as a file of a run: its path below `root`."""
    name = Path(await run_sync(os.path.relpath, path, root))
    if name.is_absolute() or ".." in name.parts:
        raise UsageError(f"{path} is not inside {root}: pass a root= that contains it.")
    if not await run_sync(path.exists):
        raise MissingFileError(f"path must be an existing file, and {path} does not exist.")
    if not await run_sync(path.is_file):
        raise UsageError(f"path must be a file, and {path} is not one: upload files one at a time.")
    return name.as_posix()


async def console_pages(
    session: Session,
    ref: RunRef,
    per_page: int,
    last: int | None,
    *,
    first: ConsoleRun | None = None,
) -> AsyncGenerator[list[ConsoleLogLine]]:
    """All lines page by page, or the `last` ones; `first` is an answer that is already there."""
    cursor: str | None = None
    number = -1
    while True:
        found, first = first or await _page(session, ref, per_page, last, cursor), None
        lines = found.log_lines.nodes
        if any(then >= now for then, now in pairwise([number, *(line.number for line in lines)])):
            raise ServerError(
                f"W&B returns console lines of run {ref} twice, or not in their order."
            )
        yield [line.read() for line in lines]
        number = lines[-1].number if lines else number
        cursor = found.next_cursor()
        if cursor is None:
            break
    if number + 1 < (count := found.log_line_count or 0):
        warn(f"W&B counts {count:,} console lines of run {ref} but lists only {number + 1:,}.")


async def _page(
    session: Session, ref: RunRef, per_page: int, last: int | None, cursor: str | None
) -> ConsoleRun:
    asked = console_page(ref, per_page, cursor) if last is None else console_tail(ref, last)
    found = await session.ask(asked)  # not cached: it grows while the run is live
    if found is None:
        raise run_not_found(ref)
    return found
