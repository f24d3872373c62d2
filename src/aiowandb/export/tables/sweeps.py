"""The table of sweeps: a row per sweep of the project, with the best of its runs.

Sweeps that were exported and then deleted at W&B are kept.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.errors import AiowandbError, CommError, NotFoundError
from aiowandb.export.folders.base import Folder
from aiowandb.export.parquet import bounded_rows
from aiowandb.export.runs_table import DELETED
from aiowandb.net import BatchSize, Session, ask_all
from aiowandb.net.paging import pages_of
from aiowandb.user_warnings import warn
from aiowandb.wire.connection import Connection
from aiowandb.wire.sweeps import BestRuns, SweepRecord, best_runs, list_sweeps

_TIME = pa.timestamp("us", tz="UTC")
_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("sweep", pa.string()),
    ("name", pa.string()),
    ("description", pa.string()),
    ("method", pa.string()),
    ("state", pa.string()),
    ("run_count", pa.int64()),
    ("expected_run_count", pa.int64()),
    ("best_run", pa.string()),
    ("best_loss", pa.float64()),
    ("metric", pa.string()),
    ("goal", pa.string()),
    ("created_at", _TIME),
    ("updated_at", _TIME),
    ("config", pa.string()),
    (DELETED, pa.bool_()),
]
_SCHEMA = pa.schema(_COLUMNS)
SWEEPS_PER_PAGE = 100


async def sweeps_table(session: Session, project: str) -> pa.Table:
    """All sweeps of the project `entity/project`."""
    entity, _, name = project.partition("/")
    rows: list[dict[str, Any]] = []
    size = BatchSize(50, 100)
    async with aclosing(sweep_pages(session, project)) as pages:
        async for sweeps in pages:
            best = await _best_runs(session, entity, name, sweeps, size)
            rows += [sweep_row(sweep) | {"best_run": best.get(sweep.id)} for sweep in sweeps]
    return pa.Table.from_pylist(rows, _SCHEMA)


def sweep_pages(session: Session, project: str) -> AsyncGenerator[list[SweepRecord]]:
    """The sweeps of the project `entity/project`, page by page."""
    entity, _, name = project.partition("/")

    async def page(cursor: str | None) -> Connection[SweepRecord]:
        found = await session.ask(list_sweeps(entity, name, SWEEPS_PER_PAGE, cursor))
        if found is None:
            raise NotFoundError(f"Could not find project {project}.", operation="GetSweeps")
        return found.sweeps

    return pages_of(f"the sweeps of {project}", page)


def with_deleted(sweeps: pa.Table, folder: Folder, name: str) -> pa.Table:
    """The table, and those sweeps of the table in the folder that W&B no longer has."""
    if folder.size(name) is None:
        return sweeps
    listed = sweeps["sweep"].combine_chunks()
    try:
        rows = {
            row["sweep"]: row
            for batch in bounded_rows(folder, name)
            for row in batch.filter(pc.invert(pc.is_in(batch["sweep"], listed))).to_pylist()
        }
    except (pa.ArrowException, OSError, KeyError):
        return sweeps  # it is damaged, and will be written again
    gone = [row | {DELETED: True} for row in rows.values()]
    return pa.concat_tables([sweeps, pa.Table.from_pylist(gone, _SCHEMA)])


async def _best_runs(
    session: Session, entity: str, project: str, sweeps: Sequence[SweepRecord], size: BatchSize
) -> dict[str, str]:
    """The best run by the id of the sweep, for those whose configuration names a metric."""

    def pick(found: BestRuns | None, index: int, _: tuple[str, str]) -> str | CommError | None:
        runs = (found or {}).get(f"s{index}")
        return runs.nodes[0].name if runs and runs.nodes else None

    asked = [(sweep.id, order) for sweep in sweeps if (order := _order(sweep))]
    answers = await ask_all(
        session, asked, lambda some: best_runs(entity, project, some), pick, size
    )
    best = {}
    for (sweep, _), answer in zip(asked, answers, strict=True):
        if isinstance(answer, str):
            best[sweep] = answer
        elif answer is not None:
            warn(f"The best run of sweep {entity}/{project}/{sweep} is unknown: {answer}")
    return best


def sweep_row(sweep: SweepRecord) -> dict[str, Any]:
    """The row of a sweep in the table, without its best run."""
    metric = _config(sweep).get("metric")
    metric = metric if isinstance(metric, Mapping) else {}
    return {
        "sweep": sweep.id,
        "name": sweep.display_name or _text(_config(sweep).get("name")),
        "description": sweep.description,
        "method": sweep.method,
        "state": sweep.state,
        "run_count": sweep.run_count,
        "expected_run_count": sweep.expected_run_count,
        "best_loss": sweep.best_loss,
        "metric": _text(metric.get("name")),
        "goal": _text(metric.get("goal")),
        "created_at": sweep.created_at,
        "updated_at": sweep.updated_at,
        "config": sweep.config_text,
        DELETED: False,
    }


def _config(sweep: SweepRecord) -> Mapping[str, Any]:
    """The configuration; empty if it cannot be decoded, as its text is in the table anyway."""
    try:
        return sweep.config
    except AiowandbError:
        return {}


def _order(sweep: SweepRecord) -> str | None:
    return sweep.order if _config(sweep) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
