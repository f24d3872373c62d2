"""Windows of steps that follow the rows, not the range: pure arithmetic, no requests.

W&B answers a window with at most as many rows as were asked for, and draws a sample
where there are more. Asked for one row more than a page has, a window that comes back
with that many rows is not known to be whole; it is cut where its sample says that the
rows are, and asked again.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiowandb.paths import RunRef
from aiowandb.wire.history import Window

# W&B's count of the rows may be wrong. Where there are more, windows are cut again.
_MOST = 4096


def cut(ref: RunRef, first: int, end: int, rows: int | None, page: int) -> list[Window]:
    """Windows over `[first, end)` of about a page each, if `rows` rows lie there evenly."""
    steps = end - first
    if steps <= 0:
        return []
    expected = steps if rows is None else max(1, min(rows, steps))
    # Dense rows fill a window exactly; where there are gaps, chance needs some room.
    room = page if expected == steps else max(1, page * 4 // 5)
    pages = min(-(-expected // room), _MOST)
    width = max(-(-steps // pages), min(page, steps))
    return [
        Window(ref, start, min(start + width, end), page + 1) for start in range(first, end, width)
    ]


def is_whole(window: Window, rows: int) -> bool:
    """Whether an answer of so many rows is all that the window holds."""
    return rows < window.samples


def cut_again(window: Window, steps: Sequence[int]) -> list[Window]:
    """Smaller windows in place of one that was too full, by the steps of its sample."""
    if window.end - window.first == 1:
        # So many rows at one step: nothing is left to cut, so ask for more of them.
        return [Window(window.ref, window.first, window.end, window.samples * 2)]
    seen = sorted(set(steps))
    middle = seen[len(seen) // 2] if seen else (window.first + window.end) // 2
    middle = min(max(middle, window.first + 1), window.end - 1)
    return [
        Window(window.ref, window.first, middle, window.samples),
        Window(window.ref, middle, window.end, window.samples),
    ]
