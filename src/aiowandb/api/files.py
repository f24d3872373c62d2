"""`Files` and `File`: the files of a run or of an artifact."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from os import PathLike
from pathlib import Path

from aiowandb.api.listing import Listing
from aiowandb.arguments import FLAG, PATH, checks
from aiowandb.fields import FileFields, RecordHolder
from aiowandb.files.source import FileSource, download_file, download_files
from aiowandb.net import Session
from aiowandb.wire.files import FileRecord


class File(FileFields, RecordHolder[FileRecord]):
    """A file stored at W&B.

    >>> file = await run.file("model.h5")
    >>> path = await file.download("models")
    """

    def __init__(self, record: FileRecord, session: Session, source: FileSource) -> None:
        super().__init__(record)
        self._session = session
        self._source = source

    @checks(root=PATH, replace=FLAG, exist_ok=FLAG)
    async def download(
        self, root: str | PathLike[str] = ".", replace: bool = False, exist_ok: bool = False
    ) -> Path:
        """Download the file into the folder `root` under its own name, and return its path.

        The file is verified, and appears complete or not at all. An existing file is replaced
        with `replace`, kept with `exist_ok`, and otherwise an error.
        """
        return await download_file(
            self._session,
            self._source,
            self.record,
            Path(root),
            replace=replace,
            exist_ok=exist_ok,
        )

    @checks()
    async def delete(self) -> None:
        """Delete the file from W&B."""
        await self._source.delete(self.record)


class Files(Listing[File]):
    """Files of a run or of an artifact. Nothing is sent until the list is used.

    >>> files = run.files(pattern="%.json")
    >>> async for file in files:
    ...     print(file.name, file.size)
    >>> paths = await files.download("out")
    """

    def __init__(self, session: Session, source: FileSource) -> None:
        super().__init__(session)
        self._source = source

    @checks()
    async def count(self) -> int:
        """The number of items."""
        return await self._source.count()

    @checks(root=PATH, replace=FLAG, exist_ok=FLAG)
    async def download(
        self, root: str | PathLike[str] = ".", replace: bool = False, exist_ok: bool = False
    ) -> list[Path]:
        """Download all files into the folder `root`, several at once, and return their paths.

        Works like `File.download`. The first failure ends it; files that are complete stay.
        """
        return await download_files(
            self._session, self._source, Path(root), replace=replace, exist_ok=exist_ok
        )

    async def _pages(self) -> AsyncGenerator[list[File]]:
        async with aclosing(self._source.pages()) as pages:
            async for records in pages:
                yield [File(record, self._session, self._source) for record in records]
