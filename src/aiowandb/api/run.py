"""`Run`: what W&B knows of one run, and its rows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, Self

from aiowandb.errors import NotFoundError, UsageError
from aiowandb.net import Session
from aiowandb.wire import lenient
from aiowandb.wire.history import sampled_keys, sampled_rows
from aiowandb.wire.runs import RunRecord

if TYPE_CHECKING:
    import pyarrow as pa

    from aiowandb.history.pages import Page


class Run(RunRecord, kw_only=True, dict=True, eq=False):
    """A run of W&B. Its attributes are here already, its rows come when asked for.

    >>> run = await api.run("entity/project/run_id")
    >>> run.name, run.config["lr"], run.summary["loss"], run.tags
    """

    @classmethod
    def of(cls, record: RunRecord, session: Session, entity: str, project: str) -> Self:
        """The run that this record describes."""
        fields: dict[str, Any] = {name: getattr(record, name) for name in record.__struct_fields__}
        fields.update(entity=entity, project=project)
        run = cls(**fields)
        vars(run)["_session"] = session
        return run

    @property
    def _session(self) -> Session:
        session: Session = vars(self)["_session"]
        return session

    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        stream: Literal["default", "system"] = "default",
    ) -> list[dict[str, Any]]:
        """A sample of the rows, at most `samples` of them. All of them: `scan_history()`.

        With `keys`, only rows that have all of these keys and the x axis.
        """
        if keys is None:
            texts = await self._session.ask(
                sampled_rows(self.ref, samples, system=stream == "system")
            )
            if texts.project is None or texts.project.run is None:
                raise self._gone()
            return [lenient.loads(text) for text in texts.project.run.history or ()]
        if stream == "system":
            raise UsageError("keys= selects from the history; the system metrics come whole.")
        wanted = dict.fromkeys((x_axis, *_checked_keys(keys)))
        sampled = await self._session.ask(sampled_keys(self.ref, list(wanted), samples))
        if sampled.project is None or sampled.project.run is None:
            raise self._gone()
        found = sampled.project.run.sampled_history or [[]]
        return [{key: _number(value) for key, value in row.items()} for row in found[0]]

    async def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> AsyncGenerator[dict[str, Any]]:
        """Every row in step order; with `keys`, every row that has all of these keys.

        `min_step` is included, `max_step` is not.

        >>> async for row in run.scan_history(keys=["loss"]):
        ...     print(row["_step"], row["loss"])
        """
        async with aclosing(self._row_pages(keys, page_size, min_step, max_step)) as pages:
            async for rows in pages:
                for row in rows:
                    yield row

    async def scan_history_batches(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> AsyncGenerator[pa.RecordBatch]:
        """The same rows as Arrow record batches: nested keys as dotted columns."""
        async with aclosing(self._pages(keys, page_size, min_step, max_step)) as pages:
            async for page in pages:
                yield page.to_batch()

    async def _row_pages(
        self,
        keys: Sequence[str] | None,
        page_size: int,
        min_step: int | None,
        max_step: int | None,
    ) -> AsyncGenerator[list[dict[str, Any]]]:
        async with aclosing(self._pages(keys, page_size, min_step, max_step)) as pages:
            async for page in pages:
                yield page.to_rows()

    async def _pages(
        self,
        keys: Sequence[str] | None,
        page_size: int,
        min_step: int | None,
        max_step: int | None,
    ) -> AsyncGenerator[Page]:
        from aiowandb.history.plan import plan_history
        from aiowandb.history.scan import Selection, scan_pages

        selection = Selection(
            None if keys is None else tuple(_checked_keys(keys)), min_step or 0, max_step, page_size
        )
        plan = await plan_history(self._session, self.ref)
        async with aclosing(scan_pages(self._session, plan, selection)) as pages:
            async for page in pages:
                yield page

    def _gone(self) -> NotFoundError:
        return NotFoundError(f"Could not find run {self.ref}.")


def _checked_keys(keys: Sequence[str]) -> Sequence[str]:
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise UsageError(f"keys must be specified in a list of strings, not {keys!r}.")
    return keys


def _number(value: Any) -> Any:
    # W&B has strings for the numbers that JSON has not.
    if isinstance(value, str) and (number := lenient.as_float(value)) is not None:
        return number
    return value
