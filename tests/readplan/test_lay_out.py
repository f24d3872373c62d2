"""How runs are split into parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiowandb.readplan.runs import SHORT_RUN, PlannedRun, RunSlice, chunks, lay_out

rows = st.one_of(st.integers(0, 100), st.integers(SHORT_RUN, 20 * SHORT_RUN))


def slices(counts: list[int]) -> list[RunSlice]:
    return [
        RunSlice(PlannedRun(f"r{i}", rows=count, end=2 * count)) for i, count in enumerate(counts)
    ]


def check(original: list[RunSlice], laid_out: list[RunSlice]) -> None:
    """Each run is there in its order, from its first step to its last one, without a gap."""
    rest = iter(laid_out)
    for one in original:
        step: int | None = 0
        while step is not None:
            piece = next(rest)
            assert (piece.run, piece.min_step) == (one.run, step)
            assert piece.max_step is None or piece.max_step > step
            step = piece.max_step
    assert next(rest, None) is None


@given(st.lists(rows, min_size=1, max_size=30), st.integers(1, 40))
def test_every_row_is_in_one_part(counts: list[int], parts: int) -> None:
    original = slices(counts)
    groups = lay_out(original, parts)
    assert 1 <= len(groups) <= parts
    check(original, [one for group in groups for one in group])


@given(st.lists(rows, min_size=1, max_size=30), st.integers(1, 40))
def test_parts_are_balanced_and_short_runs_are_never_cut(counts: list[int], parts: int) -> None:
    groups = lay_out(slices(counts), parts)
    fair = sum(counts) / parts
    for group in groups:
        assert sum(one.rows for one in group) <= fair + SHORT_RUN + len(counts) + 2
        for one in group:
            assert one.is_complete or one.run.rows >= SHORT_RUN


@given(st.lists(rows, min_size=1, max_size=30), st.integers(1, 200_000))
def test_parts_of_so_many_rows_come_while_runs_are_listed(counts: list[int], most: int) -> None:
    original = slices(counts)
    groups = list(chunks(original, most))
    check(original, [one for group in groups for one in group])
    for group in groups:
        assert len({one.run.run for one in group}) == len(group)
    for group in groups[:-1]:
        assert sum(one.rows + 1 for one in group) >= most - 2


def test_the_rows_that_a_plan_wants_of_a_long_run_are_cut_where_it_wants_them() -> None:
    run = PlannedRun("r", rows=200_000, end=100_000)
    groups = lay_out([RunSlice(run, 20_000, 80_000)], 2)
    assert [(one.min_step, one.max_step) for group in groups for one in group] == [
        (20_000, 49_999),
        (49_999, 80_000),
    ]
