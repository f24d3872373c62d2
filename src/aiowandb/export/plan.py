"""What is to be written so that the parts hold the selected runs as they are now.

The rules, by which a killed export that goes on gives the same bytes as one left alone:

- Parts are runs in the selected order; a part ends with the run that fills it.
- A part all of whose runs are as they were stays, or is cast to new columns under its name.
- The runs of any other part, those of a small one, and new runs are laid out again.

Rows that lie in a part already are copied from there, only the others are asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import count
from urllib.parse import quote

import msgspec

from aiowandb.export.parts import Listed, Part, Place, places

# Some seconds of work, which is what a kill can cost, and a file size that readers like.
PART_ROWS = 1_000_000


class Work(msgspec.Struct, frozen=True):
    """One run's share of a new part: the rows that we have of it, and whether to ask for more."""

    listed: Listed
    kept: Place | None
    fetch: bool

    @property
    def first_step(self) -> int:
        """Where to ask from: the last row that we have, to see that it is still the same."""
        return self.kept.held.last_step if self.kept else 0


class NewPart(msgspec.Struct, frozen=True):
    """A part to be written."""

    number: int
    file: str
    works: tuple[Work, ...]


class Plan(msgspec.Struct, frozen=True):
    """Parts to be written, and the numbers of those that are to go then."""

    new: tuple[NewPart, ...] = ()
    drops: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.new or self.drops)

    @property
    def fetched(self) -> list[Work]:
        return [work for part in self.new for work in part.works if work.fetch]

    @property
    def rows_to_come(self) -> int:
        """About how many rows that are not here yet."""
        return sum(
            max(0, work.listed.weight - (work.kept.held.rows if work.kept else 0))
            for work in self.fetched
        )


def plan_parts(
    runs: Sequence[Listed],
    parts: Sequence[Part],
    *,
    schema: int,
    next_number: int,
    part_rows: int,
    split: bool = False,
    follows: bool = True,
    unique: bool = False,
) -> Plan:
    """What is to be done to the parts; an empty plan if they are as they should be.

    With `split`, each run is a part of its own. Unless with `follows`, a run that has
    gone on is asked for as a whole. With `unique`, no file name is used again.
    """
    part_rows = 1 if split else part_rows
    selected = {run.run: run for run in runs}
    where = places(parts)
    loose = {part.number for part in parts if not _is_current(part, selected, where)}
    if loose or not parts or not where.keys() >= selected.keys():
        loose |= {part.number for part in parts if part.weight < part_rows // 2}
    staying = [part for part in parts if part.number not in loose]
    settled = {held.listed.run for part in staying for held in part.runs}
    groups = list(_lay_out((run for run in runs if run.run not in settled), part_rows))
    if not groups and not staying:
        groups.append([])  # no rows at all are a file too
    numbers = count(next_number)
    outdated = [part for part in staying if part.schema != schema]
    new = [
        NewPart(
            number := next(numbers),
            _numbered(number) if unique else part.file,
            tuple(_copy(where[held.listed.run]) for held in part.runs),
        )
        for part in outdated
    ]
    taken = {part.file for part in staying}
    for group in groups:
        number = next(numbers)
        if split and group:
            file = _run_file(group[0])
        else:
            file = _numbered(number) if unique else _next_file(taken)
        taken.add(file)
        works = tuple(_work(run, where.get(run.run), follows) for run in group)
        new.append(NewPart(number, file, works))
    return Plan(tuple(new), frozenset(loose) | {part.number for part in outdated})


def _is_current(part: Part, selected: dict[str, Listed], where: dict[str, Place]) -> bool:
    return all(
        selected.get(held.listed.run) == held.listed and where[held.listed.run].part is part
        for held in part.runs
    )


def _lay_out(runs: Iterable[Listed], part_rows: int) -> Iterator[list[Listed]]:
    group: list[Listed] = []
    rows = 0
    for run in runs:
        group.append(run)
        rows += max(run.weight, 1)
        if rows >= part_rows:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _work(run: Listed, place: Place | None, follows: bool) -> Work:
    if place and place.held.listed == run:
        return _copy(place)
    if place and follows and place.held.rows and run.continues(place.held.listed):
        return Work(run, place, fetch=True)
    return Work(run, None, fetch=not run.is_empty)


def _copy(place: Place) -> Work:
    return Work(place.held.listed, place, fetch=False)


def _next_file(taken: Collection[str]) -> str:
    return next(file for i in count() if (file := _numbered(i)) not in taken)


def _numbered(number: int) -> str:
    return f"part-{number:05}.parquet"


def _run_file(run: Listed) -> str:
    # Readers of datasets skip names that begin with a dot or an underscore.
    name = quote(run.run, safe="-_.")
    return f"%{ord(name[0]):02X}{name[1:]}.parquet" if name[0] in "._" else f"{name}.parquet"
