"""`Run`: what W&B knows of one run, its rows, and what can be done to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

import anyio
import msgspec

from aiowandb.api.append import Append
from aiowandb.api.belongings import Belongings
from aiowandb.api.notebook import run_card
from aiowandb.api.rows import as_frame, as_structs, number
from aiowandb.config import app_url
from aiowandb.errors import ConflictError, UsageError
from aiowandb.net import Session
from aiowandb.tasks import Items, Stream
from aiowandb.wire import lenient
from aiowandb.wire.changes import RunChanges
from aiowandb.wire.dotted import flattened
from aiowandb.wire.history import sampled_keys, sampled_rows
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import get_run, run_state
from aiowandb.wire.summary import Summary
from aiowandb.wire.writing import delete_run, save_run, stop_run, update_state

if TYPE_CHECKING:
    import pyarrow as pa

    from aiowandb.history.pages import Page

S = TypeVar("S", bound=msgspec.Struct)
_ENDED = frozenset({"finished", "failed", "crashed", "killed"})


class Run(Belongings, kw_only=True, dict=True, eq=False):
    """A run of W&B. Its attributes are here already, its rows come when asked for.

    >>> run = await api.run("entity/project/run_id")
    >>> run.name, run.config["lr"], run.summary["loss"], run.tags
    """

    @classmethod
    def of(cls, record: RunRecord, session: Session, entity: str, project: str) -> Self:
        """The run that this record describes."""
        run = cls(storage_id=record.storage_id, id=record.id)
        run.entity, run.project = entity, project
        vars(run)["_session"] = session
        run._take(record)
        return run

    @property
    def url(self) -> str:
        """The run's page for people."""
        site = app_url(self._session.settings.base_url)
        return f"{site}/{self.entity}/{self.project}/runs/{self.id}"

    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        stream: Literal["default", "system", "events"] = "default",
        *,
        pandas: bool = True,
    ) -> Any:
        """A sample of the rows, at most `samples` of them. All of them: `scan_history()`.

        A pandas DataFrame where pandas is installed, else, or with `pandas=False`, a
        list of dicts. With `keys`, only rows that have all of these keys and the x
        axis. `stream="system"` samples the system metrics.
        """
        if keys is None:
            rows = await self._sampled_rows(samples, system=stream != "default")
        elif stream != "default":
            raise UsageError("keys= selects from the history; the system metrics come whole.")
        else:
            rows = await self._sampled_keys(samples, [x_axis, *_checked_keys(keys)])
        return as_frame(rows) if pandas else rows

    def _repr_html_(self) -> str:
        return run_card(self, self.url)

    @overload
    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        type: None = None,
    ) -> Stream[dict[str, Any]]: ...

    @overload
    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        type: type[S],
    ) -> Stream[S]: ...

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        type: type[msgspec.Struct] | None = None,
    ) -> Stream[Any]:
        """Every row in step order; with `keys`, every row that has all of these keys.

        `min_step` is included, `max_step` is not. Nested keys come under dotted names.
        With `type`, each row is made into that `msgspec.Struct`.

        >>> async for row in run.scan_history(keys=["loss"]):
        ...     print(row["_step"], row["loss"])
        """
        pages = self._row_pages(keys, page_size, min_step, max_step, type=type)
        return Items(self._session.ahead(pages))

    def scan_history_batches(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> Stream[pa.RecordBatch]:
        """The same rows as Arrow record batches: nested keys as dotted columns."""
        return self._session.ahead(self._batches(keys, page_size, min_step, max_step))

    async def update(self, *, merge: bool = False) -> None:
        """Send what was changed here: config, summary, name, tags, notes, group and the like.

        What was not changed is not touched. If W&B's copy of the same thing was changed
        since it was read, nothing is sent and `ConflictError` says what; with `merge`,
        the changes are laid over W&B's copy.

        >>> run.config["lr"] = 0.1
        >>> run.tags.append("best")
        >>> await run.update()
        """
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

    async def save(self, *, merge: bool = False) -> None:
        """The same as `update()`."""
        await self.update(merge=merge)

    async def load(self, force: bool = True) -> None:
        """Read the run again, unless not forced; changes that were not sent are forgotten."""
        if force:
            self._take(await self._current())

    async def update_state(self, state: Literal["pending", "failed"]) -> bool:
        """Change the state of a run that no script is attached to."""
        done = await self._session.ask(update_state(self.storage_id, state))
        self.state = state
        return done.update_run_state.success

    async def delete(self, delete_artifacts: bool = False) -> None:
        """Delete the run, with its artifacts if asked to."""
        await self._session.ask(delete_run(self.storage_id, delete_artifacts=delete_artifacts))

    async def stop(self) -> bool:
        """Ask the script of a live run to stop; says whether W&B passed that on."""
        return (await self._session.ask(stop_run(self.storage_id))).stop_run.success

    async def wait_until_finished(self, poll_interval: float = 5.0) -> str:
        """Wait until the run has ended, and give the state that it ended in."""
        while True:
            found = (await self._session.ask(run_state(self.ref))).project
            if found is None or found.run is None:
                raise self._gone()
            self.state = found.run.state
            if self.state in _ENDED:
                await self.load()
                return self.state
            await anyio.sleep(poll_interval)

    def append(self, *, state: str | None = None) -> Append:
        """Add rows to the end of the history, also of a run that has finished.

        The run's state afterwards is what it was before, or `state`: finished, failed or
        running. One writer at a time: W&B does not keep two apart.

        >>> async with run.append() as log:
        ...     await log({"loss": 0.1})
        ...     await log({"loss": 0.05}, step=100)
        """
        return Append(self, self._session, state)

    async def _sampled_rows(self, samples: int, *, system: bool) -> list[dict[str, Any]]:
        found = await self._session.recall(sampled_rows(self.ref, samples, system=system))
        if found.project is None or found.project.run is None:
            raise self._gone()
        texts = found.project.run.history or ()
        return [flattened(lenient.loads(text)) for text in texts]

    async def _sampled_keys(self, samples: int, keys: Sequence[str]) -> list[dict[str, Any]]:
        wanted = list(dict.fromkeys(keys))
        found = await self._session.recall(sampled_keys(self.ref, wanted, samples))
        if found.project is None or found.project.run is None:
            raise self._gone()
        rows = (found.project.run.sampled_history or [[]])[0]
        return [{key: number(value) for key, value in row.items()} for row in rows]

    async def _row_pages(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        type: type[msgspec.Struct] | None = None,
    ) -> AsyncGenerator[list[Any]]:
        async with aclosing(self._pages(keys, page_size, min_step, max_step)) as pages:
            async for page in pages:
                rows = page.to_rows()
                yield rows if type is None else as_structs(rows, type, str(self.ref))

    async def _batches(
        self,
        keys: Sequence[str] | None,
        page_size: int,
        min_step: int | None,
        max_step: int | None,
    ) -> AsyncGenerator[pa.RecordBatch]:
        async with aclosing(self._pages(keys, page_size, min_step, max_step)) as pages:
            async for page in pages:
                if (batch := page.to_batch()) is not None:
                    yield batch

    async def _pages(
        self,
        keys: Sequence[str] | None,
        page_size: int,
        min_step: int | None,
        max_step: int | None,
    ) -> AsyncGenerator[Page]:
        from aiowandb.history.plan import plan_history
        from aiowandb.history.scan import Scan
        from aiowandb.history.selection import Selection

        chosen = None if keys is None else tuple(_checked_keys(keys))
        selection = Selection(
            keys=chosen, min_step=min_step or 0, max_step=max_step, page_size=page_size
        )
        plan = await plan_history(self._session, self.ref)
        async with aclosing(Scan(self._session, plan, selection).pages()) as pages:
            async for page in pages:
                yield page

    async def _current(self) -> RunRecord:
        project = (await self._session.ask(get_run(self.ref))).project
        if project is None or project.run is None:
            raise self._gone()
        return project.run

    def _take(self, record: RunRecord) -> None:
        """Be what the record says, and remember it as what was read."""
        for name in set(record.__struct_fields__) - {"entity", "project"}:
            value = getattr(record, name)
            setattr(self, name, list(value) if isinstance(value, list) else value)
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


def _checked_keys(keys: Sequence[str]) -> Sequence[str]:
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise UsageError(f"keys must be specified in a list of strings, not {keys!r}.")
    return keys
