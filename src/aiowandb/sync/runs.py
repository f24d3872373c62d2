"""`Runs` and `Run` without `await`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from aiowandb import api
from aiowandb.choices import EventStream
from aiowandb.sync.files import File, Files
from aiowandb.sync.listing import Listed
from aiowandb.sync.portal import Portal
from aiowandb.sync.wrapping import (
    Asked,
    Shared,
    Twin,
    as_it_is,
    blocking,
    giving,
    if_any,
    iterating,
    making,
    paged,
)
from aiowandb.wire.record import HistoryKeys, User
from aiowandb.wire.summary import Summary

if TYPE_CHECKING:
    from aiowandb.sync.artifacts import Artifacts
    from aiowandb.sync.sweeps import Sweep

S = TypeVar("S")


class Append(Twin[api.Append]):
    """Rows on their way to a run; see `Run.append`."""

    added = Shared[int]()
    skipped = Shared[int]()

    def __enter__(self) -> Self:
        self._portal.call(self._async.__aenter__)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.call(self._async.__aexit__, exc_type, exc, traceback)

    __call__ = blocking(api.Append.__call__)


def _artifacts(original: api.Artifacts, portal: Portal) -> Artifacts:
    from aiowandb.sync.artifacts import Artifacts  # whose runs are those of this module

    return Artifacts(original, portal)


def _sweep(original: api.Sweep, portal: Portal) -> Sweep:
    from aiowandb.sync.sweeps import Sweep

    return Sweep(original, portal)


class Run(Twin[api.Run]):
    """A run of W&B. Its attributes are here already, its rows come when asked for.

    >>> run = api.run("entity/project/run_id")
    >>> run.name, run.config["lr"], run.summary["loss"], run.tags
    """

    id = Shared[str]()
    storage_id = Shared[str]()
    entity = Shared[str]()
    project = Shared[str]()
    path = Shared[list[str]]()
    url = Shared[str]()
    name = Shared[str | None]()
    display_name = Shared[str | None]()
    state = Shared[str | None]()
    tags = Shared[list[str]]()
    group = Shared[str | None]()
    job_type = Shared[str | None]()
    commit = Shared[str | None]()
    notes = Shared[str | None]()
    description = Shared[str | None]()
    read_only = Shared[bool | None]()
    created_at = Shared[datetime | None]()
    heartbeat_at = Shared[datetime | None]()
    user = Shared[User | None]()
    username = Shared[str | None]()
    sweep_name = Shared[str | None]()
    config = Shared[dict[str, Any]]()
    raw_config = Shared[dict[str, Any]]()
    system_metrics = Shared[dict[str, Any]]()
    history_keys = Shared[HistoryKeys | None]()
    history_line_count = Shared[int | None]()
    last_step = Shared[int]()
    rawconfig = Shared[dict[str, Any]]()
    json_config = Shared[str]()
    summary_metrics = Shared[dict[str, Any]]()
    lastHistoryStep = Shared[int]()  # noqa: N815
    createdAt = Shared[datetime | None]()  # noqa: N815
    heartbeatAt = Shared[datetime | None]()  # noqa: N815

    files = making(api.Run.files, Files)
    file = giving(api.Run.file, File)
    logged_artifacts = making(api.Run.logged_artifacts, _artifacts)
    used_artifacts = making(api.Run.used_artifacts, _artifacts)
    sweep = Asked(api.Run.sweep, if_any(_sweep))
    upload_file = giving(api.Run.upload_file, File)
    metadata = Asked(api.Run.metadata)
    console_logs = paged(api.Run.console_logs, as_it_is)
    history = blocking(api.Run.history)
    if TYPE_CHECKING:  # what type= gives cannot be told through `paged`

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
        ) -> Iterator[dict[str, Any]]: ...

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
        ) -> Iterator[S]: ...

        def scan_history(self, *args: Any, **kwargs: Any) -> Any: ...
    else:
        scan_history = paged(api.Run.scan_history, as_it_is)
    scan_history_batches = iterating(api.Run.scan_history_batches, as_it_is)
    update = blocking(api.Run.update)
    save = blocking(api.Run.save)
    load = blocking(api.Run.load)
    update_state = blocking(api.Run.update_state)
    append = making(api.Run.append, Append)
    wait_until_finished = blocking(api.Run.wait_until_finished)
    stop = blocking(api.Run.stop)
    delete = blocking(api.Run.delete)
    _repr_html_ = making(api.Run._repr_html_, as_it_is)

    @property
    def summary(self) -> Summary:
        """The last, best or chosen value of each metric; NaN and Infinity are floats.

        Changes are sent by `update()`, or by `summary.update()`.
        """
        return Summary(self._async.summary_metrics, save=self.update)

    @summary.setter
    def summary(self, values: Mapping[str, Any]) -> None:
        self._async.summary = values  # type: ignore[assignment] # which makes one of it


class Runs(Listed[api.Runs, Run]):
    """The runs that a query finds. Nothing is sent until they are used.

    >>> runs = api.runs("entity/project")
    >>> len(runs), runs[0], runs[10:20]
    >>> for run in runs:
    ...     print(run.name)
    """

    _kind = Run
    to_arrow = blocking(api.Runs.to_arrow)
    to_pandas = blocking(api.Runs.to_pandas)
    to_polars = blocking(api.Runs.to_polars)
    histories = blocking(api.Runs.histories)
    export = blocking(api.Runs.export)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """What pandas, polars and duckdb read the table of `to_arrow` through."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)
