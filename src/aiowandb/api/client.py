"""`AsyncApi`: the door to W&B."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from aiowandb.api.artifacts import Artifact, Artifacts, find_artifact, versions_of
from aiowandb.api.creating import make_project, make_run
from aiowandb.api.defaults import ARTIFACT, ENTITY, PROJECT, Defaults
from aiowandb.api.histories import SCAN_CHECKS, make_selection, scan_ahead
from aiowandb.api.projects import Project, Projects, find_project
from aiowandb.api.run import Run, find_run
from aiowandb.api.runs import Runs
from aiowandb.api.sweeps import Sweep, find_sweep
from aiowandb.arguments import (
    ANY_NAMES,
    FILTERS,
    FLAG,
    NAMES,
    PATH,
    POSITIVE,
    RUN_PATH,
    VALUES,
    FixedAttributes,
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
from aiowandb.errors import UsageError
from aiowandb.net import RetryPolicy, Session, Traffic, Waiting
from aiowandb.paths import check_project_name, check_run_id
from aiowandb.wire.record import ALL_FIELDS
from aiowandb.wire.server import Viewer

if TYPE_CHECKING:
    import pyarrow as pa


class AsyncApi(FixedAttributes):
    """Everything that W&B knows, asked asynchronously.

    The key comes from the argument, `WANDB_API_KEY` or netrc; the other settings
    from their arguments, `WANDB_BASE_URL`, `WANDB_ENTITY`, `WANDB_PROJECT` or W&B's
    settings files. `proxy` is the URL of one, else those of the environment are used;
    an `ssl.SSLContext` in `verify` may hold CA and client certificates of your own.
    W&B may be silent for `timeout` seconds, whatever is tried anew meanwhile;
    `max_concurrency` is how many requests, and how many transfers of files beside
    them, may be under way at once, `max_rate` how many requests go out a second, and `retry`
    (a `RetryPolicy`) which failed requests are sent again.
    Nothing is sent before the first call that needs an answer. What was read is kept until
    it is closed, the pages of lists too: `fresh=True` of a list or `flush()` ask anew.

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
        max_concurrency=optional(integer(1)),
        max_rate=optional(POSITIVE),
        retry=optional(having("a RetryPolicy", "wait", "is_transient")),
        proxy=optional(text("a URL", empty=True, is_secret=True)),
        verify=optional(either(FLAG, having("an ssl.SSLContext", "verify_mode"))),
        transport=optional(having("a transport of httpx", "handle_async_request")),
    )
    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        entity: str | None = None,
        project: str | None = None,
        timeout: float | None = None,
        max_concurrency: int | None = None,
        max_rate: float | None = None,
        retry: RetryPolicy | None = None,
        proxy: str | None = None,
        verify: ssl.SSLContext | bool | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if transport is not None and (proxy, verify) != (None, None):
            raise UsageError("transport makes the connections: leave proxy and verify out.")
        settings = Settings.load(
            api_key=api_key,
            base_url=base_url,
            entity=entity,
            project=project,
            timeout=timeout,
            max_concurrency=max_concurrency,
            max_rate=max_rate,
            proxy=proxy,
            verify=verify,
        )
        self._session = Session(settings, transport=transport, retry=retry)
        self._defaults = Defaults(self._session)
        self._cleanup = ExitStack()

    @classmethod
    @checks(path=PATH, project=PROJECT)
    def local(cls, path: str | Path, *, project: str | None = None) -> Self:
        """Use the embedded W&B whose data lies in this folder: no account, no port.

        The folder is made on first use. Needs the extra `aiowandb[local]`.

        >>> async with AsyncApi.local("my-wandb") as api:
        ...     async for run in api.runs("local/sample"):
        ...         print(run.name)
        """
        from aiowandb.embedded import IN_PROCESS_URL, EmbeddedTransport, open_store

        with ExitStack() as stack:
            store = stack.enter_context(open_store(path))
            api = cls(
                store.local_key,
                base_url=IN_PROCESS_URL,
                entity="local",
                project=project,
                transport=EmbeddedTransport(store),
            )
            api._cleanup = stack.pop_all()
        return api

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop what is under way and close the connections. `async with` does it for you.

        Any task of the event loop may do it, also another one than that which entered.
        """
        try:
            await self._session.aclose()
        finally:
            if self._session.is_closed:
                self._cleanup.close()

    @property
    def settings(self) -> Settings:
        """What was found in the arguments, the environment and the files."""
        return self._session.settings

    @property
    def traffic(self) -> Traffic:
        """What has been sent and received so far."""
        return self._session.traffic

    @property
    def waiting(self) -> Waiting | None:
        """Who keeps us waiting right now, since when and until when, or None if nobody does.

        Each retry and each pause is also a line of the logger `aiowandb.net`, at level INFO.
        """
        return self._session.waits.current

    async def viewer(self) -> Viewer:
        """The user that the API key belongs to."""
        return await self._defaults.viewer()

    async def default_entity(self) -> str:
        """The entity that shortened paths belong to."""
        return await self._defaults.entity()

    def flush(self) -> None:
        """Forget what was read: the next look at the same thing asks W&B again."""
        self._session.require_open()
        self._session.flush()

    @checks(path=RUN_PATH, fresh=FLAG)
    async def run(self, path: str | Sequence[str], *, fresh: bool = False) -> Run:
        """One run, by `entity/project/run_id`, a shortened path, or its URL in the browser.

        Asked for again, it is as it was the first time, unless with `fresh`: W&B is asked
        anew then. So do `artifact()`, `sweep()` and `project()`.
        """
        return await find_run(self._session, await self._defaults.run(path), fresh=fresh)

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
        """Make a run, in a project that is made too if need be. It is `running` at first.

        If there is a run with this id, nothing of it is changed: `ConflictError` says so, or
        with `exist_ok` it is what you get, as it is.

        >>> run = await api.create_run(project="mnist", config={"lr": 0.1})
        >>> async with run.append(state="finished") as log:
        ...     await log({"loss": 0.5})
        """
        if run_id is not None:
            check_run_id(run_id)
        elif exist_ok:
            raise UsageError("exist_ok goes with run_id: without one the run is always new.")
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
        """Make a project. That it exists is a `ConflictError`, unless `exist_ok`."""
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
    ) -> Runs:
        """The runs of a project, newest first; nothing is sent until they are used.

        `filters` are W&B's, in MongoDB's style, or built with `aiowandb.filters`. Config,
        summary, system metrics and history keys come with each page; `include` names
        those that are wanted.

        Pages that were read are kept for the life of the session: the same question gives the
        same runs again. With `fresh`, W&B is asked each time. `flush()` forgets all that is kept.

        >>> runs = api.runs("entity/project", filters={"state": "finished"})
        >>> async for run in runs:
        ...     print(run.name, run.summary.get("loss"))
        """
        return Runs(
            self._session, self._defaults, path, filters, order, per_page, include, fresh=fresh
        )

    @checks(runs=many("runs", Run), **SCAN_CHECKS, ordered=FLAG)
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

        The runs are read side by side and their batches come as they arrive, those of
        one run in step order; with `ordered`, run by run. The rest is as in
        `Run.scan_history_batches`. If some runs cannot be read, the others are, and
        `RunsFailedError` says so at the end. Needs the API to be entered with `async with`.

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
        """One version of an artifact, by `entity/project/name:alias`, shortened, or its URL.

        Without an alias it is the latest. With `type`, it must be of that type. With `fresh`,
        W&B is asked again which version an alias stands for.
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
        """The versions of an artifact, those with all of the tags.

        They are kept once they were read, as `runs()` says; with `fresh`, W&B is asked each time.

        >>> async for artifact in api.artifacts("model", "entity/project/name"):
        ...     print(artifact.version, artifact.aliases)
        """
        return versions_of(
            self._session, self._defaults, name, type_name, order, tags, per_page, fresh=fresh
        )

    @checks(path=RUN_PATH, fresh=FLAG)
    async def sweep(self, path: str | Sequence[str], *, fresh: bool = False) -> Sweep:
        """One sweep, by `entity/project/sweep_id`, a shortened path, or its URL in the browser."""
        return await find_sweep(self._session, await self._defaults.run(path), fresh=fresh)

    @checks(name=text("the name of a project"), entity=ENTITY, fresh=FLAG)
    async def project(
        self, name: str, entity: str | None = None, *, fresh: bool = False
    ) -> Project:
        """One project, by its name or `entity/name`; with `fresh`, W&B is asked anew."""
        path = await self._defaults.named_project(name, entity)
        return await find_project(self._session, *path, fresh=fresh)

    @checks(entity=ENTITY, per_page=integer(1), fresh=FLAG)
    def projects(
        self, entity: str | None = None, per_page: int = 200, *, fresh: bool = False
    ) -> Projects:
        """The projects of an entity, the default one if none is named.

        They are kept once they were read, as `runs()` says; with `fresh`, W&B is asked each time.
        """

        async def owner() -> str:
            return entity or await self._defaults.entity()

        return Projects(self._session, owner, per_page, fresh=fresh)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._session.settings.base_url}>"
