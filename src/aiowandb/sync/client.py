"""`Api`: the door to W&B for code without `await`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx

from aiowandb import api
from aiowandb.config.credentials import discreet
from aiowandb.config.settings import Settings
from aiowandb.net import Traffic, Waiting
from aiowandb.sync.artifacts import Artifact, Artifacts
from aiowandb.sync.portal import Portal
from aiowandb.sync.projects import Project, Projects
from aiowandb.sync.runs import Run, Runs
from aiowandb.sync.sweeps import Sweep
from aiowandb.sync.wrapping import (
    Asked,
    Shared,
    Twin,
    as_it_is,
    blocking,
    giving,
    iterating,
    making,
)

if TYPE_CHECKING:
    import pyarrow as pa


def _run_and_batch(
    found: tuple[api.Run, pa.RecordBatch], portal: Portal
) -> tuple[Run, pa.RecordBatch]:
    run, batch = found
    return Run(run, portal), batch


class Api(Twin[api.AsyncApi]):
    """Everything that W&B knows, for code without `await`. The names are those of `AsyncApi`.

    Works in scripts, in threads and in notebooks.

    >>> for run in Api().runs("entity/project"):
    ...     print(run.name, run.summary.get("loss"))
    """

    @discreet
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
        proxy: str | None = None,
        verify: ssl.SSLContext | bool | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        make = partial(
            api.AsyncApi,
            api_key,
            base_url=base_url,
            entity=entity,
            project=project,
            timeout=timeout,
            max_concurrency=max_concurrency,
            max_rate=max_rate,
            proxy=proxy,
            verify=verify,
            transport=transport,
        )
        self._start(make)

    @classmethod
    def local(cls, path: str | Path, *, project: str | None = None) -> Self:
        """Use the embedded W&B whose data lies in this folder: no account, no port.

        The folder is made on first use. Needs the extra `aiowandb[local]`.

        >>> for run in Api.local("my-wandb").runs("local/sample"):
        ...     print(run.name)
        """
        twin = cls.__new__(cls)
        twin._start(partial(api.AsyncApi.local, path, project=project))
        return twin

    def _start(self, make: Callable[[], api.AsyncApi]) -> None:
        portal = Portal()
        super().__init__(portal.keep_open(make), portal)

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
        """Close the connections and the event loop. `with` does it for you."""
        self._portal.close()

    settings = Shared[Settings]()
    traffic = Shared[Traffic]()
    waiting = Shared[Waiting | None]()
    flush = making(api.AsyncApi.flush, as_it_is)
    viewer = Asked(api.AsyncApi.viewer)
    default_entity = Asked(api.AsyncApi.default_entity)
    run = giving(api.AsyncApi.run, Run)
    runs = making(api.AsyncApi.runs, Runs)
    if TYPE_CHECKING:  # that it takes runs of the facade cannot be told through `iterating`

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
        ) -> Iterator[tuple[Run, pa.RecordBatch]]: ...
    else:
        scan_histories = iterating(api.AsyncApi.scan_histories, _run_and_batch)
    artifact = giving(api.AsyncApi.artifact, Artifact)
    artifacts = making(api.AsyncApi.artifacts, Artifacts)
    sweep = giving(api.AsyncApi.sweep, Sweep)
    project = giving(api.AsyncApi.project, Project)
    projects = making(api.AsyncApi.projects, Projects)
    create_run = giving(api.AsyncApi.create_run, Run)
    create_project = blocking(api.AsyncApi.create_project)

    def __repr__(self) -> str:
        return repr(self._async).replace("AsyncApi", type(self).__name__)
