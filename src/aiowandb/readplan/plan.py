"""A plan: which rows of a project there are, where they lie, and what it takes to read them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import pyarrow as pa
import pyarrow.dataset as ds

from aiowandb.arguments import check_steps, integer
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


class PlanData(msgspec.Struct, frozen=True, array_like=True):
    """Everything that a plan is."""

    origin: Origin
    columns: Columns
    selection: Selection
    slices: tuple[RunSlice, ...]
    runs: int
    requests: int
    after: Mapping[str, int] = {}


class ReadPlan(ds.Dataset):
    """The rows of many runs as a table that is read where and when it is used.

    Made by `Runs.plan()`. Engines cut it into parts and read them wherever they like; duckdb,
    polars and whatever else knows Arrow's datasets or streams read the plan itself, again and
    again, and only the columns that they need.

    >>> plan = await api.runs("entity/project").plan(keys=["loss"])
    >>> parts = plan.parts(64)
    >>> duckdb.sql("SELECT run_id, min(loss) FROM plan GROUP BY run_id")
    """

    def __init__(self, data: PlanData) -> None:
        # Not that of Arrow's own datasets, which are made in C++.
        self._data = data
        self._all = ReadPart(PartData(data.origin, data.columns, data.selection, data.slices))

    @property
    def schema(self) -> pa.Schema:
        """The columns: `run_id`, `_step`, then the keys, as an export would have them."""
        return self._all.schema

    @property
    def clashes(self) -> tuple[str, ...]:
        """The columns of JSON text whose values are of kinds that have nothing in common."""
        return self._data.columns.clashes

    @property
    def runs(self) -> int:
        """How many runs it covers."""
        return self._data.runs

    @property
    def rows(self) -> int:
        """About how many rows it covers, as W&B counts them."""
        return self._all.rows

    @property
    def requests(self) -> int:
        """How many requests it took to make it."""
        return self._data.requests

    @property
    def expires_at(self) -> datetime | None:
        """When the first of its links ends, or None if they do not say or there are none."""
        links = (url for one in self._data.slices for url in one.run.segments)
        return min(filter(None, map(ends_at, links)), default=None)

    @property
    def last_steps(self) -> dict[str, int]:
        """The last step of each run that this plan, or one before it, covers.

        Handed to `Runs.plan(after=)` it plans what is new.
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
        """The plan of some of its rows: of these runs, with steps in `[min_step, max_step)`.

        With `last_steps`, as another plan has them, of the runs that it names and up to there.
        """
        check_steps(min_step, max_step)
        slices = narrowed(self._data.slices, runs, min_step or 0, max_step, last_steps)
        names = len({one.run.run for one in slices})
        return ReadPlan(msgspec.structs.replace(self._data, slices=tuple(slices), runs=names))

    def parts(self, count: int) -> list[ReadPart]:
        """The same rows in at most so many parts of about as many rows each.

        They follow each other as an export has the rows. A run of more than 50,000 rows may span
        several parts, a shorter one never does.
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
        """All rows, as `ReadPart.read` gives those of a part."""
        return self._all.read(columns, refresh=refresh)

    def reader(
        self, columns: Sequence[str] | None = None, *, refresh: bool = False
    ) -> pa.RecordBatchReader:
        """All rows as one Arrow stream."""
        return self._all.reader(columns, refresh=refresh)

    def scanner(  # type: ignore[override]
        self, columns: Any = None, filter: ds.Expression | None = None, **options: Any
    ) -> ds.Scanner:
        """What Arrow's own way to read a dataset is: the rows of a filter, and some columns.

        Nothing is read of columns that neither of them names.
        """
        return frames.scanner(self._all, columns, filter, options)

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> Any:
        """The rows as a relation of duckdb, which reads what a query needs, each time anew.

        >>> plan.to_duckdb().aggregate("run_id, min(loss)")
        """
        return frames.to_duckdb(self, connection)

    def to_lazy(self) -> pl.LazyFrame:
        """The rows as a LazyFrame of polars, which reads what a query needs, each time anew."""
        return frames.to_lazy(self._all)

    def to_frame(self, format: FrameFormat = "polars") -> pl.DataFrame | pd.DataFrame | pa.Table:
        """All rows as one frame of polars or pandas, or as an Arrow table."""
        return frames.to_frame(self._all, format)

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """What whoever knows Arrow's streams reads the plan through, again and again."""
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
            "A read plan is read as a whole: use parts(), scanner(), to_lazy() or to_duckdb()."
        )

    # Those of Arrow's datasets that reach behind `scanner`, where there is nothing.
    if not TYPE_CHECKING:
        get_fragments = _get_fragments = filter = replace_schema = _refuse
        join = join_asof = sort_by = _scanner_options = _refuse
        partition_expression = None
