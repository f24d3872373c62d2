"""The interface of sources, from which runs are copied.

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

from aiowandb.config.settings import Settings
from aiowandb.files.artifact_uploads import NewEntry
from aiowandb.net import MemoryBudget
from aiowandb.wire import lenient
from aiowandb.wire.artifact_record import ArtifactLink
from aiowandb.wire.console import ConsoleLogLine
from aiowandb.wire.copying import SweepFacts

if TYPE_CHECKING:
    import pyarrow as pa

# Fields that do not count as changes of a run.
_NO_CONTENT = frozenset({"heartbeat_at"})


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a run. `config` and `summary` are JSON text.

    `config` has W&B's format: `{"lr": {"value": 0.1}}`. `RunFacts.of` makes both from mappings.
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
        """The facts of a run with config and summary given as mappings.

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
        """A digest of these facts and of `more`, which shows whether something has changed."""
        known = {
            name: value
            for name in self.__struct_fields__
            if name not in _NO_CONTENT and (value := getattr(self, name)) is not None
        }
        content = msgspec.json.encode([known, more])
        return blake2b(content, digest_size=12).hexdigest()


class SourceFile(msgspec.Struct, frozen=True):
    """A file of a run. Each call of `content` returns its bytes from the start.

    `md5` is in hex; None if it is not known.
    """

    name: str
    size: int
    md5: str | None
    content: Callable[[], AsyncIterable[bytes]]


class SourceArtifact(msgspec.Struct, frozen=True, kw_only=True):
    """A version of an artifact that a run has logged. `metadata` is JSON text.

    `key` identifies it in the source; `entries` returns its files and references. With a
    `version` of None, W&B chooses the next one, and later artifacts may take over its aliases.
    """

    key: str
    name: str
    type: str
    version: int | None
    digest: str
    entries: Callable[[], Awaitable[Sequence[NewEntry]]]
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: str | None = None
    created_at: datetime | None = None
    # What the source has named it and its collection by in references, where they may be kept.
    client_id: str | None = None
    sequence_client_id: str | None = None
    # Those that it is linked to; None if the source does not know.
    other_collections: tuple[ArtifactLink, ...] | None = None

    @property
    def label(self) -> str:
        """The name for people."""
        return self.name if self.version is None else f"{self.name}:v{self.version}"


class SourceRun:
    """A run to copy. Override the methods for what it has; only the facts are required.

    A `stamp` must change whenever anything of the run does: a run with the same stamp as in the
    last copy is skipped. Without one (None), runs are always compared.
    """

    def __init__(self, facts: RunFacts, stamp: str | None = None) -> None:
        self.facts = facts
        self.stamp = stamp
        # Names of columns whose dots are part of the key, and do not mean nested keys.
        self.literal_keys: frozenset[str] = frozenset()
        # What the source could not read of the run, for the report.
        self.dropped: tuple[str, ...] = ()
        # How many lines of system metrics there are, where the source counts them.
        self.counted_metrics: int | None = None
        # Whether the run has logged or used artifacts, or may have.
        self.has_artifacts = False

    async def measure(self) -> None:
        """Find out what `estimate` tells: called before it, for plans only."""

    def estimate(self, stored: int) -> dict[str, int]:
        """About how many rows, bytes and requests a copy sends if it has `stored` rows."""
        del stored
        return {"requests": 4}

    async def rows(self) -> AsyncGenerator[pa.RecordBatch]:
        """The rows in step order; without `_step` they are numbered."""
        batches: tuple[pa.RecordBatch, ...] = ()
        for batch in batches:
            yield batch

    def lines(self) -> AsyncGenerator[Sequence[str]] | None:
        """The rows as lines of JSON, where the source has those: they go to W&B as they are."""
        return None

    async def rows_after(self, step: int, count: int) -> AsyncGenerator[pa.RecordBatch]:
        """The rows after the first `count`, the last of which has this step."""
        del step
        async with aclosing(self.rows()) as batches:
            async for batch in batches:
                if count < batch.num_rows:
                    yield batch.slice(count)
                count = max(0, count - batch.num_rows)

    async def system_metrics(self) -> AsyncGenerator[Sequence[str]]:
        """The system metrics, as lines of JSON."""
        pages: tuple[Sequence[str], ...] = ()
        for page in pages:
            yield page

    async def console(self) -> AsyncGenerator[Sequence[ConsoleLogLine]]:
        """The console output of the run."""
        pages: tuple[Sequence[ConsoleLogLine], ...] = ()
        for page in pages:
            yield page

    async def files(self) -> AsyncGenerator[SourceFile]:
        """The files of the run."""
        files: tuple[SourceFile, ...] = ()
        for file in files:
            yield file

    async def artifacts(self) -> AsyncGenerator[SourceArtifact]:
        """The artifact versions that the run has logged."""
        artifacts: tuple[SourceArtifact, ...] = ()
        for artifact in artifacts:
            yield artifact

    async def used_artifacts(self) -> AsyncGenerator[SourceArtifact]:
        """The artifact versions that the run has used."""
        artifacts: tuple[SourceArtifact, ...] = ()
        for artifact in artifacts:
            yield artifact


class Source(ABC):
    """A source of runs. `name` identifies it, and should not change between copies.

    `memory` is how much the rows that it reads may take: what the target's `max_memory` says.
    """

    name: str
    memory = MemoryBudget(Settings().max_memory)

    @abstractmethod
    def runs(self) -> AsyncGenerator[SourceRun]:
        """All runs."""

    async def count(self) -> int | None:
        """The number of runs, if it is known without reading them."""
        return None

    async def look(self, runs: Sequence[SourceRun]) -> None:  # noqa: B027 - optional
        """Called with several runs before they are compared: sets their stamps."""

    async def prepare(self, runs: Sequence[SourceRun]) -> None:  # noqa: B027 - optional
        """Called with several runs before their rows are read."""

    async def sweep(self, sweep_id: str) -> SweepFacts | None:
        """The sweep with this id, which runs of this source refer to."""
        del sweep_id
        return None

    async def aclose(self) -> None:  # noqa: B027 - optional
        """Called at the end, when nothing more is read."""

    def identity(self, run: SourceRun) -> str:
        """The origin that the copy stores for this run."""
        return f"{self.name}/{run.facts.id}"
