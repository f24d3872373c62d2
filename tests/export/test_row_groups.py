"""Row groups end where their rows say, however the rows come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.export import row_groups
from aiowandb.export.row_groups import RowGroups
from tests.conftest import examples

FIELDS: list[pa.Field[Any]] = [
    pa.field("_step", pa.int64()),
    pa.field("text", pa.string()),
    pa.field("items", pa.list_(pa.int64())),
]
SCHEMA = pa.schema(FIELDS)


def groups_of(table: pa.Table, sizes: Iterator[int]) -> list[int]:
    """How many rows each group has if the table comes in batches of these sizes."""
    collected, found, start = RowGroups(SCHEMA, 40), [], 0
    while start < table.num_rows:
        size = next(sizes)
        for batch in table.slice(start, size).to_batches():
            found += [group.num_rows for group in collected.add(batch)]
        start += size
    return [*found, collected.rest().num_rows]


@pytest.fixture(autouse=True, scope="module")
def small_groups() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_groups, "GROUP_BYTES", 200)
        yield


@examples(60)
@given(
    st.lists(
        st.tuples(
            st.none() | st.text("x", max_size=120), st.none() | st.lists(st.just(1), max_size=9)
        ),
        max_size=150,
    ),
    st.data(),
)
def test_groups_do_not_depend_on_how_rows_are_batched(
    rows: list[tuple[str | None, list[int] | None]], data: st.DataObject
) -> None:
    columns = [range(len(rows)), [text for text, _ in rows], [items for _, items in rows]]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    expected = groups_of(table, iter(lambda: 1, None))
    assert groups_of(table, iter(lambda: data.draw(st.integers(1, 60)), None)) == expected
    assert sum(expected) == len(rows)
    start = 0
    for size in expected[:-1]:
        lengths = [len(text or "") + 8 * len(items or ()) for text, items in rows[start:]]
        assert size == 40 or sum(lengths[: size - 1]) < 200 <= sum(lengths[:size])
        start += size
