"""W&B as a source of dlt: new rows since the last run of a pipeline, merged by run and step.

pipeline = dlt.pipeline("wandb", destination="duckdb", dataset_name="wandb")
pipeline.run(wandb_source("entity/project"))
"""
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from hashlib import sha256
from typing import Any, Literal, get_args

import pyarrow as pa

from aiowandb.arguments import choices
from aiowandb.engines.options import SourceOptions
from aiowandb.errors import extra_needed
from aiowandb.readplan import ReadPlan
from aiowandb.readplan.part import plain_schema
from aiowandb.sync import Api

with extra_needed("dlt", "aiowandb.engines.dlt"):
    import dlt

Table = Literal["runs", "history", "system"]
# The key of the last steps in the state of a pipeline.
_LAST_STEPS = "last_steps"
# The key of what each column of a table is called in W&B.
_COLUMNS = "columns"


def wandb_source(
    path: str,
    what: Collection[Table] = ("runs", "history"),
    *,
    keys: Sequence[str] | None = None,
    any_key: bool = True,
    exclude: Sequence[str] = (),
    check_files: bool = False,
    filters: Mapping[str, Any] | None = None,
    base_url: str | None = None,
) -> Any:
    """A source with these tables of a project as resources.

    `history` is incremental: the pipeline's state has the last step of each run, and only later
    rows are read. It is merged by `run_id` and `_step`, the runs by `run_id`, so that a pipeline
    that was interrupted makes no duplicates. The API key comes from the environment or netrc.
    """
    tables = choices(Table)("what", what)
    options = SourceOptions(
        path=path,
        keys=tuple(keys or ()) or None,
        any_key=any_key,
        exclude=tuple(exclude),
        check_files=check_files,
        filters=filters,
        base_url=base_url,
    )
    resources = {
        "runs": dlt.resource(_runs, name="runs", primary_key="run_id", write_disposition="merge"),
        "history": dlt.resource(
            _history, name="history", primary_key=("run_id", "_step"), write_disposition="merge"
        ),
        "system": dlt.resource(
            _system, name="system", primary_key=("run_id", "_timestamp"), write_disposition="merge"
        ),
    }

    @dlt.source(name="wandb")  # type: ignore[untyped-decorator]
    def wandb() -> Iterator[Any]:
        for table in get_args(Table):
            if table in tables:
                yield resources[table](options)

    return wandb()


def _runs(options: SourceOptions) -> Iterator[pa.Table]:
    with Api(base_url=options.base_url) as api:
        table = api.runs(options.path, options.filters).to_arrow()
    schema = _with_keys(plain_schema(table.schema))
    names = _distinct(schema.names, dlt.current.resource_state())
    yield table.cast(schema).rename_columns(names)


def _history(options: SourceOptions) -> Iterator[pa.Table]:
    state = dlt.current.resource_state()
    plan = options.plan(after=state.get(_LAST_STEPS))
    yield from _batches(plan, state)
    # After the last row: dlt commits the state together with the rows, or neither.
    state[_LAST_STEPS] = plan.last_steps


def _system(options: SourceOptions) -> Iterator[pa.Table]:
    with Api(base_url=options.base_url) as api:
        plan = options.runs(api).plan(stream="system")
    yield from _batches(plan, dlt.current.resource_state())


def _with_keys(schema: pa.Schema) -> pa.Schema:
    """The schema for dlt, in which the merge keys are never null."""
    return pa.schema(
        [field.with_nullable(field.name not in ("run_id", "_step")) for field in schema]
    )


def _batches(plan: ReadPlan, state: MutableMapping[str, Any]) -> Iterator[pa.Table]:
    schema = _with_keys(plain_schema(plan.schema))
    names = _distinct(schema.names, state)
    for batch in plan.read():
        yield pa.Table.from_batches([batch.cast(schema)]).rename_columns(names)


def _distinct(names: Sequence[str], state: MutableMapping[str, Any]) -> list[str]:
    """Names that dlt does not spell alike, as it does with `val.acc` and `val/acc`.

    Who came first keeps the column, in later runs of the pipeline too; others have a suffix.
    """
    spelled = dlt.current.source_schema().naming.normalize_path
    owners = state.setdefault(_COLUMNS, {})
    return [
        name
        if owners.setdefault(spelled(name).casefold(), name) == name
        else f"{name}_{sha256(name.encode()).hexdigest()[:6]}"
        for name in names
    ]
