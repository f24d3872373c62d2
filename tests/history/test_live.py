"""Windows of steps: no row is missing or doubled, and they are few."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiowandb.history.live import bisect, is_complete, split
from aiowandb.paths import RunRef
from aiowandb.wire.history import Window

REF = RunRef("e", "p", "r")


class Server:
    """Answers windows as W&B does: all rows where they are few enough, else a sample."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = sorted(steps)
        self.asked = 0

    def answer(self, window: Window) -> list[int]:
        self.asked += 1
        found = [step for step in self.steps if window.first <= step < window.end]
        if len(found) <= window.samples:
            return found
        return [found[i * len(found) // window.samples] for i in range(window.samples)]

    def read(self, windows: list[Window]) -> list[int]:
        rows: list[int] = []
        for window in windows:
            found = self.answer(window)
            complete = is_complete(window, len(found))
            rows += found if complete else self.read(bisect(window, found))
        return rows


steps = st.lists(st.integers(0, 5_000), max_size=300)


@given(steps, st.integers(1, 50), st.none() | st.integers(0, 600))
def test_every_row_is_read_once_in_step_order(
    steps: list[int], page: int, counted: int | None
) -> None:
    windows = split(REF, 0, 5_001, counted, page)
    assert Server(steps).read(windows) == sorted(steps)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 1000), st.integers(0, 10**5))
def test_windows_are_adjacent(first: int, end: int, page: int, rows: int) -> None:
    windows = split(REF, first, end, rows, page)
    ends = [first, *(window.end for window in windows)]
    assert [window.first for window in windows] == ends[:-1]
    assert not windows or ends[-1] == end


def test_dense_rows_take_as_many_windows_as_pages() -> None:
    server = Server(list(range(10_000)))
    assert len(server.read(split(REF, 0, 10_000, 10_000, 1000))) == 10_000
    assert server.asked == 10


def test_few_rows_in_a_long_range_take_one_window() -> None:
    server = Server([i * 100_000 for i in range(100)])
    assert len(server.read(split(REF, 0, 10**7 + 1, 100, 1000))) == 100
    assert server.asked == 1


def test_rows_in_a_heap_are_found_with_a_handful_of_questions() -> None:
    server = Server([*range(3_000), 10**7])
    assert len(server.read(split(REF, 0, 10**7 + 1, 3_001, 1000))) == 3_001
    assert server.asked < 20


def test_a_step_with_more_rows_than_a_page_is_asked_for_more() -> None:
    server = Server([7] * 50)
    assert server.read(split(REF, 0, 100, 50, 10)) == [7] * 50
