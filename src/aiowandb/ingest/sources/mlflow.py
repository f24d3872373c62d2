"""MLflow as a source: the runs of its experiments, read with MLflow's client."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import AiowandbError, NotFoundError, UsageError, extra_needed
from aiowandb.files.folder import pieces_of
from aiowandb.history.columns import columns_to_batch
from aiowandb.ingest.facts import moment
from aiowandb.ingest.source import RunFacts, Source, SourceFile, SourceRun
from aiowandb.suggestions import did_you_mean
from aiowandb.wire.rows import RUNTIME, STEP, TIME

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

_RUNS_PER_PAGE = 200
_ROWS_AT_ONCE = 2_000
_METRICS_AT_ONCE = 4
# For estimates: about how large a value is in a request, and how much one request sends.
_BYTES_A_VALUE = 30
_BYTES_A_REQUEST = 2 << 20
_STATES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}
_NOTE, _COMMIT, _PROGRAM = "mlflow.note.content", "mlflow.source.git.commit", "mlflow.source.name"
_TAGS, _MLFLOW_STEP = "mlflow.tags", "mlflow.step"
_LONGEST_TAG = 64  # W&B refuses longer ones
_PARENT, _OWN = "mlflow.parentRunId", "mlflow."
_SUFFIXES = frozenset({".db", ".sqlite", ".sqlite3"})


class MlflowSource(Source):
    """The runs of an MLflow store, given as a tracking URI or the path of a folder or database.

    Parameters and tags become the config, metrics become rows by step, and artifacts become files;
    short tags are tags too. All experiments are read by default; they become groups.

    A store that is given by its path may have come from somebody else, and name any folder as that
    of a run's artifacts: they are read if they are next to the store.
    """

    def __init__(self, store: str | Path, *, experiments: Sequence[str] = ()) -> None:
        with extra_needed("mlflow", "MlflowSource"):
            from mlflow.tracking import MlflowClient
        self._uri = tracking_uri(store)
        self._home = _home_of(store)
        self._wanted = tuple(experiments)
        self._client: Any = MlflowClient(tracking_uri=self._uri)
        self.name = "MLflow"

    async def runs(self) -> AsyncGenerator[SourceRun]:
        for experiment in await _read(self._experiments):
            token: str | None = None
            while True:
                page = await _read(self._page, experiment, token)
                for run in page:
                    yield MlflowRun(self._client, run, experiment.name, self._home)
                token = page.token
                if not token:
                    break

    async def look(self, runs: Sequence[SourceRun]) -> None:
        known = [run for run in runs if isinstance(run, MlflowRun)]
        await gather(known, lambda run: run_sync(run.look), at_once=_METRICS_AT_ONCE)

    def _experiments(self) -> list[Any]:
        found = list(self._client.search_experiments())
        names = {each.name: each for each in found}
        for name in self._wanted:
            if name not in names:
                hint = did_you_mean(name, names) or "."
                raise UsageError(f"MLflow has no experiment {name!r}{hint}")
        return [names[name] for name in self._wanted] or found

    def _page(self, experiment: Any, token: str | None) -> Any:
        return self._client.search_runs(
            [experiment.experiment_id],
            max_results=_RUNS_PER_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )


def tracking_uri(store: str | Path) -> str:
    """The store's URI for MLflow; files that are databases become a URI of SQLite."""
    if isinstance(store, str) and "://" in store:
        return store
    path = Path(store)
    if path.suffix in _SUFFIXES:
        return f"sqlite:///{path.resolve()}"
    return path.resolve().as_uri()


def _home_of(store: str | Path) -> Path | None:
    """The folder of a store with its artifacts; None for a store that is given by its URI."""
    if isinstance(store, str) and "://" in store:
        return None
    path = Path(store).resolve()
    return path.parent if path.suffix in _SUFFIXES else path


def _is_elsewhere(uri: str, home: Path) -> bool:
    """Whether artifacts are in a folder of this machine that is not below this one."""
    try:
        parts = urlsplit(uri)
        if parts.scheme != "file" and len(parts.scheme) > 1:  # one letter is a drive
            return False
        folder = Path(url2pathname(parts.path) if parts.scheme == "file" else uri).resolve()
    except ValueError:
        return True
    return not folder.is_relative_to(home)


async def _read(function: Callable[..., T], *args: Any) -> T:
    try:
        return await run_sync(function, *args)
    except AiowandbError:
        raise
    except Exception as error:  # of any store that MLflow has
        raise NotFoundError(f"MLflow cannot read its store: {error}") from error


def is_store(path: Path) -> bool:
    """Whether this is a folder or database of MLflow. Blocks."""
    if path.is_file():
        return path.suffix in _SUFFIXES
    return any(path.glob("*/meta.yaml"))


