"""Brings a dataset up to date: plans, reads what is not there, and tries once more what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiowandb.export.collect import carry_out
from aiowandb.export.dataset import Dataset
from aiowandb.export.events import RowsWanted
from aiowandb.export.options import ExportOptions
from aiowandb.export.parts import places
from aiowandb.export.plan import PART_ROWS, Plan, plan_parts
from aiowandb.export.result import RunFailure
from aiowandb.export.sources import RowSource
from aiowandb.export.tally import Tally
from aiowandb.threads import run_sync

# A run that fails is tried again at the end of the export, then by the next export.
_TRIES = 2


async def update_rows(
    source: RowSource, dataset: Dataset, options: ExportOptions, tally: Tally
) -> list[RunFailure]:
    """Have the rows of all runs in the dataset, but of those that fail again and again."""
    refs = {ref.run: ref for ref in source.runs}
    failures: dict[str, list[RunFailure]] = {}
    await run_sync(dataset.widen, dataset.schema.widened(source.keys))
    while plan := _plan(source, dataset, options, failures):
        first_steps = {refs[work.listed.run]: work.first_step for work in plan.fetched}
        tally.tell(RowsWanted(source.name, len(first_steps), plan.rows_to_come))
        async with source.open_lanes(first_steps) as lanes:
            for failure in await carry_out(plan, dataset, lanes, tally):
                failures.setdefault(failure.run, []).append(failure)
    return [found[-1] for found in failures.values() if len(found) == _TRIES]


def _plan(
    source: RowSource,
    dataset: Dataset,
    options: ExportOptions,
    failures: Mapping[str, Sequence[RunFailure]],
) -> Plan:
    given_up = {run for run, found in failures.items() if len(found) == _TRIES}
    where = places(dataset.parts)
    wanted = [
        # What there is of a run that is given up stays.
        where[listed.run].held.listed if listed.run in given_up else listed
        for listed in source.runs.values()
        if listed.run not in given_up or listed.run in where
    ]
    return plan_parts(
        wanted,
        dataset.parts,
        schema=dataset.schema_number,
        next_number=dataset.next_number,
        part_rows=PART_ROWS,
        split=options.split == "run",
        follows=source.follows,
        unique=options.format == "delta",
    )
