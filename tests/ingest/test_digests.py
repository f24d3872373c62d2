"""Digests of rows: the same for the same rows, whoever wrote them."""

from __future__ import annotations

import math
from typing import Any

from aiowandb.history.columns import rows_to_batch
from aiowandb.ingest.digests import RowsDigest


def digest(row: dict[str, Any]) -> RowsDigest:
    found = RowsDigest()
    found.add(rows_to_batch([row]))
    return found


def test_the_order_in_which_a_row_has_its_keys_is_no_difference() -> None:
    one = digest({"_step": 0, "nest": {"x": 0, "y": {"z": math.nan}}, "loss": 1.0})
    other = digest({"nest": {"y": {"z": math.nan}, "x": 0}, "loss": 1, "_step": 0})
    assert list(one.differences(other)) == []


def test_of_rows_that_differ_it_says_only_what_differs() -> None:
    one = digest({"_step": 0, "loss": 1.0, "word": "w", "nan": math.nan})
    other = digest({"_step": 0, "loss": 2.0, "more": "m", "nan": math.nan})
    rows = {where: values for where, *values in one.differences(other) if where.endswith("row")}
    unlike = [{"loss": 1, "word": "w", "more": None}, {"loss": 2, "word": None, "more": "m"}]
    assert rows == {"first row": unlike, "last row": unlike}
