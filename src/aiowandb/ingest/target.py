"""The project that runs are copied to: finds, creates and finishes runs there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from aiowandb.errors import (
    AiowandbError,
    CommError,
    ConflictError,
    ConnectError,
    RateLimitError,
    ServerError,
    TimeoutError,
    TooLargeError,
)
from aiowandb.ingest.mark import Mark, is_blank, place_of, read_mark, with_mark
from aiowandb.ingest.source import RunFacts
from aiowandb.net import Session
from aiowandb.net.session import supports
from aiowandb.paths import RunRef
from aiowandb.wire.copying import RunExtent, run_extents, write_run
from aiowandb.wire.history import alias
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import RunQuery, list_runs
from aiowandb.wire.writing import create_run

_ID_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 8
_PASSING = (ConnectError, TimeoutError, ServerError, RateLimitError)
# Words about a run, and their names in W&B's input.
_WORDS = {
    "notes": "notes",
    "description": "description",
    "group": "groupName",
    "job_type": "jobType",
}


class Found(msgspec.Struct, frozen=True):
    """A run in the target, as far as a copy needs it."""

    ref: RunRef
    storage_id: str
    lines: int
    last_step: int
    mark: Mark | None = None
    is_blank: bool = False
    sweep: str | None = None
    # Which of the words about the run are there.
    words: frozenset[str] = frozenset()

    @classmethod
    def of(cls, run: RunRecord) -> Found:
        return cls(
            run.ref,
            run.storage_id,
            run.history_line_count or 0,
            run.last_step,
            read_mark(run.config_json or None),
            is_blank(run),
            run.sweep_name,
            frozenset(name for name in _WORDS if getattr(run, name)),
        )

    def is_copy_of(self, identity: str) -> bool:
        """Whether the run is a copy of this one, or still empty."""
        return self.is_blank if self.mark is None else self.mark.source == identity


class Target:
    """A project, which is created with its first run."""

    def __init__(self, session: Session, entity: str, project: str, name: str) -> None:
        self.session = session
        self.entity = entity
        self.project = project
        self.name = name

    @classmethod
    async def open(cls, session: Session, entity: str, project: str) -> Self:
        """The project of this name."""
        return cls(session, entity, project, await place_of(session, entity, project))

    def ref(self, run_id: str) -> RunRef:
        return RunRef(self.entity, self.project, run_id)

    def new_id(self, identity: str) -> str:
        """An id for the copy of a run, the same for each copy to this project."""
        digest = blake2b(f"{self.name}\n{identity}".encode(), digest_size=8).digest()
        number = int.from_bytes(digest)
        letters = []
        for _ in range(_ID_LENGTH):
            number, place = divmod(number, len(_ID_LETTERS))
            letters.append(_ID_LETTERS[place])
        return "".join(letters)

    async def find(self, ids: Sequence[str]) -> dict[str, Found]:
        """The runs that exist."""
        return {name: Found.of(run) for name, run in (await self.records(ids)).items()}

    async def records(self, ids: Sequence[str]) -> dict[str, RunRecord]:
        """The complete records of the runs that exist."""
        query = RunQuery({"name": {"$in": list(ids)}}, "+created_at", max(1, len(ids)))
        page = await self.session.ask(list_runs(self.entity, self.project, query, None))
        found = {}
        for run in page.runs.nodes if page else ():
            run.entity, run.project = self.entity, self.project
            found[run.id] = run
        return found

    async def make(self, run_id: str) -> Found:
        """Create the run; raises a ConflictError if another process has just created it."""
        ref = self.ref(run_id)
        answer = await self.session.answer(create_run(ref))
        made = replace(answer.data.bucket, entity=self.entity, project=self.project)
        found = Found.of(made)
        if answer.data.inserted is False and not found.is_blank:
            raise ConflictError(f"Run {ref} was just created by another process.")
        return found

    async def begin(self, run: Found, facts: RunFacts, mark: Mark, sweep: str | None) -> None:
        """Write the fields of the run, marked as a copy in progress."""
        fields = _fields(facts, run.words) | {"id": run.storage_id, "sweep": sweep}
        fields["config"] = with_mark(facts.config, mark)
        await self.session.ask(write_run(fields, None))

    async def finish(self, run: Found, facts: RunFacts, mark: Mark, summary: str | None) -> None:
        """Write the summary, and mark the copy as complete."""
        fields: dict[str, Any] = {"id": run.storage_id, "config": with_mark(facts.config, mark)}
        if summary is not None:
            fields["summaryMetrics"] = summary
        origin = None
        if await self.keeps_origin():
            earlier = read_mark(facts.config)
            origin = {
                "state": mark.state,
                "createdAt": mark.created_at,
                "heartbeatAt": _text(facts.heartbeat_at),
                "username": (earlier and earlier.user) or mark.user,
            }
        try:
            await self.session.ask(write_run(fields, origin))
        except CommError as error:
            if not origin or error.status != 403:
                raise
            # Only administrators can set the author of a run.
            await self.session.ask(write_run(fields, origin | {"username": None}))

    async def keeps_origin(self) -> bool:
        """Whether the server accepts fields that W&B's protocol does not have."""
        return await supports(self.session, "AIOWANDB_RUN_ORIGIN")

    async def extent(self, ref: RunRef) -> RunExtent:
        """How much data the run has."""
        found = await self.session.ask(run_extents([ref], 1))
        return (found or {}).get(alias(0)) or RunExtent()


def may_pass(error: AiowandbError) -> bool:
    """Whether a later attempt may succeed, as with a server that is down."""
    return isinstance(error, _PASSING) and not isinstance(error, TooLargeError)


def _fields(facts: RunFacts, words: frozenset[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "displayName": facts.name or facts.id,
        "tags": list(facts.tags),
        "commit": facts.commit,
        "host": facts.host,
        "program": facts.program,
    }
    for name, input_name in _WORDS.items():
        # Null leaves a field unchanged: fields that were cleared in the source must be emptied.
        fields[input_name] = getattr(facts, name) or ("" if name in words else None)
    return fields


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
