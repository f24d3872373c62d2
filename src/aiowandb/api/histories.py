"""What a run gives of its rows: a sample, all of them, or all of them as columns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import msgspec

from aiowandb.api.belongings import Belongings
from aiowandb.api.rows import as_frame, as_structs
from aiowandb.api.samples import sample_rows
from aiowandb.errors import UsageError
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.tasks import Items, Stream, each_of
from aiowandb.wire import lenient
from aiowandb.wire.history import EventStream, sampled_rows
from aiowandb.wire.record import RunRecord
from aiowandb.wire.rows import flat_row

if TYPE_CHECKING:
    import pyarrow as pa

    from aiowandb.history import Selection
    from aiowandb.history.pages import Page

R = TypeVar("R", bound=RunRecord)
S = TypeVar("S", bound=msgspec.Struct)


class Histories(Belongings, kw_only=True, dict=True, eq=False):
    """The part of `Run` that leads to its rows."""

    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        stream: EventStream = "default",
        *,
        pandas: bool = True,
    ) -> Any:
        """A sample of the rows, at most `samples` of them. All of them: `scan_history()`.

        A pandas DataFrame where pandas is installed, else, or with `pandas=False`, a
        list of dicts. With `keys`, names or globs, only rows that have all of these keys
        and the x axis. `stream="system"` samples the system metrics.

        A row has the same values as in `scan_history()`.
        """
        wanted = checked_keys(keys)
        if not wanted:
            rows = await self._sampled_rows(samples, system=stream != "default")
        elif stream != "default":
            raise UsageError("keys= selects from the history; the system metrics come whole.")
        else:
            rows = await sample_rows(self._session, self, wanted, x_axis, samples)
        return as_frame(rows) if pandas else rows

    @overload
    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        any_key: bool = False,
        exclude: Sequence[str] = (),
        stream: EventStream = "default",
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
        any_key: bool = False,
        exclude: Sequence[str] = (),
        stream: EventStream = "default",
        type: type[S],
    ) -> Stream[S]: ...

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        any_key: bool = False,
        exclude: Sequence[str] = (),
        stream: EventStream = "default",
        type: type[msgspec.Struct] | None = None,
    ) -> Stream[Any]:
        """Every row in step order; with `keys`, every row that has all of these keys.

        `any_key` takes rows that have one of them. `exclude` names keys to leave out.
        Both take globs, like `val.*`, and a key that others are nested in, like `val`,
        stands for those. `min_step` is included, `max_step` is not. `stream="system"`
        gives the system metrics, which have no steps. With `type`, each row is made into
        that `msgspec.Struct`.

        A row has what was logged in it, nested keys under dotted names, whether W&B sent
        JSON or Parquet. A number without a fraction is an int, as 1.0 is sent like 1; any
        other one is a float. A None that was logged is not there. Where some rows have
        fractions, Parquet rounds integers beyond 2^53 and has NaN for a word "NaN".

        >>> async for row in run.scan_history(keys=["loss"]):
        ...     print(row["_step"], row["loss"])
        """
        wanted = chosen(keys, page_size, min_step, max_step, any_key, exclude, stream)
        return Items(self._session.ahead(self._row_pages(wanted, stream, type)))

    def scan_history_batches(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        any_key: bool = False,
        exclude: Sequence[str] = (),
        stream: EventStream = "default",
        nested: Literal["dots", "json"] = "dots",
    ) -> Stream[pa.RecordBatch]:
        """The same rows as Arrow record batches: nested keys as dotted columns.

        With `nested="json"`, a nest of keys is one column of JSON text instead. A batch
        has the columns that its rows have values in. A column of numbers is int64 where
        W&B sent nothing but integers for the batch, else float64.

        >>> async for batch in run.scan_history_batches(keys=["train/*"]):
        ...     print(batch.num_rows, batch.schema.names)
        """
        wanted = chosen(keys, page_size, min_step, max_step, any_key, exclude, stream)
        return self._session.ahead(self._batches(wanted, stream, nested))

    async def _sampled_rows(self, samples: int, *, system: bool) -> list[dict[str, Any]]:
        found = await self._session.recall(sampled_rows(self.ref, samples, system=system))
        if found.project is None or found.project.run is None:
            raise self._gone()
        texts = found.project.run.history or ()
        return [flat_row(lenient.loads_object(text)) for text in texts]

    async def _row_pages(
        self, wanted: Selection, stream: EventStream, kind: type[msgspec.Struct] | None
    ) -> AsyncGenerator[list[Any]]:
        async with aclosing(self._pages(wanted, stream)) as pages:
            async for page in pages:
                for rows in page.rows():
                    yield rows if kind is None else as_structs(rows, kind, str(self.ref))

    async def _batches(
        self, wanted: Selection, stream: EventStream, nested: Literal["dots", "json"]
    ) -> AsyncGenerator[pa.RecordBatch]:
        from aiowandb.history.nesting import nested_as_json

        async with aclosing(self._pages(wanted, stream)) as pages:
            async for page in pages:
                for batch in await page.batches():
                    yield nested_as_json(batch) if nested == "json" else batch

    async def _pages(self, wanted: Selection, stream: EventStream) -> AsyncGenerator[Page]:
        from aiowandb.history import scan_run, scan_system

        scan = scan_run if stream == "default" else scan_system
        async with aclosing(scan(self._session, self.ref, wanted)) as pages:
            async for page in pages:
                yield page


async def scan_many(
    session: Session, runs: AsyncIterable[R] | Iterable[R], wanted: Selection, ordered: bool
) -> AsyncGenerator[tuple[R, pa.RecordBatch]]:
    """The batches of many runs, each with its run."""
    from aiowandb.history import scan_batches

    under_way: dict[RunRef, R] = {}

    async def refs() -> AsyncGenerator[RunRef]:
        async with aclosing(each_of(runs)) as every:
            async for run in every:
                under_way[run.ref] = run
                yield run.ref

    async with (
        aclosing(refs()) as own,
        aclosing(scan_batches(session, own, wanted, ordered=ordered)) as batches,
    ):
        async for ref, batch in batches:
            if batch is None:
                under_way.pop(ref, None)
            else:
                yield under_way[ref], batch


def chosen(
    keys: Sequence[str] | None,
    page_size: int = 1000,
    min_step: int | None = None,
    max_step: int | None = None,
    any_key: bool = False,
    exclude: Sequence[str] = (),
    stream: EventStream = "default",
) -> Selection:
    """The rows that the arguments of a scan speak of, if they can."""
    from aiowandb.history import Selection

    if page_size < 1:
        raise UsageError(f"page_size must be at least 1, not {page_size}.")
    if stream != "default" and (min_step, max_step) != (None, None):
        raise UsageError("The system metrics have no steps: leave min_step and max_step out.")
    return Selection(
        keys=checked_keys(keys) or None,
        any_key=any_key,
        exclude=checked_keys(exclude),
        min_step=min_step or 0,
        max_step=max_step,
        page_size=page_size,
    )


def checked_keys(keys: Sequence[str] | None) -> tuple[str, ...]:
    """The keys, if they are a list of them; none at all stand for every key."""
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys or ()):
        raise UsageError(f"keys must be specified in a list of strings, not {keys!r}.")
    return tuple(keys or ())
