"""`Run`: the attributes of a run, its rows and files, and its changes."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from msgspec.structs import replace

from aiowandb.api.append import Append
from aiowandb.api.artifacts_of_run import ArtifactsOfRun
from aiowandb.api.files import File, Files
from aiowandb.api.histories import (
    ROW_TYPE,
    SAMPLE_CHECKS,
    SCAN_RUN_CHECKS,
    check_scan,
    history_pages,
    make_selection,
    row_batches,
    row_pages,
    warn_of_unknown,
)
from aiowandb.api.notebook import run_card
from aiowandb.api.rows import frame_if_possible
from aiowandb.api.sampling import read_sample, sample_call
from aiowandb.api.updating import WRITABLE, check_values, read_run, send_changes, wait_for_end
from aiowandb.arguments import (
    ANY_NAMES,
    FLAG,
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
from aiowandb.fields import RunFields
from aiowandb.files.run_files import RunFiles, console_pages
from aiowandb.history.neighbours import Position
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire.changes import RunDiff
from aiowandb.wire.console import ConsoleLogLine
from aiowandb.wire.record import RunRecord
from aiowandb.wire.summary import Summary
from aiowandb.wire.writing import delete_run, stop_run, update_state

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from aiowandb.api.sweeps import Sweep

S = TypeVar("S")


class Run(RunFields, ArtifactsOfRun):
    """A run. Its attributes are loaded already, its rows are read on demand.

    >>> run = await api.run("entity/project/run_id")
    >>> run.name, run.config["lr"], run.summary["loss"], run.tags
    """

    _writable = WRITABLE

    def __init__(self, record: RunRecord, session: Session) -> None:
        self._session = session
        self._position: Position | None = None  # in the list that it came from
        self._take(record)

    __hash__ = object.__hash__  # the record changes

    @property
    def summary(self) -> Summary[Awaitable[None]]:
        """The summary value of each metric. NaN and infinities are floats.

        Changes are sent by `update()` or by `summary.update()`.
        """
        return Summary(self._inner.summary_metrics, save=self.update)

    @summary.setter
    def summary(self, values: Mapping[str, Any]) -> None:
        self._inner.summary = Summary(dict(values))

    @property
    def url(self) -> str:
        """The web page of the run."""
        site = app_url(self._session.settings.base_url)
        return f"{site}/{self.entity}/{self.project}/runs/{self.id}"

    def _repr_html_(self) -> str:
        return run_card(self._inner, self.url)

    @overload
    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        stream: EventStream = "default",
        *,
        pandas: Literal[False],
        fresh: bool = False,
    ) -> list[dict[str, Any]]: ...

    # Where pandas is not installed, it is a list of dicts, and checkers do not know the class.
    @overload
    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        stream: EventStream = "default",
        *,
        pandas: Literal[True] = True,
        fresh: bool = False,
    ) -> pd.DataFrame: ...

    @checks(**SAMPLE_CHECKS, pandas=FLAG, fresh=FLAG)
    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        stream: EventStream = "default",
        *,
        pandas: bool = True,
        fresh: bool = False,
    ) -> pd.DataFrame | list[dict[str, Any]]:
        """A sample of at most `samples` rows. `scan_history()` reads all rows.

        Returns a pandas DataFrame if pandas is installed; else, or with `pandas=False`, a list of
        dicts. With `keys` (names or globs), only rows that have all of them and the x axis are
        sampled. `stream="system"` samples the system metrics. Cached unless `fresh`.
        """
        call = sample_call(samples, keys, x_axis, stream)
        warn_of_unknown(self.record, [*keys, x_axis] if keys else ())
        rows = await read_sample(self._session, self.record, call, self._position, fresh=fresh)
        return frame_if_possible(rows) if pandas else rows

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
        """All rows in step order; with `keys`, only rows that have all of these keys.

        With `any_key`, rows that have any of the keys. `exclude` leaves keys out. Both take
        globs like `val.*`, and the name of a nested dict, like `val`, stands for all keys in
        it. `min_step` is included, `max_step` is not. `stream="system"` reads the system
        metrics, which have no steps. A key that the run does not have is an `AiowandbWarning`.

        With `type`, each row is converted to that `msgspec.Struct`, dataclass, attrs class,
        TypedDict, NamedTuple or pydantic model. Keys like `val.loss` need another name there:
        `field(name=...)` in a Struct, `Field(alias=...)` in pydantic. A row that does not fit
        is a `RowError`: select rows with `keys`, or give fields a default.

        Nested keys have dotted names. A float without a fraction may be an int, as W&B sends
        1.0 like 1. A logged None is left out.

        >>> async for row in run.scan_history(keys=["loss"]):
        ...     print(row["_step"], row["loss"])
        """
        wanted = make_selection(keys, page_size, min_step, max_step, any_key, exclude)
        check_scan(self.record, wanted, stream)
        pages = history_pages(self._session, self.ref, wanted, stream, self._position)
        return Items(self._session.ahead(row_pages(pages, type, str(self.ref))))

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
        """The same rows as Arrow record batches, nested keys as dotted columns.

        With `nested="json"`, a nested dict is one column of JSON text instead. A batch has the
        columns in which its rows have values. A column of numbers is int64 if W&B sent only
        integers for the batch, else float64.

        >>> async for batch in run.scan_history_batches(keys=["train/*"]):
        ...     print(batch.num_rows, batch.schema.names)
        """
        wanted = make_selection(keys, page_size, min_step, max_step, any_key, exclude)
        check_scan(self.record, wanted, stream)
        pages = history_pages(self._session, self.ref, wanted, stream, self._position)
        return self._session.ahead(row_batches(pages, nested))

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
        """The files of the run, or those with these names or matching this SQL LIKE pattern.

        Cached unless `fresh`.

        >>> await run.files(pattern="media/%.png").download("pictures")
        """
        source = RunFiles(self._session, self.ref, names or (), pattern, per_page, fresh=fresh)
        return Files(self._session, source)

    @checks(name=text("the name of a file"))
    async def file(self, name: str) -> File:
        """The file of the run with this name."""
        source = RunFiles(self._session, self.ref)
        return File(await source.get(name), self._session, source)

    @checks(path=PATH, root=PATH)
    async def upload_file(self, path: str | PathLike[str], root: str | PathLike[str] = ".") -> File:
        """Upload a local file to the run, under its path relative to `root`."""
        source = RunFiles(self._session, self.ref)
        return File(await source.upload(Path(path), Path(root)), self._session, source)

    @checks()
    async def sweep(self) -> Sweep | None:
        """The sweep that the run is part of, or None."""
        from aiowandb.api.sweeps import find_sweep  # they import each other

        if not self.sweep_name:
            return None
        return await find_sweep(self._session, RunRef(self.entity, self.project, self.sweep_name))

    @checks()
    async def metadata(self) -> dict[str, Any] | None:
        """What the run recorded about its machine and program, or None.

        >>> metadata = await run.metadata()
        >>> metadata["git"]["commit"]
        """
        return await RunFiles(self._session, self.ref).metadata()

    @checks(per_page=integer(1), last=optional(integer(1)))
    def console_logs(
        self, *, per_page: int = 1000, last: int | None = None
    ) -> Stream[ConsoleLogLine]:
        """The lines that the run wrote to stdout and stderr, or the `last` of them.

        >>> async for line in run.console_logs(last=100):
        ...     print(line.timestamp, line.content)
        """
        return Items(self._session.ahead(console_pages(self._session, self.ref, per_page, last)))

    @checks(merge=FLAG)
    async def update(self, *, merge: bool = False) -> None:
        """Send the changes that were made here, to config, summary, name, tags, notes etc.

        Only what was changed is sent. If W&B's copy of it has changed since the run was read,
        that is a `ConflictError`; with `merge`, the changes are applied to W&B's copy.

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
        """Read the run again, unless `force` is false. Changes that were not sent are lost."""
        if force:
            self._take(await read_run(self._session, self.ref))

    @checks(state=choice(SetState))
    async def update_state(self, state: SetState) -> bool:
        """Change the state of a run without a script; returns whether W&B did so."""
        done = await self._session.ask(update_state(self.storage_id, state))
        if done.success:
            self._set_state(state)
        return done.success

    @checks(delete_artifacts=FLAG)
    async def delete(self, delete_artifacts: bool = False) -> None:
        """Delete the run, and with `delete_artifacts` the artifacts that it logged."""
        await self._session.ask(delete_run(self.storage_id, delete_artifacts=delete_artifacts))

    @checks()
    async def stop(self) -> bool:
        """Ask the script of a live run to stop; returns whether W&B passed that on."""
        return (await self._session.ask(stop_run(self.storage_id))).success

    @checks(poll_interval=POSITIVE)
    async def wait_until_finished(self, poll_interval: float = 5.0) -> str:
        """Wait until the run has ended, and return its final state."""
        await wait_for_end(self._session, self.ref, poll_interval, self._set_state)
        await self.load()
        return self.state or ""

    @checks(state=optional(choice(EndState)), token=optional(text("a name for the rows")))
    def append(self, *, state: EndState | None = None, token: str | None = None) -> Append:
        """Add rows to the end of the history, even if the run has finished.

        Inside of the block the run is `running`; afterwards it has its previous state, or
        `state`. If the block ends with an exception, the rows before it are kept, and with
        `state` the run is `failed`. If the process is killed, the run will be `crashed`.

        A second writer is a `ConflictError`; `log.added` counts the acknowledged rows. With a
        `token`, the same rows can be added again after a failure: rows that are in the run
        already are skipped.

        >>> async with run.append() as log:
        ...     await log({"loss": 0.1})
        ...     await log({"loss": 0.05}, step=100)
        """
        return Append(self, self._session, state, token)

    def _renew(self, record: RunRecord) -> None:
        """Show this record, unless changes were made here that were not sent."""
        if not RunDiff.of(self._read, self.record):
            self._take(record)

    def _set_state(self, state: str) -> None:
        self._inner.state = state

    def _take(self, record: RunRecord) -> None:
        """Show this record, and compare later changes with it."""
        self._read = record
        self._inner = replace(record, tags=list(record.tags))
