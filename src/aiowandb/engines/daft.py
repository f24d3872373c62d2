"""W&B as a data source of Daft, on its local runner and on Ray.

    frame = aiowandb.engines.daft.read("entity/project", keys=["loss"])

Daft's own Parquet reader is not used: it would show the signed links in its plans, and W&B's files
do not have the columns of an export.
"""
# pyright: reportMissingImports=false, reportUntypedBaseClass=false

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from typing import Any

import anyio.to_thread
import pyarrow as pa

from aiowandb.choices import EventStream, LiveRows
from aiowandb.engines.options import SourceOptions
from aiowandb.errors import extra_needed
from aiowandb.readplan import ReadPart, ReadPlan
from aiowandb.readplan.part import plain_schema

with extra_needed("daft", "aiowandb.engines.daft"):
    import daft
    from daft.io.pushdowns import Pushdowns
    from daft.io.source import DataSource, DataSourceTask
    from daft.recordbatch import RecordBatch
    from daft.schema import Schema


def read(
    path: str,
    *,
    keys: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    min_step: int | None = None,
    max_step: int | None = None,
    any_key: bool = True,
    stream: EventStream = "default",
    live: LiveRows = "read",
    check_files: bool = False,
    filters: Mapping[str, Any] | None = None,
    parts: int = 64,
    base_url: str | None = None,
) -> daft.DataFrame:
    """All rows of the runs of a project as a DataFrame of Daft; see `Runs.plan`."""
    options = SourceOptions(
        path=path,
        keys=tuple(keys or ()) or None,
        exclude=tuple(exclude),
        min_step=min_step,
        max_step=max_step,
        any_key=any_key,
        stream=stream,
        live=live,
        check_files=check_files,
        filters=filters,
        parts=parts,
        base_url=base_url,
    )
    return ReadPlanSource(options.plan(), parts).read()


class ReadPlanSource(DataSource):  # type: ignore[misc]
    """The rows of a plan as a data source of Daft."""

    def __init__(self, plan: ReadPlan, parts: int = 64) -> None:
        self._plan = plan
        self._parts = parts

    @property
    def name(self) -> str:
        return "wandb"

    @property
    def schema(self) -> Schema:
        return Schema.from_pyarrow_schema(plain_schema(self._plan.schema))

    async def get_tasks(self, pushdowns: Pushdowns) -> AsyncIterator[DataSourceTask]:
        """A task per part, which also reads the columns of filters: Daft applies these."""
        columns = _needed(self._plan.schema.names, pushdowns)
        limit = pushdowns.limit if pushdowns.filters is None else None
        for part in self._plan.parts(self._parts):
            yield WandbTask(part, columns, limit)


class WandbTask(DataSourceTask):  # type: ignore[misc]
    """Reads the rows of a part, in any process of Daft."""

    def __init__(self, part: ReadPart, columns: list[str] | None, limit: int | None) -> None:
        self._part = part
        self._columns = columns
        self._limit = limit

    @property
    def schema(self) -> Schema:
        return Schema.from_pyarrow_schema(self._arrow)

    @property
    def _arrow(self) -> pa.Schema:
        schema = plain_schema(self._part.schema)
        names = schema.names if self._columns is None else self._columns
        return pa.schema([schema.field(name) for name in names])

    async def read(self) -> AsyncIterator[RecordBatch]:
        """The batches, which are fetched in a thread because that blocks."""
        batches = self._batches()
        while (batch := await anyio.to_thread.run_sync(next, batches, None)) is not None:
            yield RecordBatch.from_arrow_record_batches([batch], self._arrow)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        left = self._limit
        for batch in self._part.read(self._columns):
            some = batch if left is None else batch.slice(0, left)
            yield some.cast(self._arrow)
            if left is not None:
                left -= some.num_rows
                if not left:
                    return


def _needed(names: Collection[str], pushdowns: Pushdowns) -> list[str] | None:
    if pushdowns.columns is None:
        return None
    wanted = {*pushdowns.columns, *pushdowns.filter_required_column_names()}
    return [name for name in names if name in wanted]
