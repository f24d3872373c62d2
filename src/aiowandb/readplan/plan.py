"""A plan: the rows of a project, where they are, and everything that is needed to read them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import pyarrow as pa
import pyarrow.dataset as ds

from aiowandb.arguments import check_steps, integer, optional
from aiowandb.errors import UsageError
from aiowandb.history.selection import Selection
from aiowandb.readplan import frames
from aiowandb.readplan.links import ends_at
from aiowandb.readplan.origin import Origin
from aiowandb.readplan.part import Columns, PartData, ReadPart
from aiowandb.readplan.pickling import pickled
from aiowandb.readplan.runs import RunSlice, lay_out, narrowed

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl

    from aiowandb.choices import FrameFormat
    from aiowandb.net import Session


_STEP = optional(integer(0))


class PlanData(msgspec.Struct, frozen=True, array_like=True):
    """The data of a plan."""

    origin: Origin
    columns: Columns
    selection: Selection
    slices: tuple[RunSlice, ...]
    runs: int
    requests: int
    after: Mapping[str, int] = {}


class ReadPlan(ds.Dataset):
    """The rows of many runs as a table, which is read when it is used.

    Made by `Runs.plan()`. Engines split it into parts and read them in any process; duckdb, polars
    and other libraries that support Arrow's datasets or streams read the plan directly, as often
    as they like and only the columns that they need.

    >>> plan = await api.runs("entity/project").plan(keys=["loss"])
    >>> parts = plan.parts(64)
    >>> duckdb.sql("SELECT run_id, min(loss) FROM plan GROUP BY run_id")
    """

    def __init__(self, data: PlanData) -> None:
        # Arrow's own `__init__` is not called: its datasets are made in C++.
        self._data = data
        self._all = ReadPart(PartData(data.origin, data.columns, data.selection, data.slices))

    @property
    def schema(self) -> pa.Schema:
        """The columns: `run_id`, `_step`, then the keys, as in an export."""
        return self._all.schema

    @property
    def clashes(self) -> tuple[str, ...]:
        """The columns that are JSON text because their values have no common type."""
        return self._data.columns.clashes

    @property
    def runs(self) -> int:
        """The number of runs."""
        return self._data.runs

    @property
    def rows(self) -> int:
        """The approximate number of rows, as counted by W&B."""
        return self._all.rows

    @property
    def requests(self) -> int:
        """The number of requests that were needed for this plan."""
        return self._data.requests

    @property
    def expires_at(self) -> datetime | None:
        """When the first of its links expires; None if that is unknown or there are no links."""
        links = (url for one in self._data.slices for url in one.run.segments)
        return min(filter(None, map(ends_at, links)), default=None)

    @property
    def last_steps(self) -> dict[str, int]:
        """The last step of each run in this plan or in the plans before it.

        Pass it to `Runs.plan(after=)` to plan only what is new.
        """
        found = dict(self._data.after)
        for one in self._data.slices:
            end = one.run.end if one.max_step is None else min(one.run.end, one.max_step)
            found[one.run.run] = end - 1
        return found

    def select(
        self,
        *,
        runs: Collection[str] | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
        last_steps: Mapping[str, int] | None = None,
    ) -> ReadPlan:
        """The plan for some of the rows: of these runs, with steps in `[min_step, max_step)`.

        With `last_steps` of another plan, only its runs, up to these steps.
        """
        min_step = _STEP("min_step", min_step)
        max_step = _STEP("max_step", max_step)
        check_steps(min_step, max_step)
        if isinstance(runs, str):
            raise UsageError(f"runs must be a list of ids: write [{runs!r}].")
        slices = narrowed(self._data.slices, runs, min_step or 0, max_step, last_steps)
        names = len({one.run.run for one in slices})
        return ReadPlan(msgspec.structs.replace(self._data, slices=tuple(slices), runs=names))

    def parts(self, count: int) -> list[ReadPart]:
        """The rows in at most `count` parts of about the same size.

        The parts have the order of an export. A run of more than 50,000 rows may span several
        parts; a shorter one never does.
        """
        number = integer(1)("count", count)
        data = self._data
        return [
            ReadPart(PartData(data.origin, data.columns, data.selection, tuple(group)))
            for group in lay_out(data.slices, number)
        ]

    def read(
        self, columns: Sequence[str] | None = None, *, refresh: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """All rows, like `ReadPart.read`."""
        return self._all.read(columns, refresh=refresh)

    def reader(
        self, columns: Sequence[str] | None = None, *, refresh: bool = False
    ) -> pa.RecordBatchReader:
        """All rows as an Arrow stream."""
        return self._all.reader(columns, refresh=refresh)

    def scanner(  # type: ignore[override]
        self, columns: Any = None, filter: ds.Expression | None = None, **options: Any
    ) -> ds.Scanner:
        """What Arrow's own way to read a dataset is: the rows of a filter, and some columns.

        Nothing is read of columns that neither of them names.
        """
        return frames.scanner(self._all, columns, filter, options)

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> Any:
        """The rows as a relation of duckdb. Each query reads what it needs.

        >>> plan.to_duckdb().aggregate("run_id, min(loss)")
        """
        return frames.to_duckdb(self, connection)

    def to_lazy(self) -> pl.LazyFrame:
        """The rows as a LazyFrame of polars. Each query reads what it needs."""
        return frames.to_lazy(self._all)

    def to_frame(self, format: FrameFormat = "polars") -> pl.DataFrame | pd.DataFrame | pa.Table:
        """All rows as a frame of polars or pandas, or as an Arrow table."""
        return frames.to_frame(self._all, format)

    async def _frame_by(self, session: Session, format: FrameFormat) -> Any:
        """The same, read by a session that there is."""
        return await frames.read_frame(session, self._all, format)

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Lets libraries that support Arrow's streams read the plan directly."""
        return self.reader().__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]

    def __reduce__(self) -> tuple[object, ...]:
        return pickled(ReadPlan, self._data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadPlan) and self._data == other._data

    def __hash__(self) -> int:
        return hash((self.runs, self._all))

    def __repr__(self) -> str:
        where = f"{self._data.origin.entity}/{self._data.origin.project}"
        return f"<ReadPlan {where}: {self.runs:,} runs, about {self.rows:,} rows>"

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UsageError(
            "A read plan does not support this: use parts(), scanner(), to_lazy() or to_duckdb()."
        )

    # Those of Arrow's datasets that reach behind `scanner`, where there is nothing.
    if not TYPE_CHECKING:
        get_fragments = _get_fragments = filter = replace_schema = _refuse
        join = join_asof = sort_by = _scanner_options = _refuse
        partition_expression = None
