"""`Run`: what W&B knows of one run, its rows, and what can be done to it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import anyio
from msgspec.structs import force_setattr

from aiowandb.api.append import Append
from aiowandb.api.histories import Histories
from aiowandb.api.notebook import run_card
from aiowandb.arguments import (
    FLAG,
    NAMES,
    POSITIVE,
    VALUES,
    Check,
    check_writable,
    checks,
    choice,
    optional,
    text,
)
from aiowandb.choices import EndState, SetState
from aiowandb.config.settings import app_url
from aiowandb.errors import ConflictError, UsageError
from aiowandb.net import Session
from aiowandb.wire import lenient
from aiowandb.wire.changes import FIELDS, RunChanges
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import get_run, run_state
from aiowandb.wire.summary import Summary
from aiowandb.wire.writing import delete_run, save_run, stop_run, update_state

_ENDED = frozenset({"finished", "failed", "crashed", "killed"})
_TEXT = optional(text("a string", empty=True))
# What can be set of a run, and is sent by `update()`.
_WRITABLE: Mapping[str, Check] = {
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


class Run(Histories, kw_only=True, dict=True, eq=False):
    """A run of W&B. Its attributes are here already, its rows come when asked for.

    >>> run = await api.run("entity/project/run_id")
    >>> run.name, run.config["lr"], run.summary["loss"], run.tags
    """

    @classmethod
    def of(cls, record: RunRecord, session: Session, entity: str, project: str) -> Self:
        """The run that this record describes."""
        run = cls(storage_id=record.storage_id, id=record.id)
        force_setattr(run, "entity", entity)
        force_setattr(run, "project", project)
        vars(run)["_session"] = session
        run._take(record)
        return run

    def __post_init__(self) -> None:
        pass  # the record that this run is made of has been through it

    if not TYPE_CHECKING:  # type checkers know the attributes, and would take any name then

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_"):
                check_writable(type(self), name, _WRITABLE)
                value = _WRITABLE[name](name, value)
                if name == "tags":
                    value = list(value)
                elif name == "config":
                    value = dict(value)
                elif name == "summary":
                    value = Summary(dict(value), save=self.update)
            super().__setattr__(name, value)

    @property
    def url(self) -> str:
        """The run's page for people."""
        site = app_url(self._session.settings.base_url)
        return f"{site}/{self.entity}/{self.project}/runs/{self.id}"

    def _repr_html_(self) -> str:
        return run_card(self, self.url)

    @checks(merge=FLAG)
    async def update(self, *, merge: bool = False) -> None:
        """Send what was changed here: config, summary, name, tags, notes, group and the like.

        What was not changed is not touched. If W&B's copy of the same thing was changed
        since it was read, nothing is sent and `ConflictError` says what; with `merge`,
        the changes are laid over W&B's copy.

        >>> run.config["lr"] = 0.1
        >>> run.tags.append("best")
        >>> await run.update()
        """
        self._check_values()
        changes = RunChanges.of(self._read, self)
        if not changes:
            return
        current = await self._current()
        if not merge and (moved := changes.conflicts(self._read, current)):
            raise ConflictError(
                f"Run {self.ref}: {' and '.join(moved)} changed at W&B since this run was read:"
                " load() and change it again, or update(merge=True)."
            )
        saved = await self._session.ask(save_run(changes.input(current)))
        self._take(saved.upsert_bucket.bucket)

    @checks(merge=FLAG)
    async def save(self, *, merge: bool = False) -> None:
        """The same as `update()`."""
        await self.update(merge=merge)

    @checks(force=FLAG)
    async def load(self, force: bool = True) -> None:
        """Read the run again, unless not forced; changes that were not sent are forgotten."""
        if force:
            self._take(await self._current())

    @checks(state=choice(SetState))
    async def update_state(self, state: SetState) -> bool:
        """Change the state of a run that no script is attached to; says whether W&B did."""
        done = (await self._session.ask(update_state(self.storage_id, state))).update_run_state
        if done.success:
            self._set_state(state)
        return done.success

    @checks(delete_artifacts=FLAG)
    async def delete(self, delete_artifacts: bool = False) -> None:
        """Delete the run, with its artifacts if asked to."""
        await self._session.ask(delete_run(self.storage_id, delete_artifacts=delete_artifacts))

    async def stop(self) -> bool:
        """Ask the script of a live run to stop; says whether W&B passed that on."""
        return (await self._session.ask(stop_run(self.storage_id))).stop_run.success

    @checks(poll_interval=POSITIVE)
    async def wait_until_finished(self, poll_interval: float = 5.0) -> str:
        """Wait until the run has ended, and give the state that it ended in."""
        while True:
            found = (await self._session.ask(run_state(self.ref))).project
            if found is None or found.run is None:
                raise self._gone()
            state = found.run.state
            self._set_state(state)
            if state in _ENDED:
                await self.load()
                return self.state or state
            await anyio.sleep(poll_interval)

    @checks(state=optional(choice(EndState)), token=optional(text("a name for the rows")))
    def append(self, *, state: EndState | None = None, token: str | None = None) -> Append:
        """Add rows to the end of the history, also of a run that has finished.

        While rows are added the run is `running`; afterwards it is what it was before, or
        `state`: finished, failed or running. If the block ends with an exception, the rows
        before it are kept, and a run that was to get a `state` is `failed`. A writer that is
        killed leaves the run `running`, which W&B soon takes for `crashed`.

        One writer at a time: if there is another one, `ConflictError` says so, and rows that
        were not acknowledged are not added; `log.added` counts those that were.

        A `token` names the rows, so that this can be repeated if it was cut off: give the same
        rows with the same token again, and those that are in the run already are skipped. The
        run keeps the last 16 tokens in its summary, as `_appended`.

        The official `scan_history()` caches the Parquet files of a run by its name: where it
        has read the run before, it shows the new rows with `use_cache=False` only.

        >>> async with run.append() as log:
        ...     await log({"loss": 0.1})
        ...     await log({"loss": 0.05}, step=100)
        """
        return Append(self, self._session, state, token)

    def _check_values(self) -> None:
        """Raise if something was changed in place to what cannot be sent."""
        for name, check in _WRITABLE.items():
            if name in FIELDS or name in vars(self):
                check(name, getattr(self, name))
        for name in {"config", "summary"} & vars(self).keys():
            try:
                lenient.dumps(dict(getattr(self, name)))
            except UsageError as error:
                raise UsageError(f"{name} of run {self.ref}: {error}") from None

    def _set_state(self, state: str) -> None:
        force_setattr(self, "state", state)

    async def _current(self) -> RunRecord:
        project = (await self._session.ask(get_run(self.ref))).project
        if project is None or project.run is None:
            raise self._gone()
        return project.run

    def _take(self, record: RunRecord) -> None:
        """Be what the record says, and remember it as what was read."""
        for name in set(record.__struct_fields__) - {"entity", "project"}:
            value = getattr(record, name)
            force_setattr(self, name, list(value) if isinstance(value, list) else value)
        for name in ("config", "summary", "system_metrics"):
            vars(self).pop(name, None)
        vars(self)["_read"] = record

    @cached_property
    def summary(self) -> Summary:
        """The last, best or chosen value of each metric; NaN and Infinity are floats.

        Changes are sent by `update()`, or by `summary.update()`.
        """
        return Summary(super().summary._json_dict, save=self.update)

    @property
    def _read(self) -> RunRecord:
        record: RunRecord = vars(self)["_read"]
        return record
