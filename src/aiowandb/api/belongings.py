"""What belongs to a run beside its rows: files, console output, artifacts, its sweep."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync

from aiowandb.api.files import File, Files
from aiowandb.arguments import ANY_NAMES, FLAG, PATH, checks, optional, text, whole
from aiowandb.concurrency.tasks import Items, Stream
from aiowandb.errors import NotFoundError, ServerError, UsageError
from aiowandb.files.artifact_lists import RunArtifacts
from aiowandb.files.run_files import RunFiles
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.artifacts import Direction
from aiowandb.wire.console import ConsoleLogLine, ConsoleRun, console_page, console_tail
from aiowandb.wire.record import RunRecord

if TYPE_CHECKING:
    from aiowandb.api.artifacts import Artifacts
    from aiowandb.api.sweeps import Sweep

_METADATA = "wandb-metadata.json"


class Belongings(RunRecord, kw_only=True, dict=True, eq=False):
    """The part of `Run` that leads to other things."""

    @checks(
        names=optional(ANY_NAMES),
        pattern=optional(text("a pattern like '%.json'")),
        per_page=whole(1),
        fresh=FLAG,
    )
    def files(
        self,
        names: Sequence[str] | None = None,
        pattern: str | None = None,
        per_page: int = 50,
        *,
        fresh: bool = False,
    ) -> Files:
        """The run's files: all, or those of these names, or those like the SQL pattern.

        They are kept once they were read; with `fresh`, W&B is asked each time.

        >>> await run.files(pattern="media/%.png").download("pictures")
        """
        source = RunFiles(self._session, self.ref, names or (), pattern, per_page, fresh=fresh)
        return Files(self._session, source)

    @checks(name=text("the name of a file"))
    async def file(self, name: str) -> File:
        """The run's file of this name."""
        source = RunFiles(self._session, self.ref)
        record = await source.find(name)
        if record is None:
            raise NotFoundError(f"Run {self.ref} has no file {name}.", operation="RunFiles")
        return File.of(record, self._session, source)

    @checks(path=PATH, root=PATH)
    async def upload_file(self, path: str | PathLike[str], root: str | PathLike[str] = ".") -> File:
        """Make a file of this computer one of the run's files, under its path seen from `root`."""
        name = Path(await run_sync(os.path.relpath, path, root))
        if name.is_absolute() or ".." in name.parts:
            raise UsageError(f"{path} is not inside {root}: name a root= that it is in.")
        source = RunFiles(self._session, self.ref)
        record = await source.upload(Path(path), name.as_posix())
        return File.of(record, self._session, source)

    @checks(per_page=whole(1), fresh=FLAG)
    def logged_artifacts(self, per_page: int = 100, *, fresh: bool = False) -> Artifacts:
        """The artifacts that the run has made, kept once they were read unless with `fresh`."""
        return _artifacts(self._session, self.ref, "output", per_page, fresh=fresh)

    @checks(per_page=whole(1), fresh=FLAG)
    def used_artifacts(self, per_page: int = 100, *, fresh: bool = False) -> Artifacts:
        """The artifacts that the run has used, kept once they were read unless with `fresh`."""
        return _artifacts(self._session, self.ref, "input", per_page, fresh=fresh)

    async def sweep(self) -> Sweep | None:
        """The sweep that the run is part of, or None if it is of none."""
        from aiowandb.api.sweeps import find_sweep  # a sweep knows its runs, and they know it

        ref = self.ref
        if not self.sweep_name:
            return None
        return await find_sweep(self._session, RunRef(ref.entity, ref.project, self.sweep_name))

    async def metadata(self) -> dict[str, Any] | None:
        """What the run noted of its machine and its program, or None if it did not.

        >>> metadata = await run.metadata()
        >>> metadata["git"]["commit"]
        """
        content = await RunFiles(self._session, self.ref).read(_METADATA)
        return lenient.loads(content) if content else None

    @checks(per_page=whole(1), last=optional(whole(1)))
    def console_logs(
        self, *, per_page: int = 1000, last: int | None = None
    ) -> Stream[ConsoleLogLine]:
        """What the run wrote to stdout and stderr, or the `last` lines of it.

        >>> async for line in run.console_logs(last=100):
        ...     print(line.timestamp, line.content)
        """
        return Items(self._session.ahead(self._console_pages(per_page=per_page, last=last)))

    async def _console_pages(
        self, *, per_page: int = 1000, last: int | None = None
    ) -> AsyncGenerator[list[ConsoleLogLine]]:
        cursor: str | None = None
        while True:
            found = await self._console(per_page, last, cursor)
            yield [line.read() for line in found.log_lines.nodes]
            last_cursor, cursor = cursor, found.next_cursor()
            if cursor is None:
                return
            if cursor == last_cursor:
                raise ServerError(f"W&B tells the same lines of run {self.ref} again and again.")

    async def _console(self, per_page: int, last: int | None, cursor: str | None) -> ConsoleRun:
        asked = (
            console_page(self.ref, per_page, cursor)
            if last is None
            else console_tail(self.ref, last)
        )
        project = (await self._session.ask(asked)).project  # it grows while the run is live
        if project is None or project.run is None:
            raise self._gone()
        return project.run

    def _gone(self) -> NotFoundError:
        return NotFoundError(f"Could not find run {self.ref}.")

    @property
    def _session(self) -> Session:
        session: Session = vars(self)["_session"]
        return session


def _artifacts(
    session: Session, ref: RunRef, direction: Direction, per_page: int, *, fresh: bool
) -> Artifacts:
    from aiowandb.api.artifacts import Artifacts  # an artifact knows its runs, and they know it

    return Artifacts(session, RunArtifacts(session, ref, direction, per_page, fresh=fresh))
