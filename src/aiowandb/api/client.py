"""`AsyncApi`: the client, from which everything else is reached."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Self

import httpx

from aiowandb.api.artifacts import Artifact, Artifacts, find_artifact, versions_of
from aiowandb.api.creating import make_project, make_run
from aiowandb.api.defaults import ARTIFACT, ENTITY, HEADERS, PROJECT, TRANSPORT, Defaults
from aiowandb.api.histories import SCAN_CHECKS, make_selection, scan_ahead
from aiowandb.api.importing import RunImports
from aiowandb.api.live import RunStarts
from aiowandb.api.project_exports import ProjectExports
from aiowandb.api.projects import Project, Projects, find_project
from aiowandb.api.run import Run
from aiowandb.api.runs import Runs
from aiowandb.api.sweeps import Sweep, find_sweep
from aiowandb.api.updating import find_run_record
from aiowandb.arguments import (
    ANY_NAMES,
    FILTERS,
    FLAG,
    NAMES,
    PATH,
    POSITIVE,
    RUN_PATH,
    VALUES,
    checks,
    choices,
    either,
    having,
    integer,
    many,
    optional,
    text,
)
from aiowandb.choices import RunField
from aiowandb.concurrency.tasks import Stream
from aiowandb.config.credentials import without_traceback_locals
from aiowandb.config.settings import Settings
from aiowandb.embedded import IN_PROCESS_URL, EmbeddedTransport
from aiowandb.errors import UsageError
from aiowandb.net import RetryPolicy, Session, Traffic, Waiting
from aiowandb.paths import check_project_name, check_run_id
from aiowandb.wire.record import ALL_FIELDS
from aiowandb.wire.server import Viewer

if TYPE_CHECKING:
    import pyarrow as pa


class AsyncApi(ProjectExports, RunImports, RunStarts):
    """The async client for W&B.

    The API key is taken from the argument, `WANDB_API_KEY` or netrc, other settings from their
    arguments, `WANDB_BASE_URL`, `WANDB_ENTITY`, `WANDB_PROJECT` or W&B's settings files. `timeout`
    is how many seconds W&B may stay silent, including all retries; `total_timeout` how many one
    call may take. `max_concurrency` limits how many requests, and how many file transfers besides,
    run at once; `max_rate` the requests per second; `max_memory` the bytes of rows in memory.
    `proxy` is the URL of a proxy, by default that of the environment. `verify` takes an
    `ssl.SSLContext`. `retry` (a `RetryPolicy`) decides which failed requests are sent again.
    `headers` are added to requests for W&B's host; an `Authorization` replaces the API key.

    Nothing is sent before the first call that needs a response. Responses, including the pages
    of lists, are cached until the client is closed; `fresh=True` or `flush()` bypasses that.

    >>> async with AsyncApi() as api:
    ...     run = await api.run("entity/project/run_id")
    ...     async for row in run.scan_history():
    ...         print(row["_step"])
    """

    @without_traceback_locals
    @checks(
        api_key=optional(text("a string", empty=True, is_secret=True)),
        base_url=optional(text("a URL", empty=True)),
        entity=ENTITY,
        project=PROJECT,
        timeout=optional(POSITIVE),
        total_timeout=optional(POSITIVE),
        max_concurrency=optional(integer(1)),
        max_rate=optional(POSITIVE),
        max_memory=optional(integer(1)),
        retry=optional(having("a RetryPolicy", "wait", "is_transient")),
        proxy=optional(text("a URL", empty=True, is_secret=True)),
        verify=optional(either(FLAG, having("an ssl.SSLContext", "verify_mode"))),
        headers=optional(HEADERS),
        transport=TRANSPORT,
    )
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
        if transport is not None and (proxy, verify) != (None, None):
            raise UsageError("transport makes the connections: proxy and verify have no effect.")
        settings = Settings.load(
            api_key=api_key,
            base_url=base_url,
            entity=entity,
            project=project,
            timeout=timeout,
            total_timeout=total_timeout,
            max_concurrency=max_concurrency,
            max_rate=max_rate,
            max_memory=max_memory,
            proxy=proxy,
            verify=verify,
            headers=headers,
        )
        self._session = Session(settings, transport=transport, retry=retry)
        self._defaults = Defaults(self._session)

    @classmethod
    @checks(path=PATH, project=PROJECT)
    def local(cls, path: str | Path, *, project: str | None = None) -> Self:
        """Use the embedded W&B stored in this folder: no account, no network port.

        The folder is opened, or created, by the first call that needs a response. Requires the
        extra `aiowandb[local]`.

        >>> async with AsyncApi.local("my-wandb") as api:
        ...     async for run in api.runs("local/sample"):
        ...         print(run.name)
        """
        # A key of this client alone, which the server accepts besides the key in the folder.
        key = token_hex(20)
        return cls(
            key,
            base_url=IN_PROCESS_URL,
            entity="local",
            project=project,
            transport=EmbeddedTransport(path, key),
        )

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop everything in progress and close the connections. `async with` does so, too.

        May be called from any task of the event loop, not only from the one that entered.
        """
        await self._session.aclose()

    @property
    def settings(self) -> Settings:
        """The settings, from arguments, environment and files."""
        return self._session.settings

    @property
    def traffic(self) -> Traffic:
        """Counts of what has been sent and received so far."""
        return self._session.traffic

    @property
    def waiting(self) -> Waiting | None:
        """Which host is being waited for, since when and until when; None if there is none.

        Each retry and each pause is also logged by `aiowandb.net` at level INFO.
        """
        return self._session.waits.current

    @checks()
    async def viewer(self) -> Viewer:
        """The user of the API key."""
        return await self._defaults.viewer()

    @checks()
    async def default_entity(self) -> str:
        """The entity that is used for paths without one."""
        return await self._defaults.entity()

    def flush(self) -> None:
        """Clear the cache: everything is requested again when it is next used."""
        self._session.require_open()
        self._session.flush()

    @checks(path=RUN_PATH, fresh=FLAG)
    async def run(self, path: str | Sequence[str], *, fresh: bool = False) -> Run:
        """A run, by `entity/project/run_id`, a shortened path, or the URL of its web page.

        The response is cached; `fresh` requests it again. The same goes for `artifact()`,
        `sweep()` and `project()`.
        """
        ref = await self._defaults.run(path)
        return Run(await find_run_record(self._session, ref, fresh=fresh), self._session)

    @checks(
        run_id=optional(text("the id of a run")),
        project=PROJECT,
        entity=ENTITY,
        name=optional(text("a string", empty=True)),
        config=optional(VALUES),
        tags=optional(NAMES),
        exist_ok=FLAG,
    )
    async def create_run(
        self,
        run_id: str | None = None,
        project: str | None = None,
        entity: str | None = None,
        *,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        exist_ok: bool = False,
    ) -> Run:
        """Create a run, in the state `running`, and its project if that does not exist.

        A run with this id that exists is never changed: it is a `ConflictError`, or with
        `exist_ok` it is returned as it is.

        >>> run = await api.create_run(project="mnist", config={"lr": 0.1})
        >>> async with run.append(state="finished") as log:
        ...     await log({"loss": 0.5})
        """
        if run_id is not None:
            check_run_id(run_id)
        elif exist_ok:
            raise UsageError("exist_ok requires run_id: without one, the run is always new.")
        owner, where = await self._defaults.new_project(project, entity)
        record = await make_run(
            self._session,
            owner,
            where,
            run_id,
            name=name,
            config=config,
            tags=list(tags) if tags is not None else None,
            exist_ok=exist_ok,
        )
        record.entity, record.project = owner, where
        return Run(record, self._session)

    @checks(name=text("the name of a project"), entity=ENTITY, exist_ok=FLAG)
    async def create_project(
        self, name: str, entity: str | None = None, *, exist_ok: bool = False
    ) -> None:
        """Create a project. If it exists, that is a `ConflictError`, unless `exist_ok`."""
        check_project_name(name)
        owner = entity or await self._defaults.entity()
        await make_project(self._session, owner, name, exist_ok=exist_ok)

    @checks(
        path=optional(text("a path like 'entity/project', or a URL")),
        filters=optional(FILTERS),
        order=optional(text("an order like '-created_at'", empty=True)),
        per_page=integer(1),
        include=choices(RunField),
        fresh=FLAG,
        start=optional(text("a cursor")),
    )
    def runs(
        self,
        path: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str | None = "-created_at",
        per_page: int = 50,
        include: Collection[RunField] = ALL_FIELDS,
        *,
        fresh: bool = False,
        start: str | None = None,
    ) -> Runs:
        """The runs of a project, newest first. Nothing is sent until the list is used.

        `filters` are W&B's, in the style of MongoDB, or built with `aiowandb.filters`. `include`
        selects which of config, summary, system metrics and history keys come with the runs.

        Pages are cached until the client is closed, so the same query returns the same runs.
        With `fresh`, they are requested each time; `flush()` clears the cache. `start`, the
        `cursor` of an earlier list in the same order, continues after its last page.

        >>> runs = api.runs("entity/project", filters={"state": "finished"})
        >>> async for run in runs:
        ...     print(run.name, run.summary.get("loss"))
        """
        query = (path, filters, order, per_page, include)
        return Runs(self._session, self._defaults, *query, fresh=fresh, start=start)

    @checks(runs=many("a list or another iterable of runs", Run), **SCAN_CHECKS, ordered=FLAG)
    def scan_histories(
        self,
        runs: AsyncIterable[Run] | Iterable[Run],
        keys: Sequence[str] | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        any_key: bool = False,
        exclude: Sequence[str] = (),
        ordered: bool = False,
    ) -> Stream[tuple[Run, pa.RecordBatch]]:
        """The rows of many runs as Arrow record batches, each with its run, in few requests.

        Runs are read concurrently. Batches come as they arrive, those of one run in step order;
        with `ordered`, run by run. Other arguments are as in `Run.scan_history_batches`. If
        some runs cannot be read, the others are, and a `RunsFailedError` is raised at the end.
        The client must be entered with `async with`. What `Api.scan_histories` returns can also
        be read by duckdb, polars and pandas, as one table with a column `run_id`.

        >>> runs = api.runs("entity/project", filters={"tags": "best"})
        >>> async for run, batch in api.scan_histories(runs, keys=["val.*"]):
        ...     print(run.name, batch.num_rows)
        """
        wanted = make_selection(
            keys, min_step=min_step, max_step=max_step, any_key=any_key, exclude=exclude
        )
        return scan_ahead(self._session, runs, wanted, ordered)

    @checks(name=ARTIFACT, type=optional(text("a type of artifacts")), fresh=FLAG)
    async def artifact(
        self, name: str, type: str | None = None, *, fresh: bool = False
    ) -> Artifact:
        """A version of an artifact, by `entity/project/name:alias`, shortened, or its URL.

        The default alias is `latest`. With `type`, it must be of that type. With `fresh`, the
        version that the alias stands for is requested again.
        """
        path = await self._defaults.artifact(name)
        return await find_artifact(self._session, *path, kind=type, fresh=fresh)

    @checks(
        type_name=text("a type of artifacts"),
        name=ARTIFACT,
        order=optional(text("an order like '-createdAt'", empty=True)),
        per_page=integer(1),
        tags=ANY_NAMES,
        fresh=FLAG,
    )
    def artifacts(
        self,
        type_name: str,
        name: str,
        order: str | None = None,
        per_page: int = 50,
        tags: Sequence[str] = (),
        *,
        fresh: bool = False,
    ) -> Artifacts:
        """The versions of an artifact that have all of these tags. Cached unless `fresh`.

        >>> async for artifact in api.artifacts("model", "entity/project/name"):
        ...     print(artifact.version, artifact.aliases)
        """
        return versions_of(
            self._session, self._defaults, name, type_name, order, tags, per_page, fresh=fresh
        )

    @checks(path=RUN_PATH, fresh=FLAG)
    async def sweep(self, path: str | Sequence[str], *, fresh: bool = False) -> Sweep:
        """A sweep, by `entity/project/sweep_id`, a shortened path, or the URL of its web page."""
        return await find_sweep(self._session, await self._defaults.run(path), fresh=fresh)

    @checks(name=text("the name of a project"), entity=ENTITY, fresh=FLAG)
    async def project(
        self, name: str, entity: str | None = None, *, fresh: bool = False
    ) -> Project:
        """A project, by its name or `entity/name`. Cached unless `fresh`."""
        path = await self._defaults.named_project(name, entity)
        return await find_project(self._session, *path, fresh=fresh)

    @checks(entity=ENTITY, per_page=integer(1), fresh=FLAG)
    def projects(
        self, entity: str | None = None, per_page: int = 200, *, fresh: bool = False
    ) -> Projects:
        """The projects of an entity, by default your own. Cached unless `fresh`."""

        async def owner() -> str:
            return entity or await self._defaults.entity()

        return Projects(self._session, owner, per_page, fresh=fresh)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._session.settings.base_url}>"
