"""W&B as a data source of Spark: `spark.read.format("wandb")`, and `spark.readStream` too.

The driver plans, with its API key; executors read parts without a key and without rate limits.
They need aiowandb installed. Sail, which carries out Spark's programs without Java, reads batches.

    spark.dataSource.register(WandbDataSource)
    reader = spark.read.format("wandb").option("path", "entity/project").option("keys", "loss")
    frame = reader.load()
"""
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from aiowandb.engines.options import SourceOptions
from aiowandb.errors import extra_needed
from aiowandb.readplan import ReadPart, ReadPlan
from aiowandb.readplan.part import plain_schema
from aiowandb.wire.rows import STEP

with extra_needed("spark", "aiowandb.engines.spark"):
    from pyspark.sql.datasource import (
        DataSource,
        DataSourceReader,
        DataSourceStreamReader,
        EqualTo,
        Filter,
        GreaterThan,
        GreaterThanOrEqual,
        In,
        InputPartition,
        LessThan,
        LessThanOrEqual,
    )
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
    from pyspark.sql.types import StructType


class WandbDataSource(DataSource):  # type: ignore[misc]
    """The rows of a project, for `spark.read.format("wandb")`.

    Options are those of `Runs.plan`, and `path`, `filters` (JSON), `parts` and `base_url`.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        super().__init__(dict(options))
        self._parsed = SourceOptions.parse(options)
        self._planned: ReadPlan | None = None

    @classmethod
    def name(cls) -> str:
        return "wandb"

    def schema(self) -> StructType:
        return from_arrow_schema(plain_schema(self._plan().schema))

    def reader(self, schema: StructType) -> DataSourceReader:
        return _PlanReader(self._plan(), self._parsed.parts, schema)

    def streamReader(self, schema: StructType) -> DataSourceStreamReader:  # noqa: N802
        return _StreamReader(self._parsed, schema)

    def _plan(self) -> ReadPlan:
        if self._planned is None:
            self._planned = self._parsed.plan()
        return self._planned


class _Partition(InputPartition):  # type: ignore[misc]
    def __init__(self, part: ReadPart) -> None:
        super().__init__(part)


class _PartReader:
    def __init__(self, schema: StructType | pa.Schema) -> None:
        # Sail, which speaks Spark's protocol, gives an Arrow schema.
        self._schema = schema if isinstance(schema, pa.Schema) else to_arrow_schema(schema)

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        part: ReadPart | None = partition.value
        if part is None:
            return  # where there are no partitions, Spark reads one of its own
        known = [name for name in self._schema.names if name in part.schema.names]
        for batch in part.read(known):
            yield _conformed(batch, self._schema)


class _PlanReader(_PartReader, DataSourceReader):  # type: ignore[misc]
    def __init__(self, plan: ReadPlan, parts: int, schema: StructType) -> None:
        super().__init__(schema)
        self._plan = plan
        self._parts = parts

    def pushFilters(self, filters: list[Filter]) -> Iterator[Filter]:  # noqa: N802
        for each in filters:
            self._plan = _pushed(self._plan, each)
            yield each  # Spark filters the rows again

    def partitions(self) -> Sequence[InputPartition]:
        return [_Partition(part) for part in self._plan.parts(self._parts)]


class _StreamReader(_PartReader, DataSourceStreamReader):  # type: ignore[misc]
    """New rows, by the last step of each run: each row comes once, even after a restart."""

    def __init__(self, options: SourceOptions, schema: StructType) -> None:
        super().__init__(schema)
        self._options = options

    def initialOffset(self) -> dict[str, int]:  # noqa: N802
        return {}

    def latestOffset(self, start: dict[str, int], *_: Any) -> dict[str, int]:  # noqa: N802
        return start | self._options.last_steps()

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> Sequence[InputPartition]:
        plan = self._options.plan(after=start).select(last_steps=end)
        return [_Partition(part) for part in plan.parts(self._options.parts)]


def _pushed(plan: ReadPlan, each: Filter) -> ReadPlan:
    """The plan without runs and steps that the filter certainly excludes."""
    match each:
        case EqualTo(attribute=("run_id",), value=str(run)):
            return plan.select(runs={run})
        case In(attribute=("run_id",), value=runs):
            return plan.select(runs=set(runs))
        case EqualTo(attribute=(name,), value=int(step)) if name == STEP and step >= 0:
            return plan.select(min_step=step, max_step=step + 1)
        case GreaterThan(attribute=(name,), value=int(step)) if name == STEP and step >= 0:
            return plan.select(min_step=step + 1)
        case GreaterThanOrEqual(attribute=(name,), value=int(step)) if name == STEP and step >= 0:
            return plan.select(min_step=step)
        case LessThan(attribute=(name,), value=int(step)) if name == STEP and step > 0:
            return plan.select(max_step=step)
        case LessThanOrEqual(attribute=(name,), value=int(step)) if name == STEP and step >= 0:
            return plan.select(max_step=step + 1)
    return plan


def _conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with exactly these columns; keys that its runs do not have are null."""
    names = batch.schema.names
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
