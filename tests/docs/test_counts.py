"""The table of tests in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.tested import BEGIN, END, PAGE, TRIED

TESTS = Path(__file__).parents[1]


def test_every_folder_of_tests_is_counted() -> None:
    folders = {path.parent.relative_to(TESTS).parts[0] for path in TESTS.glob("*/**/test_*.py")}
    # Those in the browser need it to be collected.
    assert folders - {"browser"} == set(TRIED)
    counts = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    rows = re.findall(r"^\| `tests/(\w+)` \|.*\| ([\d,]+) \| [\d,]+ \|$", counts, re.MULTILINE)
    assert [folder for folder, _ in rows] == list(TRIED)
    assert all(int(number.replace(",", "")) for _, number in rows)
