"""`Api`: the async classes for code without `await`. Nothing here has logic of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import httpx

from aiowandb import api
from aiowandb.net import Traffic
from aiowandb.portal import Portal
from aiowandb.wire.runs import RunRecord
from aiowandb.wire.viewer import Viewer

if TYPE_CHECKING:
    import pyarrow as pa

    from aiowandb.export import ExportResult, Format

C = TypeVar("C", bound=type)


def _documented_by(original: type) -> Callable[[C], C]:
    """Give the members of a twin the docstrings of the original."""

    def document(twin: C) -> C:
        for name, member in vars(twin).items():
            documented = getattr(member, "__func__", member)
            if callable(documented) and not documented.__doc__:
                documented.__doc__ = getattr(getattr(original, name, None), "__doc__", None)
        return twin

    return document


@_documented_by(api.Run)
class Run(RunRecord, kw_only=True, dict=True, eq=False):
    """A run of W&B, for code without `await`; see `aiowandb.AsyncApi.run`."""

    @classmethod
    def of(cls, run: api.Run, portal: Portal) -> Self:
        fields: dict[str, Any] = {name: getattr(run, name) for name in run.__struct_fields__}
        twin = cls(**fields)
        vars(twin).update(_run=run, _portal=portal)
        return twin

    @property
    def _async(self) -> api.Run:
        run: api.Run = vars(self)["_run"]
        return run

    @property
    def _loop(self) -> Portal:
        portal: Portal = vars(self)["_portal"]
        return portal

    def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        stream: Literal["default", "system"] = "default",
    ) -> list[dict[str, Any]]:
        return self._loop.call(self._async.history, samples, keys, x_axis, stream)

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        for rows in self._loop.iterate(self._async._row_pages(keys, page_size, min_step, max_step)):
            yield from rows

    def scan_history_batches(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        return self._loop.iterate(
            self._async.scan_history_batches(keys, page_size, min_step, max_step)
        )


@_documented_by(api.Runs)
class Runs:
    """The runs that a query finds, for code without `await`; see `aiowandb.AsyncApi.runs`."""

    def __init__(self, runs: api.Runs, portal: Portal) -> None:
        self._async = runs
        self._loop = portal

    def __iter__(self) -> Iterator[Run]:
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[list[Run]]:
        for page in self._loop.iterate(self._async.pages()):
            yield [Run.of(run, self._loop) for run in page]

    def count(self) -> int:
        return self._loop.call(self._async.count)

    def export(self, folder: str | Path, *, format: Format = "parquet") -> ExportResult:
        return self._loop.call(self._async.export, folder, format=format)


@_documented_by(api.AsyncApi)
class Api:
    """Everything that W&B knows, for code without `await`. The names are those of `AsyncApi`.

    Works in scripts, in threads and in notebooks.

    >>> for run in Api().runs("entity/project"):
    ...     print(run.name, run.summary.get("loss"))
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        entity: str | None = None,
        project: str | None = None,
        timeout: float | None = None,
        max_concurrency: int | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._async = api.AsyncApi(
            api_key,
            base_url=base_url,
            entity=entity,
            project=project,
            timeout=timeout,
            max_concurrency=max_concurrency,
            transport=transport,
        )
        self._loop = Portal()

    @classmethod
    def local(cls, path: str | Path, *, project: str | None = None) -> Self:
        twin = cls.__new__(cls)
        twin._async = api.AsyncApi.local(path, project=project)
        twin._loop = Portal()
        return twin

    def __enter__(self) -> Self:
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
        try:
            self._loop.call(self._async.aclose)
        finally:
            self._loop.close()

    @property
    def traffic(self) -> Traffic:
        return self._async.traffic

    def viewer(self) -> Viewer:
        return self._loop.call(self._async.viewer)

    def run(self, path: str) -> Run:
        return Run.of(self._loop.call(self._async.run, path), self._loop)

    def runs(
        self,
        path: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str = "-created_at",
        per_page: int = 50,
    ) -> Runs:
        return Runs(self._async.runs(path, filters, order, per_page), self._loop)

    def __repr__(self) -> str:
        return repr(self._async).replace("AsyncApi", type(self).__name__)
