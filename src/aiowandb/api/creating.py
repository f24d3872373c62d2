"""Creates runs and projects without ever changing one that exists.

W&B's mutation creates what does not exist and overwrites what does. So existence is checked first,
then only the name is sent, and the rest once W&B has confirmed that this call created it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiowandb.errors import CommError, ConflictError, ServerError
from aiowandb.net import Session
from aiowandb.paths import RunRef, new_run_id
from aiowandb.wire.projects import get_project
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import get_run
from aiowandb.wire.writing import Bucket, create_project, create_run, new_run_fields

# There are 2.8e12 ids: even a second attempt is unlikely.
_MAX_ATTEMPTS = 3
_AS_IT_IS = "It was not changed; exist_ok=True returns it as it is."


async def make_run(
    session: Session,
    entity: str,
    project: str,
    run_id: str | None,
    *,
    name: str | None,
    config: Mapping[str, Any] | None,
    tags: Sequence[str] | None,
    exist_ok: bool,
) -> RunRecord:
    """The new run, or with `exist_ok` the existing one."""
    new_run_fields(
        "", name, config, tags
    )  # raises for values that cannot be sent before the run is created
    if run_id is None:
        record = await _make_nameless(session, entity, project)
    else:
        ref = RunRef(entity, project, run_id)
        record, is_new = await _make_named(session, ref, exist_ok=exist_ok)
        if not is_new:
            return record
    fields = new_run_fields(record.storage_id, name, config, tags)
    if fields is None:
        return record
    try:
        return await session.ask(fields)
    except CommError as error:
        error.add_note(
            f"Run {entity}/{project}/{record.id} was created, but its name, config and tags were"
            " not set."
        )
        raise


async def make_project(session: Session, entity: str, name: str, *, exist_ok: bool) -> None:
    """Create the project."""
    found = await session.ask(get_project(entity, name))
    if found is None:
        answer = await session.answer(create_project(entity, name))
        model = answer.data
        if model is None or model.inserted is not False or answer.tries > 1:
            return
    if not exist_ok:
        raise ConflictError(f"Project {entity}/{name} exists. {_AS_IT_IS}")


async def _make_nameless(session: Session, entity: str, project: str) -> RunRecord:
    for _ in range(_MAX_ATTEMPTS):
        made, tries = await _create(session, RunRef(entity, project, new_run_id()))
        # If the request was retried, the first try may have created the run.
        if made.inserted is not False or tries > 1:
            return made.bucket
    raise ServerError(
        f"W&B says that {entity}/{project} has runs with {_MAX_ATTEMPTS} random new ids."
    )


async def _make_named(session: Session, ref: RunRef, *, exist_ok: bool) -> tuple[RunRecord, bool]:
    """The run, and whether it is new."""
    found = await session.ask(get_run(ref))
    if found:
        if not exist_ok:
            raise ConflictError(f"Run {ref} exists. {_AS_IT_IS}")
        return found, False
    made, tries = await _create(session, ref)
    is_new = made.inserted is not False
    if not is_new and not exist_ok:
        whose = (
            " by another process, or by this call, if its first response was lost"
            if tries > 1
            else ""
        )
        raise ConflictError(f"Run {ref} was just created{whose}. {_AS_IT_IS}")
    return made.bucket, is_new


async def _create(session: Session, ref: RunRef) -> tuple[Bucket, int]:
    """The response, and the number of tries that it took."""
    answer = await session.answer(create_run(ref))
    saved: Bucket = answer.data
    return saved, answer.tries
