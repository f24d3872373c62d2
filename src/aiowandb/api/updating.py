"""Reads a run, and sends the changes that its user made."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio
from msgspec.structs import replace

from aiowandb.arguments import NAMES, VALUES, Check, optional, text
from aiowandb.errors import ConflictError, NotFoundError, UsageError
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.changes import FIELDS, RunDiff
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import get_run, run_not_found, run_state
from aiowandb.wire.writing import save_run

_TEXT = optional(text("a string", empty=True))
# The attributes of a run that can be set, and are sent by `update()`.
WRITABLE: Mapping[str, Check] = {
    "name": _TEXT,
    "display_name": _TEXT,
    "notes": _TEXT,
    "description": _TEXT,
    "group": _TEXT,
    "job_type": _TEXT,
    "tags": NAMES,
    "config": VALUES,
    "summary": VALUES,
}
_ENDED = frozenset({"finished", "failed", "crashed", "killed"})


async def find_run_record(session: Session, ref: RunRef, *, fresh: bool = False) -> RunRecord:
    """The run of this path, from the cache unless it has to be fresh."""
    record = await session.ask_cached(get_run(ref), fresh=fresh)
    if record is None:
        raise not_found(ref)
    return replace(record, entity=ref.entity, project=ref.project)


async def read_run(session: Session, ref: RunRef) -> RunRecord:
    """The run as W&B has it now, which is not cached."""
    record = await session.ask(get_run(ref))
    if record is None:
        raise not_found(ref)
    return replace(record, entity=ref.entity, project=ref.project)


def check_values(run: RunRecord) -> None:
    """Raise if a value was changed in place to something that cannot be sent."""
    for name, check in WRITABLE.items():
        if name in FIELDS or run.has_decoded(name):
            check(name, getattr(run, name))
    for name in ("config", "summary"):
        try:
            if run.has_decoded(name):
                lenient.dumps(dict(getattr(run, name)))
        except UsageError as error:
            raise UsageError(f"{name} of run {run.ref}: {error}") from None


async def send_changes(
    session: Session, read: RunRecord, wanted: RunRecord, *, merge: bool
) -> RunRecord | None:
    """Send the differences between `read` and `wanted`; returns the new record, if any.

    Without `merge`, it is a conflict if W&B's copy of a changed value has changed, too.
    """
    changes = RunDiff.of(read, wanted)
    if not changes:
        return None
    current = await read_run(session, wanted.ref)
    if not merge and (moved := changes.conflicts(read, current)):
        raise ConflictError(
            f"Run {wanted.ref}: {' and '.join(moved)} changed at W&B since this run was read:"
            " call load() and repeat the change, or use update(merge=True)."
        )
    saved = await session.ask(save_run(changes.input(current)))
    return replace(saved, entity=wanted.entity, project=wanted.project)


async def wait_for_end(
    session: Session, ref: RunRef, poll_interval: float, on_state: Callable[[str], None]
) -> None:
    """Poll the state of the run until it has ended."""
    while True:
        state = await session.ask(run_state(ref))
        if state is None:
            raise not_found(ref)
        on_state(state)
        if state in _ENDED:
            return
        await anyio.sleep(poll_interval)


def not_found(ref: RunRef) -> NotFoundError:
    return run_not_found(ref, "Run")
