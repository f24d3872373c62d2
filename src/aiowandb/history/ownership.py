"""Whether the Parquet files of a run have its rows, and not those of another run.

Files do not say which run they are of, and a gateway or a cache that mixes up links would put the
rows of one run into another. So the ranges of their numbers are compared with what W&B says of the
rows, and where they do not settle it, a column is searched. How W&B finds that is not documented:
before files are refused for it, it is compared with the last row, which W&B returns as JSON.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiowandb.errors import IncompleteHistoryError
from aiowandb.history.decode import decode_rows
from aiowandb.history.live import read_windows
from aiowandb.history.ranges import Range, Ranges, last_step
from aiowandb.history.row_facts import KeyFact, RowFacts
from aiowandb.net import BatchSize, Session
from aiowandb.paths import RunRef
from aiowandb.wire.history import Window
from aiowandb.wire.rows import STEP, TIME

_ROWS = 16_384


async def are_true(session: Session, ref: RunRef, facts: RowFacts) -> bool:
    """Whether facts are true of rows: those of one run of the session are compared with its last
    row, for which W&B is asked."""
    if session.row_facts_are_true is None:
        window = Window(ref, facts.last_step, facts.last_step + 1, 2)
        (answer,) = await read_windows(session, [window], BatchSize(1, 1))
        rows = decode_rows(answer.texts)
        session.row_facts_are_true = any(
            all(fact.fits(row.get(fact.name)) for fact in facts.keys) for row in rows
        )
    return session.row_facts_are_true


class FileCheck:
    """Compares the files of one run, one after another, with what W&B says of its rows.

    `look` raises if ranges contradict that, and returns which columns have to be searched;
    after `search`, `end_file` raises if nothing is left where a row could be.
    """

    def __init__(self, ref: RunRef, facts: RowFacts | None, files: int) -> None:
        self._ref = ref
        self._facts = facts
        self._files_left = files
        self._missing = {fact.name: fact for fact in facts.keys} if facts else {}
        self._last_step: int | None = -1

    @property
    def columns(self) -> Collection[str]:
        """The columns whose ranges `look` needs."""
        return (STEP, *(fact.name for fact in self._facts.keys)) if self._facts else ()

    def check(self, file: pq.ParquetFile, ranges: Ranges) -> None:
        """Raise if this file is of another run. Blocks."""
        for name, groups in self.look(file.metadata.num_rows, ranges).items():
            self.search(file, name, groups)
        self.end_file()

    def look(self, rows: int, ranges: Ranges) -> dict[str, list[int]]:
        """The columns to search, with their row groups."""
        self._files_left -= 1
        if not self._facts or not rows:
            return {}
        self._look_at_steps(self._facts, last_step(ranges))
        found = {}
        for fact in self._facts.keys:
            groups = self._look_at_column(ranges.get(fact.name), fact)
            if groups and fact.name in self._missing:
                found[fact.name] = groups
        return found

    def search(self, file: pq.ParquetFile, name: str, groups: list[int]) -> None:
        """Search a column for the value that a row must have. Blocks."""
        fact = self._missing[name]
        batches = file.iter_batches(_ROWS, row_groups=groups, columns=[name], use_threads=False)
        if any(_has(batch.column(0), fact) for batch in batches):
            del self._missing[name]

    def end_file(self) -> None:
        """Raise if this was the last file, and what must be in one of them is in none."""
        if self._files_left or not self._facts or self._facts.has_live:
            return
        for fact in self._missing.values():
            self._fail(f"no row has {fact.last!r} as {fact.name!r}, as its last one has")
        if self._last_step is not None and self._last_step < self._facts.last_step:
            self._fail(f"they end at step {self._last_step}, not at {self._facts.last_step}")

    def _look_at_steps(self, facts: RowFacts, last_step: int) -> None:
        if last_step > facts.last_step:
            self._fail(f"they go on to step {last_step}, and the run ends at {facts.last_step}")
        if last_step < 0:
            self._last_step = None
        elif self._last_step is not None:
            self._last_step = max(self._last_step, last_step)

    def _look_at_column(self, ranges: list[Range | None] | None, fact: KeyFact) -> list[int]:
        """The row groups that may have the value; none if it is there for certain."""
        if ranges is None:
            self._fail(f"they have no {fact.name!r}, which each of its rows has")
        groups = []
        for group, known in enumerate(ranges):
            if known is None:
                groups.append(group)
                continue
            low, high = known
            # Only of the time is it known what "monotonic" means.
            if fact.name == TIME and fact.never_falls and high > fact.last + fact.margin:
                self._fail(f"they have times up to {high!r}, and the last one is {fact.last!r}")
            if min(abs(low - fact.last), abs(high - fact.last)) <= fact.margin:
                self._missing.pop(fact.name, None)
            elif low < fact.last < high:
                groups.append(group)
        return groups

    def _fail(self, what: str) -> NoReturn:
        raise IncompleteHistoryError(
            f"The Parquet files that W&B returned for run {self._ref} are not its own: {what}.",
            operation="HistoryPlans",
        )


def _has(values: pa.Array[Any], fact: KeyFact) -> bool:
    """Whether one of the values is that of the fact; also if they are no numbers to compare."""
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        return True
    numbers = values.cast(pa.float64(), safe=False)
    near = pc.less_equal(pc.abs(pc.subtract(numbers, pa.scalar(fact.last))), pa.scalar(fact.margin))
    return bool(pc.any(near).as_py())
