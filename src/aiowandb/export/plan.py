"""Plans which parts to write so that they contain the selected runs as they are now.

These rules make a resumed export give the same bytes as one that was never interrupted:

- A part is a sequence of runs in the selected order; it ends with the run that fills it.
- A part whose runs are all unchanged stays, or is rewritten with new columns under its name.
- The runs of all other parts, of small parts, and new runs are laid out again.

Rows that were exported before, in a part or staged for one, are copied; only others are read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count

import msgspec

from aiowandb.export.names import file_name
from aiowandb.export.stored import Part, RowRange, RunSnapshot, StagedRun, locate_runs
from aiowandb.history.reading import Start

# A good file size for readers.
PART_ROWS = 1_000_000

Kept = RowRange | StagedRun


class RunTask(msgspec.Struct, frozen=True, gc=False):
    """One run of a new part: which of its rows are kept, and whether to fetch more.

    The fetched rows extend the kept ones if `extends`, or else replace them.
    """

    snapshot: RunSnapshot
    kept: Kept | None = None
    fetch: bool = False
    extends: bool = False

    @property
    def start(self) -> Start:
        """Where to start reading."""
        end = self.kept.stored.end if self.kept and self.extends else None
        return end or Start()


class NewPart(msgspec.Struct, frozen=True):
    """A part to be written."""

    number: int
    file: str
    tasks: tuple[RunTask, ...]


class Plan(msgspec.Struct, frozen=True):
    """The parts to write, and the numbers of those that they replace."""

    new: tuple[NewPart, ...] = ()
    drops: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.new or self.drops)

    @property
    def fetched(self) -> list[RunTask]:
        return [task for part in self.new for task in part.tasks if task.fetch]

    @property
    def expected_rows(self) -> int:
        """About how many rows will be fetched."""
        return sum(
            max(0, task.snapshot.estimated_rows - task.start.rows_before) for task in self.fetched
        )


def plan_parts(
    runs: Sequence[RunSnapshot],
    parts: Sequence[Part],
    *,
    schema_number: int,
    next_number: int,
    part_rows: int,
    split: bool = False,
    extend: bool = True,
    name_part: Callable[[int], str] | None = None,
    staged: Mapping[str, StagedRun] | None = None,
) -> Plan:
    """The plan that brings the parts up to date; empty if they are.

    With `split`, each run is a part of its own. Without `extend`, a run that has grown
    is read again. With `name_part`, no file name is reused.
    """
    part_rows = 1 if split else part_rows
    selected = {run.run: run for run in runs}
    located, staged = locate_runs(parts), staged or {}
    loose = {part.number for part in parts if not _is_current(part, selected, located)}
    if loose or not parts or not located.keys() >= selected.keys():
        # While files are written anyway, small ones are joined: each export of a live project
        # would leave one more.
        loose |= {part.number for part in parts if part.estimated_rows < part_rows // 2}
    staying = [part for part in parts if part.number not in loose]
    settled = {stored.snapshot.run for part in staying for stored in part.runs}
    groups = list(_lay_out((run for run in runs if run.run not in settled), part_rows))
    if not groups and not staying:
        groups.append([])  # a table without rows is a file too
    numbers = count(next_number)
    outdated = [part for part in staying if part.schema != schema_number]
    new = []
    for part in outdated:
        number = next(numbers)
        kept = (RunTask(stored.snapshot, located[stored.snapshot.run]) for stored in part.runs)
        new.append(NewPart(number, name_part(number) if name_part else part.file, tuple(kept)))
    taken = {part.file for part in staying}
    for group in groups:
        number = next(numbers)
        if split and group:
            file = f"{file_name(group[0].run)}.parquet"
        else:
            file = name_part(number) if name_part else _next_file(taken)
        taken.add(file)
        tasks = tuple(
            _task(run, (staged.get(run.run), located.get(run.run)), extend) for run in group
        )
        new.append(NewPart(number, file, tasks))
    return Plan(tuple(new), frozenset(loose) | {part.number for part in outdated})


def part_name(number: int, token: str = "") -> str:
    """The file name of a part: its number, and a token if a former part may have had the name."""
    return f"part-{number:05}{token and f'-{token}'}.parquet"


def _is_current(
    part: Part, selected: Mapping[str, RunSnapshot], located: Mapping[str, RowRange]
) -> bool:
    return all(
        (run := selected.get(stored.snapshot.run)) is not None
        and run.equals(stored.snapshot)
        and located[run.run].part is part
        for stored in part.runs
    )


def _lay_out(runs: Iterable[RunSnapshot], part_rows: int) -> Iterator[list[RunSnapshot]]:
    group: list[RunSnapshot] = []
    rows = 0
    for run in runs:
        group.append(run)
        rows += max(run.estimated_rows, 1)
        if rows >= part_rows:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _task(run: RunSnapshot, candidates: Iterable[Kept | None], extend: bool) -> RunTask:
    """The run's task: keep its current rows if a candidate has them, else extend or replace."""
    found = [kept for kept in candidates if kept]
    for kept in found:
        if run.equals(kept.stored.snapshot):
            return RunTask(run, kept)
    for kept in found:
        if extend and kept.stored.end and run.may_extend(kept.stored.snapshot):
            return RunTask(run, kept, fetch=True, extends=True)
    if run.is_empty:
        return RunTask(run)
    return RunTask(run, found[0] if found else None, fetch=True)


def _next_file(taken: Collection[str]) -> str:
    return next(file for i in count() if (file := part_name(i)) not in taken)
