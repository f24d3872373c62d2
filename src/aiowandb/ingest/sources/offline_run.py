"""One run out of its `.wandb` files: read once to know what it is, and again for its rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from hashlib import md5
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aiowandb.ingest.source import RunFacts, SourceFile
from aiowandb.ingest.sources.environment import read_environment
from aiowandb.ingest.sources.offline_records import (
    MetricDefinitions,
    RecordKind,
    Texts,
    change,
    kind_of_record,
    moment_of,
    object_in,
    rendered,
    row_texts,
    rows_in,
    step_of,
    telemetry_by_number,
)
from aiowandb.ingest.sources.protobuf import MalformedMessage, Message
from aiowandb.ingest.sources.wandb_log import LogReader
from aiowandb.wire import lenient
from aiowandb.wire.rows import STEP

T = TypeVar("T")

_NO_END = "how the run ended, which its log does not say: it was killed, or is still running"
_METADATA, _SUMMARY = "wandb-metadata.json", "wandb-summary.json"


class LoggedRun:
    """The fields of a run in its logs; `read` reads them again."""

    def __init__(self, run_id: str, paths: Sequence[Path]) -> None:
        self.facts = RunFacts(id=run_id)
        self.paths = paths
        self.rows = 0
        self.started = 0
        self.dropped: list[str] = []
        self.artifacts: list[Message] = []
        # The names of files that were saved, most of which are in the folder `files`.
        self.saved: set[str] = set()
        self.environment: dict[str, dict[str, Any]] = {}

    def read(
        self,
        wanted: Callable[[RecordKind, Message], Iterable[T]],
        dropped: list[str] | None = None,
    ) -> Iterator[T]:
        """What is wanted of all records that an importer needs; malformed ones are left out.

        Adds to `dropped` what cannot be read. Blocks.
        """
        for path in self.paths:
            reader, malformed = LogReader(path), 0
            for data in reader:
                try:
                    record = Message(data)
                    kind = kind_of_record(record)
                    found = list(wanted(kind, record.message(kind))) if kind else []
                except MalformedMessage:
                    malformed += 1
                else:
                    yield from found
            if dropped is not None:
                dropped += reader.damage
                if malformed:
                    dropped.append(f"{malformed} malformed records of {path.name}")

    def made_files(self) -> dict[str, SourceFile]:
        """The files that wandb creates when it sends a run, and that are not next to the log."""
        found = {_SUMMARY: (self.facts.summary or "{}").encode(errors="replace")}
        for machine in self.environment.values():
            found[_METADATA] = msgspec.json.format(msgspec.json.encode(machine))
        return {name: _made_file(name, content) for name, content in found.items()}


def scan(run_id: str, paths: Sequence[Path]) -> LoggedRun:
    """Read the logs of a run once. Blocks."""
    run = LoggedRun(run_id, paths)
    scanned = _Scan(run)
    for _ in run.read(scanned.add, run.dropped):
        pass
    scanned.finish()
    return run


class _Scan:
    """Collects the fields of the run from the records."""

    def __init__(self, run: LoggedRun) -> None:
        self._run = run
        self._config: Texts = {}
        self._summary: Texts = {}
        self._metrics = MetricDefinitions()
        self._telemetry: dict[str, Any] = {}
        self._record: Message | None = None
        self._state: str | None = None
        self._last_step = -1
        self._repeated = 0
        self._ended = 0

    def add(self, kind: RecordKind, message: Message) -> tuple[()]:
        """Add the record, of which nothing else is wanted."""
        match kind:
            case RecordKind.RUN:
                self._begin(message)
            case RecordKind.CONFIG:
                change(self._config, message)
            case RecordKind.SUMMARY:
                change(self._summary, message)
            case RecordKind.HISTORY:
                self._add_row(message)
            case RecordKind.FILES:
                self._run.saved.update(item.text(1) for item in message.messages(1))
            case RecordKind.METRIC:
                self._metrics.add(message)
            case RecordKind.TELEMETRY:
                self._telemetry |= telemetry_by_number(message)
            case RecordKind.ENVIRONMENT:
                machine = self._run.environment.setdefault(message.text(199), {})
                machine |= read_environment(message)
            case RecordKind.ARTIFACT:
                self._run.artifacts.append(message)
            case RecordKind.USE_ARTIFACT:
                self._run.dropped.append(f"that it used {message.text(3) or message.text(1)}")
            case RecordKind.EXIT:
                self._state = "failed" if message.integer(1) else "finished"
                self._ended = self._run.started + message.integer(2) * 10**9
            case RecordKind.PREEMPTING:
                self._state = "preempting"
            case _:
                pass
        return ()

    def _begin(self, record: Message) -> None:
        self._record, self._state = record, None
        self._run.started = self._run.started or record.nanoseconds(17) or 0
        change(self._config, record.message(4))
        change(self._summary, record.message(5))
        self._telemetry |= telemetry_by_number(record.message(19))

    def _add_row(self, history: Message) -> None:
        step = step_of(row_texts(history))
        if step > self._last_step:
            self._last_step = step
            self._run.rows += 1
        else:
            self._repeated += 1

    def finish(self) -> None:
        run, record = self._run, self._record
        if self._repeated:
            run.dropped.append(f"{self._repeated} rows of steps that were logged before")
        if record is None:
            run.dropped.append("name and config of the run, which its log does not have")
            record = Message(b"")
        if self._state is None:
            run.dropped.append(_NO_END)
        if STEP not in self._summary and run.rows:
            self._summary = self._last_values() | self._summary
        machine = next(iter(run.environment.values()), {})
        run.facts = RunFacts(
            id=record.text(1) or run.facts.id,
            name=record.text(8) or None,
            config=rendered(self._wrapped_config()),
            summary=rendered(self._summary),
            state=self._state or "crashed",
            tags=tuple(record.texts(10)),
            notes=record.text(9) or None,
            group=record.text(6) or None,
            job_type=record.text(7) or None,
            commit=record.message(21).text(2) or None,
            host=record.text(13) or machine.get("host"),
            program=machine.get("codePath") or machine.get("program"),
            sweep=record.text(12) or None,
            created_at=moment_of(run.started) if run.started else None,
            heartbeat_at=moment_of(self._ended) if self._ended else None,
        )

    def _wrapped_config(self) -> Texts:
        known = self._telemetry
        own: dict[str, Any] = {"t": known, "m": self._metrics.encoded()}
        own |= {"e": self._run.environment} if self._run.environment else {}
        names = {"cli_version": "5", "python_version": "4"}
        own |= {name: known[number] for name, number in names.items() if number in known}
        wrapped: Texts = {
            key: {"value": value} for key, value in self._config.items() if key != "_wandb"
        }
        before = self._config.get("_wandb", "{}")
        earlier = object_in(before if isinstance(before, str) else rendered(before))
        wrapped["_wandb"] = {"value": lenient.dumps(earlier | own)}
        return wrapped

    def _last_values(self) -> Texts:
        """A summary computed from the rows, for logs of old versions, which have none."""
        last: Texts = {}
        for row in self._run.read(rows_in):
            last |= row
        return last


def _made_file(name: str, content: bytes) -> SourceFile:
    async def once() -> AsyncIterator[bytes]:
        yield content

    return SourceFile(name, len(content), md5(content, usedforsecurity=False).hexdigest(), once)
