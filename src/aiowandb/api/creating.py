"""New runs and projects, made so that nothing of one that exists is changed.

W&B makes what does not exist and overwrites what does, with the same call. So it is looked first,
then only the name is sent, and the rest once W&B has said that this call made it.
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

# One id in 2.8 million millions is drawn twice.
_MAX_DRAWS = 3
_AS_IT_IS = "Nothing of it was changed; exist_ok=True gives it as it is."


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
    """The run, made just now, or else found if that is allowed."""
    new_run_fields("", name, config, tags)  # what cannot be sent shows before the run is made
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
            f"Run {entity}/{project}/{record.id} was made, but its name, config and tags were not"
            " set."
        )
        raise


async def make_project(session: Session, entity: str, name: str, *, exist_ok: bool) -> None:
    """Make the project; that it exists is an error or all right."""
    found = await session.ask(get_project(entity, name))
    if found is None:
        answer = await session.answer(create_project(entity, name))
        session.flush()
        model = answer.data
        if model is None or model.inserted is not False or answer.tries > 1:
            return
    if not exist_ok:
        raise ConflictError(f"Project {entity}/{name} exists. {_AS_IT_IS}")


async def _make_nameless(session: Session, entity: str, project: str) -> RunRecord:
    for _ in range(_MAX_DRAWS):
        made, tries = await _create(session, RunRef(entity, project, new_run_id()))
        # An id that was drawn twice belongs to somebody else; one that was sent twice does not.
        if made.inserted is not False or tries > 1:
            return made.bucket
    raise ServerError(
        f"W&B says that {entity}/{project} has runs with {_MAX_DRAWS} ids that were drawn by lot."
    )


async def _make_named(session: Session, ref: RunRef, *, exist_ok: bool) -> tuple[RunRecord, bool]:
    """The run, and whether it was made just now."""
    found = await session.ask(get_run(ref))
    if found:
        if not exist_ok:
            raise ConflictError(f"Run {ref} exists. {_AS_IT_IS}")
        return found, False
    made, tries = await _create(session, ref)
    is_new = made.inserted is not False
    if not is_new and not exist_ok:
        whose = " by somebody else, or by this call, whose answer got lost" if tries > 1 else ""
        raise ConflictError(f"Run {ref} was made at the same moment{whose}. {_AS_IT_IS}")
    return made.bucket, is_new


async def _create(session: Session, ref: RunRef) -> tuple[Bucket, int]:
    """What W&B says, and how many times it had to be asked."""
    answer = await session.answer(create_run(ref))
    session.flush()
    saved: Bucket = answer.data
    return saved, answer.tries
