"""The runs of a plan, and how they are split into parts. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

import msgspec

from aiowandb.history.row_facts import RowFacts
from aiowandb.redaction import WithLinks

# Runs up to this many rows are never split: their files are read at once anyway.
SHORT_RUN = 50_000


class PlannedRun(WithLinks, msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where the rows of a run are: in files at `segments`, then in `carried`.

    `carried` are record batches as Arrow streams, which the planner read because they are in no
    file yet, made of `carried_rows` rows; with `fetch`, readers request all of them from W&B
    instead. `rows` is their approximate number, all with steps before `end`; `counted` is the
    number that W&B counts in total, if the rows that are read can be compared with it. By the
    `facts`, which plans of earlier versions lack, files of another run are recognized.
    """

    run: str
    segments: tuple[str, ...] = ()
    rows: int = 0
    end: int = 0
    counted: int | None = None
    carried: tuple[bytes, ...] = ()
    carried_rows: int = 0
    fetch: bool = False
    facts: RowFacts | None = None

    def __repr__(self) -> str:
        return f"PlannedRun({self.run!r}, rows={self.rows})"


class RunSlice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The rows of a run with steps in `[min_step, max_step)`."""

    run: PlannedRun
    min_step: int = 0
    max_step: int | None = None

    @property
    def is_complete(self) -> bool:
        return not self.min_step and self.max_step is None

    @property
    def rows(self) -> int:
        """The approximate number of rows, if they are spread evenly."""
        end = max(self.run.end, 1)
        top = end if self.max_step is None else min(self.max_step, end)
        return self.run.rows * max(0, top - self.min_step) // end


def narrowed(
    slices: Iterable[RunSlice],
    runs: Container[str] | None,
    min_step: int,
    max_step: int | None,
    last_steps: Mapping[str, int] | None,
) -> list[RunSlice]:
    """The slices of these runs, limited to these steps; without those that have none of them."""
    found = []
    for one in slices:
        name = one.run.run
        if any(among is not None and name not in among for among in (runs, last_steps)):
            continue
        tops = [one.max_step, max_step, None if last_steps is None else last_steps[name] + 1]
        top = min((top for top in tops if top is not None), default=None)
        first = max(one.min_step, min_step)
        if first < (one.run.end if top is None else top):
            found.append(RunSlice(one.run, first, top))
    return found


def lay_out(slices: Sequence[RunSlice], parts: int) -> list[list[RunSlice]]:
    """The slices in their order, in at most `parts` groups of about the same size.

    Long runs are split where a group is full; short runs are not.
    """
    total = sum(map(_weight, slices))
    ends = [total * (number + 1) // parts for number in range(parts)]
    groups: list[list[RunSlice]] = [[] for _ in ends]
    number, before = 0, 0
    for one in slices:
        weight = _weight(one)
        if weight <= SHORT_RUN:
            while number < parts - 1 and before + weight / 2 > ends[number]:
                number += 1
            groups[number].append(one)
        else:
            for place, piece in _cut(one, before, weight, ends):
                number = max(number, place)
                groups[number].append(piece)
        before += weight
    return [group for group in groups if group]


def chunks(slices: Iterable[RunSlice], rows: int) -> Iterator[list[RunSlice]]:
    """The slices as they come, in groups of about this many rows."""
    group: list[RunSlice] = []
    found = 0
    for one in slices:
        count = max(1, _weight(one) // max(rows, SHORT_RUN))
        for [piece] in lay_out([one], count):
            group.append(piece)
            found += _weight(piece)
            # The pieces of a long run are in groups of their own, as a plan's are.
            if found >= rows or count > 1:
                yield group
                group, found = [], 0
    if group:
        yield group


def _weight(one: RunSlice) -> int:
    # Even a run without rows takes some time to open.
    return one.rows + 1


def _cut(
    one: RunSlice, before: int, weight: int, ends: Sequence[int]
) -> Iterator[tuple[int, RunSlice]]:
    """The pieces of a long run, each with the number of its group; `before` are earlier rows."""
    first = one.min_step
    last = one.run.end if one.max_step is None else min(one.max_step, one.run.end)
    steps = max(1, last - first)
    start = first
    for number in range(bisect_right(ends, before), len(ends)):
        step = first + steps * (ends[number] - before) // weight
        is_last = step >= last or number == len(ends) - 1
        if is_last or step > start:
            end = one.max_step if is_last else step
            yield number, RunSlice(one.run, start, end)
            start = step
        if is_last:
            return
