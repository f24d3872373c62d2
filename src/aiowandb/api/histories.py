"""What a run gives of its rows: a sample, all of them, or all of them as columns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aiowandb.api.belongings import Belongings
from aiowandb.api.rows import RowType, as_frame, row_type
from aiowandb.api.samples import sample_rows
from aiowandb.arguments import (
    ANY_NAMES,
    FLAG,
    NAMES,
    Check,
    check_steps,
    checks,
    choice,
    no_such,
    optional,
    shown,
    text,
    warn,
    whole,
)
from aiowandb.choices import EventStream, Nested
from aiowandb.concurrency.tasks import Items, Stream, each_of
from aiowandb.errors import UsageError
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.dotted import OWN_KEYS, unknown_keys
from aiowandb.wire.history import sampled_rows
from aiowandb.wire.record import RunRecord
from aiowandb.wire.rows import flat_row

if TYPE_CHECKING:
    import pyarrow as pa

    from aiowandb.history import Selection
    from aiowandb.history.pages import Page

R = TypeVar("R", bound=RunRecord)
S = TypeVar("S")

_SCAN = {
    "keys": optional(NAMES),
    "page_size": whole(1),
    "min_step": optional(whole(0)),
    "max_step": optional(whole(0)),
    "any_key": FLAG,
    "exclude": ANY_NAMES,
    "stream": choice(EventStream),
}
_ROW_TYPE = Check(
    "a msgspec.Struct, dataclass, attrs class, TypedDict, NamedTuple or pydantic model", row_type
)


class Histories(Belongings, kw_only=True, dict=True, eq=False):
    """The part of `Run` that leads to its rows."""

    @checks(
        samples=whole(1),
        keys=optional(NAMES),
        x_axis=text("the name of a key"),
        stream=choice(EventStream),
        pandas=FLAG,
    )
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
        if keys and stream == "default":
            self._warn_of_unknown([*keys, x_axis])
        rows = await self._sample(samples, keys, x_axis, stream)
        return as_frame(rows) if pandas else rows

    async def _sample(
        self, samples: int, keys: Sequence[str] | None, x_axis: str, stream: EventStream
    ) -> list[dict[str, Any]]:
        if not keys:
            rows = await self._sampled_rows(samples, system=stream != "default")
        elif stream != "default":
            raise UsageError("keys= selects from the history; the system metrics come whole.")
        else:
            rows = await sample_rows(self._session, self, keys, x_axis, samples)
        return rows

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

    @checks(**_SCAN, type=optional(_ROW_TYPE))
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
        type: Any = None,
    ) -> Stream[Any]:
        """Every row in step order; with `keys`, every row that has all of these keys.

        `any_key` takes rows that have one of them. `exclude` names keys to leave out.
        Both take globs, like `val.*`, and a key that others are nested in, like `val`,
        stands for those. `min_step` is included, `max_step` is not. `stream="system"`
        gives the system metrics, which have no steps. A key that the run does not have, as
        far as is known, is an `AiowandbWarning`.

        With `type`, each row is made into that `msgspec.Struct`, dataclass, attrs class,
        TypedDict, NamedTuple or pydantic model. Keys that are no names of Python are
        renamed there: `field(name="val.loss")` in a Struct, `Field(alias=...)` in pydantic.
        A row that does not fit is a `RowError`: take only rows that have all fields with
        `keys`, or give a default to those that some rows do not have.

        A row has what was logged in it, nested keys under dotted names, whether W&B sent
        JSON or Parquet. A number without a fraction is an int, as 1.0 is sent like 1; any
        other one is a float. A None that was logged is not there. Where some rows have
        fractions, Parquet rounds integers beyond 2^53 and has NaN for a word "NaN".

        >>> async for row in run.scan_history(keys=["loss"]):
        ...     print(row["_step"], row["loss"])
        """
        wanted = self._chosen(keys, page_size, min_step, max_step, any_key, exclude, stream)
        return Items(self._session.ahead(self._row_pages(wanted, stream, type)))

    @checks(**_SCAN, nested=choice(Nested))
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
        nested: Nested = "dots",
    ) -> Stream[pa.RecordBatch]:
        """The same rows as Arrow record batches: nested keys as dotted columns.

        With `nested="json"`, a nest of keys is one column of JSON text instead. A batch
        has the columns that its rows have values in. A column of numbers is int64 where
        W&B sent nothing but integers for the batch, else float64.

        >>> async for batch in run.scan_history_batches(keys=["train/*"]):
        ...     print(batch.num_rows, batch.schema.names)
        """
        wanted = self._chosen(keys, page_size, min_step, max_step, any_key, exclude, stream)
        return self._session.ahead(self._batches(wanted, stream, nested))

    def _chosen(
        self,
        keys: Sequence[str] | None,
        page_size: int,
        min_step: int | None,
        max_step: int | None,
        any_key: bool,
        exclude: Sequence[str],
        stream: EventStream,
    ) -> Selection:
        if stream == "default":
            self._warn_of_unknown(keys or ())
            self._warn_of_unknown(exclude)
        elif (min_step, max_step) != (None, None):
            raise UsageError("The system metrics have no steps: leave min_step and max_step out.")
        return chosen(keys, page_size, min_step, max_step, any_key, exclude)

    def _warn_of_unknown(self, keys: Sequence[str]) -> None:
        """Warn of keys that the run does not have, if its keys came with it."""
        unknown = UnknownKeys(keys)
        unknown.look_at(self)
        unknown.warn(f"in run {self.ref}")

    async def _sampled_rows(self, samples: int, *, system: bool) -> list[dict[str, Any]]:
        found = await self._session.recall(sampled_rows(self.ref, samples, system=system))
        if found.project is None or found.project.run is None:
            raise self._gone()
        texts = found.project.run.history or ()
        return [flat_row(lenient.loads_object(text)) for text in texts]

    async def _row_pages(
        self, wanted: Selection, stream: EventStream, kind: RowType | None
    ) -> AsyncGenerator[list[Any]]:
        async with aclosing(self._pages(wanted, stream)) as pages:
            async for page in pages:
                for rows in page.rows():
                    yield rows if kind is None else kind.rows(rows, str(self.ref))

    async def _batches(
        self, wanted: Selection, stream: EventStream, nested: Nested
    ) -> AsyncGenerator[pa.RecordBatch]:
        from aiowandb.history.pages import nested_as_json

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


class UnknownKeys:
    """Keys that were asked for, and that none of the runs has so far."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._known: dict[str, None] = {}

    def look_at(self, run: RunRecord) -> None:
        """Strike out what this run has; without its keys, nothing can be said of any."""
        if not self._keys:
            return
        if run.history_keys:
            names = [*run.history_keys.keys, *OWN_KEYS]
            self._keys = unknown_keys(self._keys, names)
            self._known |= dict.fromkeys(names)
        elif run.history_line_count != 0:
            self._keys = []

    def warn(self, place: str = "in any of the runs") -> None:
        """Warn of those that are left, if there was any key at all."""
        for key in self._keys if self._known else ():
            warn(no_such("key", key, self._known, place))


async def scan_many(
    session: Session, runs: AsyncIterable[R] | Iterable[R], wanted: Selection, ordered: bool
) -> AsyncGenerator[tuple[R, pa.RecordBatch]]:
    """The batches of many runs, each with its run."""
    from aiowandb.history import scan_batches

    under_way: dict[RunRef, R] = {}
    unknown = UnknownKeys([*(wanted.keys or ()), *wanted.exclude])

    async def refs() -> AsyncGenerator[RunRef]:
        async with aclosing(each_of(runs)) as every:
            async for run in every:
                if not isinstance(run, RunRecord):
                    raise UsageError(f"runs must be runs, and among them is {shown(run)}.")
                unknown.look_at(run)
                under_way[run.ref] = run
                yield run.ref
        unknown.warn()

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
) -> Selection:
    """The rows that the arguments of a scan speak of, if there can be any."""
    from aiowandb.history import Selection

    check_steps(min_step, max_step)
    return Selection(
        keys=tuple(keys or ()) or None,
        any_key=any_key,
        exclude=tuple(exclude),
        min_step=min_step or 0,
        max_step=max_step,
        page_size=page_size,
    )
