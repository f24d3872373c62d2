"""`Api` and its classes: those of `aiowandb.api` without `await`. No logic of their own."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from aiowandb import api
from aiowandb.concurrency.portal import Portal
from aiowandb.config.credentials import without_traceback_locals
from aiowandb.config.settings import Settings
from aiowandb.fields import (
    ArtifactFields,
    FileFields,
    Forwarded,
    ProjectFields,
    RunFields,
    SweepFields,
)
from aiowandb.net import RetryPolicy, Traffic, Waiting
from aiowandb.sync.batches import HistoryBatches
from aiowandb.sync.overloads import RunRows, RunsSamples
from aiowandb.sync.wrapping import (
    SyncBlock,
    SyncListing,
    SyncWrapper,
    awaited,
    awaited_property,
    called,
    each,
    if_any,
    iterated,
)
from aiowandb.wire.artifact_record import ArtifactRecord
from aiowandb.wire.files import FileRecord
from aiowandb.wire.projects import ProjectRecord
from aiowandb.wire.record import RunRecord
from aiowandb.wire.summary import Summary
from aiowandb.wire.sweeps import SweepRecord

if TYPE_CHECKING:
    import pyarrow as pa


class File(FileFields, SyncWrapper[api.File]):
    """A file stored at W&B.

    >>> path = run.file("model.h5").download("models")
    """

    record = Forwarded[FileRecord]()
    download = awaited(api.File.download)
    delete = awaited(api.File.delete)


class Files(SyncListing[api.Files, File]):
    """Files of a run or of an artifact. Nothing is sent until the list is used.

    >>> for file in run.files(pattern="%.json"):
    ...     print(file.name, file.size)
    """

    _kind = File
    download = awaited(api.Files.download)


class Append(SyncBlock[api.Append]):
    """Adds rows to a run; see `Run.append`."""

    added = Forwarded[int]()
    skipped = Forwarded[int]()

    def __enter__(self) -> Self:
        self._portal.call(self._inner.__aenter__)
        return self

    __call__ = awaited(api.Append.__call__)
    flush = awaited(api.Append.flush)


def _sweep(original: api.Sweep, portal: Portal) -> Sweep:
    return Sweep(original, portal)


class Run(RunFields, RunRows, SyncWrapper[api.Run]):
    """A run. Its attributes are loaded already, its rows are read on demand.

    >>> run = api.run("entity/project/run_id")
    >>> run.name, run.config["lr"], run.summary["loss"], run.tags
    """

    record = Forwarded[RunRecord]()
    url = Forwarded[str]()

    files = called(api.Run.files, wrap=Files)
    file = awaited(api.Run.file, wrap=File)
    logged_artifacts = called(
        api.Run.logged_artifacts, wrap=lambda found, portal: Artifacts(found, portal)
    )
    used_artifacts = called(
        api.Run.used_artifacts, wrap=lambda found, portal: Artifacts(found, portal)
    )
    log_artifact = awaited(api.Run.log_artifact, wrap=lambda found, portal: Artifact(found, portal))
    sweep = awaited_property(api.Run.sweep, wrap=if_any(_sweep))
    upload_file = awaited(api.Run.upload_file, wrap=File)
    metadata = awaited_property(api.Run.metadata)
    console_logs = iterated(api.Run.console_logs, by_page=True)
    scan_history_batches = iterated(api.Run.scan_history_batches)
    update = awaited(api.Run.update)
    save = awaited(api.Run.save)
    load = awaited(api.Run.load)
    update_state = awaited(api.Run.update_state)
    append = called(api.Run.append, wrap=Append)
    wait_until_finished = awaited(api.Run.wait_until_finished)
    stop = awaited(api.Run.stop)
    delete = awaited(api.Run.delete)
    _repr_html_ = called(api.Run._repr_html_)

    @property
    def summary(self) -> Summary[None]:
        """The summary value of each metric. NaN and infinities are floats.

        Changes are sent by `update()` or by `summary.update()`.
        """
        return Summary(self._inner.summary_metrics, save=self.update)

    @summary.setter
    def summary(self, values: Mapping[str, Any]) -> None:
        self._inner.summary = values


class LiveRun(Run):
    """A run in progress, inside of `with api.start_run() as run`."""

    _inner: api.LiveRun
    log = awaited(api.LiveRun.log)

    @property
    def added(self) -> int:
        """The number of rows that W&B has acknowledged."""
        return self._inner.added


class RunStart(SyncBlock[api.RunStart]):
    """What `Api.start_run()` returns, to be entered with `with`."""

    def __enter__(self) -> LiveRun:
        return LiveRun(self._portal.call(self._inner.__aenter__), self._portal)


class Runs(RunsSamples, SyncListing[api.Runs, Run]):
    """The runs that match a query. Nothing is sent until the list is used.

    >>> runs = api.runs("entity/project")
    >>> len(runs), runs[0], runs[10:20]
    >>> for run in runs:
    ...     print(run.name)
    """

    _kind = Run
    cursor = Forwarded[str | None]()
    to_arrow = awaited(api.Runs.to_arrow)
    to_pandas = awaited(api.Runs.to_pandas)
    to_polars = awaited(api.Runs.to_polars)
    export = awaited(api.Runs.export)
    plan_export = awaited(api.Runs.plan_export)
    plan = awaited(api.Runs.plan)
    stream_parts = iterated(api.Runs.stream_parts)
    to_lazy = awaited(api.Runs.to_lazy)
    to_frame = awaited(api.Runs.to_frame)
    to_arrow_stream = awaited(api.Runs.to_arrow_stream)
    copy_to = awaited(api.Runs.copy_to)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Lets pandas, polars and duckdb read the table of `to_arrow` directly."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]


class Artifact(ArtifactFields, SyncWrapper[api.Artifact]):
    """A version of an artifact.

    >>> artifact = api.artifact("entity/project/model:latest")
    >>> folder = artifact.download()
    """

    record = Forwarded[ArtifactRecord]()
    url = Forwarded[str]()

    files = called(api.Artifact.files, wrap=Files)
    manifest = awaited_property(api.Artifact.manifest)
    download = awaited(api.Artifact.download)

    logged_by = awaited(api.Artifact.logged_by, wrap=if_any(Run))
    used_by = awaited(api.Artifact.used_by, wrap=each(Run))


class Artifacts(SyncListing[api.Artifacts, Artifact]):
    """Artifacts of a run, or versions of one artifact. Nothing is sent until the list is used.

    >>> for artifact in run.logged_artifacts():
    ...     print(artifact.name, artifact.type, artifact.size)
    """

    _kind = Artifact


class Sweep(SweepFields, SyncWrapper[api.Sweep]):
    """A sweep.

    >>> sweep = api.sweep("entity/project/sweep_id")
    >>> best = sweep.best_run()
    """

    record = Forwarded[SweepRecord]()
    url = Forwarded[str]()

    best_run = awaited(api.Sweep.best_run, wrap=if_any(Run))
    agents = awaited(api.Sweep.agents)
    enqueue_run = awaited(api.Sweep.enqueue_run)

    @property
    def runs(self) -> Runs:
        """The runs of the sweep, oldest first. Cached; while the sweep is running, use
        `api.runs(path, {"sweep": sweep.id}, fresh=True)`.
        """
        return Runs(self._inner.runs, self._portal)


class Sweeps(SyncListing[api.Sweeps, Sweep]):
    """The sweeps of a project. Nothing is sent until the list is used.

    >>> for sweep in project.sweeps():
    ...     print(sweep.name, sweep.state, sweep.run_count)
    """

    _kind = Sweep


class Project(ProjectFields, SyncWrapper[api.Project]):
    """A project.

    >>> for sweep in api.project("mnist", entity="me").sweeps():
    ...     print(sweep.name)
    """

    record = Forwarded[ProjectRecord]()
    url = Forwarded[str]()

    runs = called(api.Project.runs, wrap=Runs)
    sweeps = called(api.Project.sweeps, wrap=Sweeps)


class Projects(SyncListing[api.Projects, Project]):
    """The projects of an entity. Nothing is sent until the list is used.

    >>> for project in api.projects("me"):
    ...     print(project.name, project.created_at)
    """

    _kind = Project


def _run_and_batch(
    found: tuple[api.Run, pa.RecordBatch], portal: Portal
) -> tuple[Run, pa.RecordBatch]:
    run, batch = found
    return Run(run, portal), batch


class Api(SyncWrapper[api.AsyncApi]):
    """The client for code without `await`. It has the methods and arguments of `AsyncApi`.

    Works in scripts, threads and notebooks.

    >>> for run in Api().runs("entity/project"):
    ...     print(run.name, run.summary.get("loss"))
    """

    @without_traceback_locals
    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        entity: str | None = None,
        project: str | None = None,
        timeout: float | None = None,
        total_timeout: float | None = None,
        max_concurrency: int | None = None,
        max_rate: float | None = None,
        max_memory: int | None = None,
        retry: RetryPolicy | None = None,
        proxy: str | None = None,
        verify: ssl.SSLContext | bool | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        make = partial(
            api.AsyncApi,
            api_key,
            base_url=base_url,
            entity=entity,
            project=project,
            timeout=timeout,
            total_timeout=total_timeout,
            max_concurrency=max_concurrency,
            max_rate=max_rate,
            max_memory=max_memory,
            retry=retry,
            proxy=proxy,
            verify=verify,
            headers=headers,
            transport=transport,
        )
        self._start(make)

    @classmethod
    def local(cls, path: str | Path, *, project: str | None = None) -> Self:
        """Use the embedded W&B stored in this folder: no account, no network port.

        The folder is opened, or created, by the first call that needs a response. Requires the
        extra `aiowandb[local]`.

        >>> for run in Api.local("my-wandb").runs("local/sample"):
        ...     print(run.name)
        """
        wrapper = cls.__new__(cls)
        wrapper._start(partial(api.AsyncApi.local, path, project=project))
        return wrapper

    def _start(self, make: Callable[[], api.AsyncApi]) -> None:
        portal = Portal()
        super().__init__(portal.keep_open(make), portal)
        self._make = lambda: make()  # whose repr does not show the arguments

    def _on(self, portal: Portal) -> Any:
        # Another portal has an event loop of its own, where this client has to be created again.
        return self._inner if portal is self._portal else self._make

    def __enter__(self) -> Self:
        self._portal.enter()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and the event loop. `with` does so, too."""
        self._portal.close()

    settings = Forwarded[Settings]()
    traffic = Forwarded[Traffic]()
    waiting = Forwarded[Waiting | None]()
    flush = called(api.AsyncApi.flush)
    viewer = awaited_property(api.AsyncApi.viewer)
    default_entity = awaited_property(api.AsyncApi.default_entity)
    run = awaited(api.AsyncApi.run, wrap=Run)
    runs = called(api.AsyncApi.runs, wrap=Runs)
    if TYPE_CHECKING:  # `iterated` would say that it takes runs of the async client

        def scan_histories(
            self,
            runs: Iterable[Run],
            keys: Sequence[str] | None = None,
            min_step: int | None = None,
            max_step: int | None = None,
            *,
            any_key: bool = False,
            exclude: Sequence[str] = (),
            ordered: bool = False,
        ) -> HistoryBatches[Run]: ...
    else:
        scan_histories = iterated(
            api.AsyncApi.scan_histories, wrap=_run_and_batch, collect=HistoryBatches
        )
    artifact = awaited(api.AsyncApi.artifact, wrap=Artifact)
    artifacts = called(api.AsyncApi.artifacts, wrap=Artifacts)
    sweep = awaited(api.AsyncApi.sweep, wrap=Sweep)
    project = awaited(api.AsyncApi.project, wrap=Project)
    projects = called(api.AsyncApi.projects, wrap=Projects)
    create_run = awaited(api.AsyncApi.create_run, wrap=Run)
    start_run = called(api.AsyncApi.start_run, wrap=RunStart)
    create_project = awaited(api.AsyncApi.create_project)
    export_projects = awaited(api.AsyncApi.export_projects)
    import_runs = awaited(api.AsyncApi.import_runs)
    restore = awaited(api.AsyncApi.restore)

    def __repr__(self) -> str:
        return repr(self._inner).replace("AsyncApi", type(self).__name__)
