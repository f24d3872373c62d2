"""`Run`: what W&B knows of one run, its rows, and what can be done to it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from anyio.to_thread import run_sync
from msgspec.structs import replace

from aiowandb.api.append import Append
from aiowandb.api.console import console_pages
from aiowandb.api.files import File, Files
from aiowandb.api.histories import (
    ROW_TYPE,
    SCAN_RUN_CHECKS,
    check_sample,
    check_scan,
    make_selection,
    read_sample,
    row_batches,
    row_pages,
    warn_of_unknown,
)
from aiowandb.api.notebook import run_card
from aiowandb.api.rows import as_frame
from aiowandb.api.updating import WRITABLE, check_values, read_run, send_changes, wait_for_end
from aiowandb.arguments import (
    ANY_NAMES,
    FLAG,
    NAMES,
    PATH,
    POSITIVE,
    checks,
    choice,
    integer,
    optional,
    text,
)
from aiowandb.choices import EndState, EventStream, Nested, SetState
from aiowandb.concurrency.tasks import Items, Stream
from aiowandb.config.settings import app_url
from aiowandb.errors import NotFoundError, UsageError
from aiowandb.fields import RecordHolder, RunFields
from aiowandb.files.artifact_lists import RunArtifacts
from aiowandb.files.run_files import RunFiles
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.artifacts import Direction
from aiowandb.wire.console import ConsoleLogLine
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import get_run
from aiowandb.wire.summary import Summary
from aiowandb.wire.writing import delete_run, stop_run, update_state

if TYPE_CHECKING:
    import pyarrow as pa

    from aiowandb.api.artifacts import Artifacts
    from aiowandb.api.sweeps import Sweep

S = TypeVar("S")

_METADATA = "wandb-metadata.json"


class Run(RunFields, RecordHolder[RunRecord]):
    """A run of W&B. Its attributes are here already, its rows come when asked for.

    >>> run = await api.run("entity/project/run_id")
    >>> run.name, run.config["lr"], run.summary["loss"], run.tags
    """

    _writable = WRITABLE

    def __init__(self, record: RunRecord, session: Session) -> None:
        self._session = session
        self._take(record)

    __hash__ = object.__hash__  # the record changes

    @property
    def summary(self) -> Summary[Awaitable[None]]:
        """The last, best or chosen value of each metric; NaN and Infinity are floats.

        Changes are sent by `update()`, or by `summary.update()`.
        """
        return Summary(self._inner.summary_metrics, save=self.update)

    @summary.setter
    def summary(self, values: Mapping[str, Any]) -> None:
        self._inner.summary = Summary(dict(values))

    @property
    def url(self) -> str:
        """The run's page for people."""
        site = app_url(self._session.settings.base_url)
        return f"{site}/{self.entity}/{self.project}/runs/{self.id}"

    def _repr_html_(self) -> str:
        return run_card(self._inner, self.url)

    @checks(
        samples=integer(1),
        keys=optional(NAMES),
        x_axis=text("the name of a key"),
        stream=choice(EventStream),
        pandas=FLAG,
        fresh=FLAG,
    )
    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        stream: EventStream = "default",
        *,
        pandas: bool = True,
        fresh: bool = False,
    ) -> Any:
        """A sample of the rows, at most `samples` of them. All of them: `scan_history()`.

        A pandas DataFrame where pandas is installed, else, or with `pandas=False`, a
        list of dicts. With `keys`, names or globs, only rows that have all of these keys
        and the x axis. `stream="system"` samples the system metrics. The same sample is given
        again for the life of the session, unless with `fresh`.

        A row has the same values as in `scan_history()`.
        """
        check_sample(keys, x_axis, stream)
        warn_of_unknown(self.record, [*keys, x_axis] if keys else ())
        rows = await read_sample(
            self._session, self.record, samples, keys, x_axis, stream, fresh=fresh
        )
        return as_frame(rows) if pandas else rows

    @overload
    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        any_key: bool = False,
        exclude: Sequence[str] = (),
        stream: EventStream = "default",
        type: None = None,
    ) -> Stream[dict[str, Any]]: ...

    @overload
    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        any_key: bool = False,
        exclude: Sequence[str] = (),
        stream: EventStream = "default",
        type: type[S],
    ) -> Stream[S]: ...

    @checks(**SCAN_RUN_CHECKS, type=optional(ROW_TYPE))
    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        any_key: bool = False,
        exclude: Sequence[str] = (),
        stream: EventStream = "default",
        type: Any = None,
    ) -> Stream[Any]:
        """Every row in step order; with `keys`, every row that has all of these keys.

        `any_key` takes rows that have one of them. `exclude` names keys to leave out.
        Both take globs, like `val.*`, and a key that others are nested in, like `val`,
        stands for those. `min_step` is included, `max_step` is not. `stream="system"`
        gives the system metrics, which have no steps. A key that the run does not have, as
        far as is known, is an `AiowandbWarning`.

        With `type`, each row is made into that `msgspec.Struct`, dataclass, attrs class,
        TypedDict, NamedTuple or pydantic model. Keys like `val.loss` are renamed there:
        `field(name=...)` in a Struct, `Field(alias=...)` in pydantic. A row that does not
        fit is a `RowError`: take only rows with all `keys`, or give fields a default.

        A row has what was logged in it, nested keys under dotted names. A number without a
        fraction is an int, as 1.0 is sent like 1; a None that was logged is not there.

        >>> async for row in run.scan_history(keys=["loss"]):
        ...     print(row["_step"], row["loss"])
        """
        wanted = make_selection(keys, page_size, min_step, max_step, any_key, exclude)
        check_scan(self.record, wanted, stream)
        return Items(self._session.ahead(row_pages(self._session, self.ref, wanted, stream, type)))

    @checks(**SCAN_RUN_CHECKS, nested=choice(Nested))
    def scan_history_batches(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        any_key: bool = False,
        exclude: Sequence[str] = (),
        stream: EventStream = "default",
        nested: Nested = "dots",
    ) -> Stream[pa.RecordBatch]:
        """The same rows as Arrow record batches: nested keys as dotted columns.

        With `nested="json"`, a nest of keys is one column of JSON text instead. A batch
        has the columns that its rows have values in. A column of numbers is int64 where
        W&B sent nothing but integers for the batch, else float64.

        >>> async for batch in run.scan_history_batches(keys=["train/*"]):
        ...     print(batch.num_rows, batch.schema.names)
        """
        wanted = make_selection(keys, page_size, min_step, max_step, any_key, exclude)
        check_scan(self.record, wanted, stream)
        return self._session.ahead(row_batches(self._session, self.ref, wanted, stream, nested))

    @checks(
        names=optional(ANY_NAMES),
        pattern=optional(text("a pattern like '%.json'")),
        per_page=integer(1),
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
        return File(record, self._session, source)

    @checks(path=PATH, root=PATH)
    async def upload_file(self, path: str | PathLike[str], root: str | PathLike[str] = ".") -> File:
        """Make a file of this computer one of the run's files, under its path seen from `root`."""
        name = Path(await run_sync(os.path.relpath, path, root))
        if name.is_absolute() or ".." in name.parts:
            raise UsageError(f"{path} is not inside {root}: name a root= that it is in.")
        if await run_sync(os.path.isdir, path):
            raise UsageError(f"path must be a file, and {path} is a folder: upload one at a time.")
        source = RunFiles(self._session, self.ref)
        record = await source.upload(Path(path), name.as_posix())
        return File(record, self._session, source)

    @checks(per_page=integer(1), fresh=FLAG)
    def logged_artifacts(self, per_page: int = 100, *, fresh: bool = False) -> Artifacts:
        """The artifacts that the run has made, kept once they were read unless with `fresh`."""
        return self._artifacts("output", per_page, fresh=fresh)

    @checks(per_page=integer(1), fresh=FLAG)
    def used_artifacts(self, per_page: int = 100, *, fresh: bool = False) -> Artifacts:
        """The artifacts that the run has used, kept once they were read unless with `fresh`."""
        return self._artifacts("input", per_page, fresh=fresh)

    async def sweep(self) -> Sweep | None:
        """The sweep that the run is part of, or None if it is of none."""
        from aiowandb.api.sweeps import find_sweep  # a sweep knows its runs, and they know it

        if not self.sweep_name:
            return None
        return await find_sweep(self._session, RunRef(self.entity, self.project, self.sweep_name))

    async def metadata(self) -> dict[str, Any] | None:
        """What the run noted of its machine and its program, or None if it did not.

        >>> metadata = await run.metadata()
        >>> metadata["git"]["commit"]
        """
        content = await RunFiles(self._session, self.ref).read(_METADATA)
        return lenient.loads(content) if content else None

    @checks(per_page=integer(1), last=optional(integer(1)))
    def console_logs(
        self, *, per_page: int = 1000, last: int | None = None
    ) -> Stream[ConsoleLogLine]:
        """What the run wrote to stdout and stderr, or the `last` lines of it.

        >>> async for line in run.console_logs(last=100):
        ...     print(line.timestamp, line.content)
        """
        return Items(self._session.ahead(console_pages(self._session, self.ref, per_page, last)))

    @checks(merge=FLAG)
    async def update(self, *, merge: bool = False) -> None:
        """Send what was changed here: config, summary, name, tags, notes, group and the like.

        What was not changed is not touched. If W&B's copy of it was changed since it was
        read, it is a `ConflictError`; with `merge`, the changes are laid over W&B's copy.

        >>> run.config["lr"] = 0.1
        >>> run.tags.append("best")
        >>> await run.update()
        """
        check_values(self.record)
        saved = await send_changes(self._session, self._read, self.record, merge=merge)
        if saved is not None:
            self._take(saved)

    @checks(merge=FLAG)
    async def save(self, *, merge: bool = False) -> None:
        """The same as `update()`."""
        await self.update(merge=merge)

    @checks(force=FLAG)
    async def load(self, force: bool = True) -> None:
        """Read the run again, unless not forced; changes that were not sent are forgotten."""
        if force:
            self._take(await read_run(self._session, self.ref))

    @checks(state=choice(SetState))
    async def update_state(self, state: SetState) -> bool:
        """Change the state of a run that no script is attached to; says whether W&B did."""
        done = await self._session.ask(update_state(self.storage_id, state))
        if done.success:
            self._set_state(state)
        return done.success

    @checks(delete_artifacts=FLAG)
    async def delete(self, delete_artifacts: bool = False) -> None:
        """Delete the run, with its artifacts if asked to."""
        await self._session.ask(delete_run(self.storage_id, delete_artifacts=delete_artifacts))

    async def stop(self) -> bool:
        """Ask the script of a live run to stop; says whether W&B passed that on."""
        return (await self._session.ask(stop_run(self.storage_id))).success

    @checks(poll_interval=POSITIVE)
    async def wait_until_finished(self, poll_interval: float = 5.0) -> str:
        """Wait until the run has ended, and give the state that it ended in."""
        await wait_for_end(self._session, self.ref, poll_interval, self._set_state)
        await self.load()
        return self.state or ""

    @checks(state=optional(choice(EndState)), token=optional(text("a name for the rows")))
    def append(self, *, state: EndState | None = None, token: str | None = None) -> Append:
        """Add rows to the end of the history, also of a run that has finished.

        Meanwhile the run is `running`; afterwards it is what it was before, or `state`. If the
        block ends with an exception, the rows before it are kept, and a run that was to get a
        `state` is `failed`. A writer that is killed leaves it `running`, soon `crashed`.

        If another writer adds rows too, `ConflictError` says so; `log.added` counts the rows
        that were acknowledged. A `token` names the rows, so that this can be repeated if it was
        cut off: those that are in the run already are skipped.

        >>> async with run.append() as log:
        ...     await log({"loss": 0.1})
        ...     await log({"loss": 0.05}, step=100)
        """
        return Append(self, self._session, state, token)

    def _set_state(self, state: str) -> None:
        self._inner.state = state

    def _take(self, record: RunRecord) -> None:
        """Be what the record says, and remember it as what was read."""
        self._read = record
        self._inner = replace(record, tags=list(record.tags))

    def _artifacts(self, direction: Direction, per_page: int, *, fresh: bool) -> Artifacts:
        from aiowandb.api.artifacts import Artifacts  # an artifact knows its runs, they know it

        source = RunArtifacts(self._session, self.ref, direction, per_page, fresh=fresh)
        return Artifacts(self._session, source)


async def find_run(session: Session, ref: RunRef, *, fresh: bool = False) -> Run:
    """The run of this path."""
    record = await session.ask_cached(get_run(ref), fresh=fresh)
    if record is None:
        raise NotFoundError(f"Could not find run {ref}.", operation="Run")
    record.entity, record.project = ref.entity, ref.project
    return Run(record, session)