class MlflowRun(SourceRun):
    """A run of MLflow."""

    def __init__(self, client: Any, run: Any, experiment: str, home: Path | None = None) -> None:
        super().__init__(_facts(run.info, run.data, experiment))
        self.literal_keys = frozenset(run.data.metrics)
        self._client = client
        self._run_id = run.info.run_id
        self._artifact_uri: str = run.info.artifact_uri or ""
        self._home = home
        self._started = run.info.start_time or 0
        self._is_over = run.info.status in _STATES
        self._keys = sorted(run.data.metrics)
        self._sizes: dict[str, int] | None = None
        self._rows = self._values = 0

    def look(self) -> None:
        """Set the stamp, which shows whether the run may have changed. Blocks."""
        self._sizes = self._listed()
        if self._is_over:
            self.stamp = self.facts.stamp(sorted(self._sizes.items()))

    async def measure(self) -> None:
        # MLflow does not count rows: they are what the metrics have together.
        rows = await self._all_rows()
        self._rows, self._values = len(rows), sum(map(len, rows))

    def estimate(self, stored: int) -> dict[str, int]:
        sizes = self._sizes or {}
        rows = max(0, self._rows - stored)
        row_bytes = rows * _BYTES_A_VALUE * self._values // max(1, self._rows)
        requests = 6 + len(sizes) + row_bytes // _BYTES_A_REQUEST
        size = sum(sizes.values()) + row_bytes
        return {"rows": rows, "files": len(sizes), "bytes": size, "requests": requests}

    async def _all_rows(self) -> list[dict[str, Any]]:
        histories = await gather(self._keys, self._history, at_once=_METRICS_AT_ONCE)
        return _rows(dict(zip(self._keys, histories, strict=True)), self._started)

    async def rows(self) -> AsyncGenerator[pa.RecordBatch]:
        found = await self._all_rows()
        for first in range(0, len(found), _ROWS_AT_ONCE):
            some = found[first : first + _ROWS_AT_ONCE]
            names = dict.fromkeys(name for row in some for name in row)
            yield columns_to_batch({name: [row.get(name) for row in some] for name in names})

    async def _history(self, key: str) -> list[Any]:
        found: list[Any] = await _read(self._client.get_metric_history, self._run_id, key)
        return found

    async def files(self) -> AsyncGenerator[SourceFile]:
        if self._sizes is None:
            await run_sync(self.look)
        for path, size in (self._sizes or {}).items():
            yield SourceFile(path, size, None, partial(self._content, path))

    async def _content(self, path: str) -> AsyncIterator[bytes]:
        with TemporaryDirectory(prefix="aiowandb-") as folder:
            try:
                here = await run_sync(self._client.download_artifacts, self._run_id, path, folder)
            except Exception as error:  # of any store that MLflow uses for artifacts
                raise NotFoundError(
                    f"Artifact {path} of MLflow's run {self._run_id} cannot be read: {error}"
                ) from error
            async with aclosing(pieces_of(Path(here))) as pieces:
                async for piece in pieces:
                    yield piece

    def _listed(self) -> dict[str, int]:
        """The artifacts and their sizes."""
        if self._home is not None and _is_elsewhere(self._artifact_uri, self._home):
            self.dropped = (
                f"its artifacts, which are at {self._artifact_uri} and not next to the store:"
                " to read them nevertheless, give the URI of the store instead of its path",
            )
            return {}
        try:
            return dict(self._artifacts(None))
        except Exception as error:  # of any store that MLflow uses for artifacts
            self.dropped = (f"its artifacts, which MLflow cannot list: {error}",)
            return {}

    def _artifacts(self, folder: str | None) -> Iterator[tuple[str, int]]:
        for item in self._client.list_artifacts(self._run_id, folder):
            if item.is_dir:
                yield from self._artifacts(item.path)
            else:
                yield item.path, item.file_size or 0


def _rows(histories: Mapping[str, Sequence[Any]], started: int) -> list[dict[str, Any]]:
    """The values by step.

    MLflow allows several values of a metric at one step, and negative steps; W&B does not. Then
    rows are numbered, and have the original step as a value.
    """
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for key, history in histories.items():
        repeated = Counter[int]()
        for metric in sorted(history, key=lambda metric: metric.timestamp):
            place = (metric.step, repeated[metric.step])
            repeated[metric.step] += 1
            row = rows.setdefault(place, {STEP: metric.step, TIME: 0.0, RUNTIME: 0.0})
            row[TIME] = max(row[TIME], metric.timestamp / 1000)
            row[RUNTIME] = row[TIME] - started / 1000
            row[key] = metric.value
    found = [rows[place] for place in sorted(rows)]
    if any(step < 0 or number for step, number in rows):
        for number, row in enumerate(found):
            row[_MLFLOW_STEP], row[STEP] = row[STEP], number
    return found


def _facts(info: Any, data: Any, experiment: str) -> RunFacts:
    tags: Mapping[str, str] = data.tags
    own = {key: value for key, value in tags.items() if not key.startswith(_OWN)}
    config: dict[str, Any] = dict(data.params)
    config |= {_TAGS: own} if own else {}
    config |= {_PARENT: tags[_PARENT]} if _PARENT in tags else {}
    return RunFacts.of(
        info.run_id,
        name=info.run_name or info.run_id,
        config=config,
        summary=dict(data.metrics),
        state=_STATES.get(info.status, "running"),
        tags=tuple(tag for tag in map(": ".join, own.items()) if len(tag) <= _LONGEST_TAG),
        notes=tags.get(_NOTE),
        group=experiment,
        commit=tags.get(_COMMIT),
        program=tags.get(_PROGRAM),
        created_at=_time(info.start_time),
        heartbeat_at=_time(info.end_time),
        username=tags.get("mlflow.user") or info.user_id or None,
    )


def _time(milliseconds: int | None) -> datetime | None:
    return moment(milliseconds / 1000) if milliseconds else None
