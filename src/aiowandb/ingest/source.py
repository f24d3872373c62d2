"""What runs are copied from: a small protocol that anything with runs can speak.

class Notes(Source):
    name = "notes"

    async def runs(self):
        for number, losses in enumerate(MY_LOSSES):
            yield MyRun(RunFacts.of(f"run{number}", config={"lr": 0.1}), losses)

class MyRun(SourceRun):
    def __init__(self, facts, losses):
        super().__init__(facts)
        self.losses = losses

    async def rows(self):
        yield pa.record_batch({"loss": self.losses})
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Self

import msgspec

from aiowandb.files.artifact_uploads import NewEntry
from aiowandb.wire import lenient
from aiowandb.wire.console import ConsoleLogLine
from aiowandb.wire.copying import SweepFacts

if TYPE_CHECKING:
    import pyarrow as pa

# What says nothing of whether the run has changed.
_NO_CONTENT = frozenset({"heartbeat_at"})


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is, beside its rows and files. `config` and `summary` are JSON text.

    `config` is as W&B stores it: `{"lr": {"value": 0.1}}`. `RunFacts.of` makes both of mappings.
    """

    id: str
    name: str | None = None
    config: str = "{}"
    summary: str | None = None
    state: str | None = "finished"
    tags: tuple[str, ...] = ()
    notes: str | None = None
    description: str | None = None
    group: str | None = None
    job_type: str | None = None
    commit: str | None = None
    host: str | None = None
    program: str | None = None
    sweep: str | None = None
    created_at: datetime | None = None
    heartbeat_at: datetime | None = None
    username: str | None = None

    @classmethod
    def of(
        cls,
        id: str,
        *,
        config: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
        **facts: Any,
    ) -> Self:
        """The facts of a run whose config and summary are mappings.

        Without a `summary`, the last row with each key is the run's summary.
        """
        wrapped = {key: {"value": value} for key, value in (config or {}).items()}
        return cls(
            id=id,
            config=lenient.dumps(wrapped),
            summary=None if summary is None else lenient.dumps(dict(summary)),
            **facts,
        )

    def stamp(self, *more: object) -> str:
        """A digest of all this and of `more`: as long as it is the same, nothing was changed."""
        known = {
            name: value
            for name in self.__struct_fields__
            if name not in _NO_CONTENT and (value := getattr(self, name)) is not None
        }
        content = msgspec.json.encode([known, more])
        return blake2b(content, digest_size=12).hexdigest()


class SourceFile(msgspec.Struct, frozen=True):
    """A file of a run. Each call of `content` gives its bytes from the start.

    `md5` is in hex, or None where it is not known.
    """

    name: str
    size: int
    md5: str | None
    content: Callable[[], AsyncIterable[bytes]]


class SourceArtifact(msgspec.Struct, frozen=True, kw_only=True):
    """A version of an artifact that a run has made. `metadata` is JSON text.

    `key` tells it from all others of the source; `entries` gives its files and references.
    """

    key: str
    name: str
    type: str
    version: int
    digest: str
    entries: Callable[[], Awaitable[Sequence[NewEntry]]]
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: str | None = None
    created_at: datetime | None = None


class SourceRun:
    """A run to be copied. Override what it has; a run may have nothing but its facts.

    A `stamp` that is not None changes whenever anything of the run does: a run whose stamp is the
    same as at the last copy is not looked at again.
    """

    def __init__(self, facts: RunFacts, stamp: str | None = None) -> None:
        self.facts = facts
        self.stamp = stamp
        # Dotted names of columns that are keys with dots, and no nests of keys.
        self.literal_keys: frozenset[str] = frozenset()
        # Whether the run has made or used artifacts, or it is not known.
        self.has_artifacts = False

    def estimate(self, stored: int) -> dict[str, int]:
        """About how many rows, bytes and requests a copy sends if `stored` rows are there."""
        del stored
        return {"requests": 4}

    async def rows(self) -> AsyncGenerator[pa.RecordBatch]:
        """The rows, in the order of their steps; without `_step` they are numbered."""
        batches: tuple[pa.RecordBatch, ...] = ()
        for batch in batches:
            yield batch

    async def rows_after(self, step: int, count: int) -> AsyncGenerator[pa.RecordBatch]:
        """The rows behind the first `count` ones, the last of which has this step."""
        del step
        async with aclosing(self.rows()) as batches:
            async for batch in batches:
                if count < batch.num_rows:
                    yield batch.slice(count)
                count = max(0, count - batch.num_rows)

    async def system_metrics(self) -> AsyncGenerator[Sequence[str]]:
        """The rows of the system metrics, as lines of JSON."""
        pages: tuple[Sequence[str], ...] = ()
        for page in pages:
            yield page

    async def console(self) -> AsyncGenerator[Sequence[ConsoleLogLine]]:
        """The lines that the run wrote."""
        pages: tuple[Sequence[ConsoleLogLine], ...] = ()
        for page in pages:
            yield page

    async def files(self) -> AsyncGenerator[SourceFile]:
        """The files of the run."""
        files: tuple[SourceFile, ...] = ()
        for file in files:
            yield file

    async def artifacts(self) -> AsyncGenerator[SourceArtifact]:
        """The versions of artifacts that the run has made."""
        artifacts: tuple[SourceArtifact, ...] = ()
        for artifact in artifacts:
            yield artifact

    async def used_artifacts(self) -> AsyncGenerator[SourceArtifact]:
        """The versions that the run has used."""
        artifacts: tuple[SourceArtifact, ...] = ()
        for artifact in artifacts:
            yield artifact


class Source(ABC):
    """Where runs come from. `name` tells this source from others, and should not change."""

    name: str

    @abstractmethod
    def runs(self) -> AsyncGenerator[SourceRun]:
        """All runs."""

    async def count(self) -> int | None:
        """How many runs there are, if that is easily known."""
        return None

    async def look(self, runs: Sequence[SourceRun]) -> None:  # noqa: B027 - there may be no need
        """Called with some runs at once, before they are compared: sets their stamps."""

    async def prepare(self, runs: Sequence[SourceRun]) -> None:  # noqa: B027 - the same
        """Called with some runs at once, before their rows are read."""

    async def sweep(self, sweep_id: str) -> SweepFacts | None:
        """The sweep of this id, which runs say that they are part of."""
        del sweep_id
        return None

    async def aclose(self) -> None:  # noqa: B027 - the same
        """Called at the end, when nothing is read any more."""

    def identity(self, run: SourceRun) -> str:
        """What the copy remembers as the place that it came from."""
        return f"{self.name}/{run.facts.id}"
