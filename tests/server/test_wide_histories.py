"""Histories with many keys, or with keys that few rows have, take no more memory than others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiowandb_server import RunChanges, Store
from aiowandb_server.errors import MoreMemoryError
from aiowandb_server.store import columns, rows, segments
from aiowandb_server.store.charting import ChartRequest
from aiowandb_server.store.history import Sampled
from aiowandb_server.store.history_keys import KeyCounter
from aiowandb_server.store.line_tables import chunked, tables_of
from aiowandb_server.store.metering import measured
from aiowandb_server.store.previews import column_names
from aiowandb_server.store.records import Line, RunRow
from aiowandb_server.store.segments import SegmentFiles, chunks
from aiowandb_server.store.spool import BatchSpool
from tests.server.conftest import Client

pytestmark = pytest.mark.anyio


def with_rows(store: Store, found: list[dict[str, Any]]) -> RunRow:
    project, _ = store.projects.ensure("local", "p")
    run, _ = store.runs.upsert(project, "r", RunChanges())
    store.history.append(run, [json.dumps(row) for row in found])
    store.stream.finish(run)
    ended = store.runs.by_id(run.id)
    assert ended
    return ended


@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.text(max_size=1), st.integers()), max_size=8), st.integers(1, 9))
def test_rows_are_split_where_most_cells_would_be_empty(
    some: list[dict[str, Any]], limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "MAX_CELLS", limit)
        parts = [*rows.narrow_parts(some)]
    assert [row for part in parts for row in part] == some
    for part in parts:
        assert len(part) <= 1 or len(part) * len({key for row in part for key in row}) <= limit


@pytest.mark.parametrize("odd", [1.5, "x"])
async def test_rows_with_keys_of_their_own_are_the_same_as_columns(
    store: Store, monkeypatch: pytest.MonkeyPatch, odd: Any
) -> None:
    given_rows = [{f"m{number % 7}": number, "all": number / 2} for number in range(40)]
    given_rows[30]["m2"] = odd
    run = with_rows(store, given_rows)
    before = json.loads(store.history.keys(run.id))
    for module in (rows, columns, segments):
        monkeypatch.setattr(module, "MAX_CELLS", 20)
    (token,) = store.history.exported(run, "parquet").tokens
    assert json.loads(store.history.keys(run.id)) == before
    with pq.ParquetFile(store.history.columns_path(token)) as file:
        assert file.num_row_groups > 4
        found = file.read().to_pylist()
    # A column with values of several types has them as JSON.
    values = [
        {key: json.loads(value) if isinstance(value, str) else value for key, value in row.items()}
        for row in found
    ]
    assert [{k: v for k, v in row.items() if v is not None} for row in values] == [
        {"_step": step, **row} for step, row in enumerate(given_rows)
    ]


async def test_a_run_with_too_many_keys_for_columns_stays_in_rows(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_rows(store, [{"a": 1}, {"b": 2}])
    attempts = 0
    attempt = store.compaction._attempt

    def counted(run_id: int) -> bool:
        nonlocal attempts
        attempts += 1
        return attempt(run_id)

    monkeypatch.setattr(columns, "_SIZE_OF_COLUMN", 10**10)
    monkeypatch.setattr(store.compaction, "_attempt", counted)
    query = """{project(name: "p", entityName: "local") {run(name: "r") {
        history(samples: 10) historyKeys parquetHistory {parquetUrls liveData}}}}"""
    for _ in range(2):
        answer = await client.http.post("/graphql", json={"query": query})
        assert answer.status_code == 200
        found = answer.json()["data"]["project"]["run"]
        assert found["parquetHistory"] == {"parquetUrls": [], "liveData": [{"_step": 0}]}
        assert len(found["history"]) == 2
        assert set(found["historyKeys"]["keys"]) == {"a", "b"}
    assert attempts == 1


@pytest.mark.parametrize("collected", [chunks, lambda lines: chunked(tables_of(lines))])
def test_rows_count_as_memory_while_they_are_collected(
    collected: Callable[[Iterator[Line]], Iterator[Any]],
) -> None:
    taken = 0

    def long_lines() -> Iterator[Line]:
        nonlocal taken
        for number in range(400):
            taken += 1
            yield Line(number, number, "x" * 100_000)

    with measured(12_000_000), pytest.raises(MoreMemoryError):
        list(collected(long_lines()))
    assert taken < 100
    counts: list[int] = []
    with measured(500_000_000) as meter:
        counts += [meter.used for _ in collected(long_lines())]
        assert meter.used == 0
    assert min(counts) > 5_000_000


def test_texts_count_as_memory_while_they_become_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps({"t": "x" * 3_000_000})
    lines = (Line(number, number, text) for number in range(10))
    free: list[int] = []
    add = BatchSpool.add

    def noted(spool: BatchSpool, batch: pa.RecordBatch) -> None:
        add(spool, batch)
        free.append(meter.used - (pa.total_allocated_bytes() - before))

    monkeypatch.setattr(BatchSpool, "add", noted)
    before = pa.total_allocated_bytes()
    with measured(1 << 30) as meter:
        SegmentFiles(tmp_path).write(tables_of(lines), KeyCounter())
    assert min(free) >= 0
    assert len(free) > 1, "few of them are joined at once"


@pytest.mark.slow
def test_a_sample_takes_no_memory_for_the_texts_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MAX_CELLS", 1)
    files = SegmentFiles(tmp_path)
    lines = (Line(step, step, json.dumps({"t": f"{step}" * 1_000_000})) for step in range(8))
    token = files.write(tables_of(lines), KeyCounter())
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    try:
        rows = files.sampled(token, ["_step", "t"], 0, 8, 2)
    finally:
        pa.set_memory_pool(usual)
    assert rows is not None
    assert [(row["_step"], row["t"][0]) for row in rows] == [(0, "0"), (7, "7")]
    assert (pool.max_memory() or 0) < 7_000_000


def test_columns_count_as_memory_while_they_are_there() -> None:
    some = [{f"k{row}/{key}": 1 for key in range(1_000)} for row in range(60)]
    with measured(60_000_000) as meter:
        used = [meter.used for _ in rows.narrow_parts(some)]
        assert meter.used == 0
    # The first of them has 2 million cells, most of which are empty.
    assert len(used) == 2
    assert used[0] > 30_000_000


def test_names_that_repeat_a_long_one_count_as_memory(store: Store) -> None:
    run = with_rows(store, [{"p" * 50_000: {str(number): 0 for number in range(1_000)}}])
    chart = ChartRequest(("a",))
    for read in (
        lambda: store.history.keys(run.id),
        lambda: store.charts.series(run, chart),
        lambda: store.history.sampled(run, Sampled(("a",), 300)),
        lambda: store.compaction.compact(run.id),
    ):
        with measured(20_000_000), pytest.raises(MoreMemoryError) as refused:
            read()
        assert refused.value.needed < 21_000_000, "before there are all of them"
    names = column_names("summary", {"p" * 400: {"a": 1}, "b": {"c": 1}}, "", 10)
    assert names == ["summary.b.c"]


def test_what_is_read_of_a_history_counts_as_memory(store: Store) -> None:
    run = with_rows(store, [{"loss": 0.5, "t": "x" * 2_000, f"k{n}": n} for n in range(300)])
    chart = ChartRequest(("loss",))
    for _ in range(2):  # from rows, and from columns
        for read in (
            lambda: store.history.keys(run.id),
            lambda: store.charts.series(run, chart),
            lambda: store.history.sampled(run, Sampled(("t",), 300)),
        ):
            with measured(60_000), pytest.raises(MoreMemoryError):
                read()
            with measured(20_000_000):
                read()
        store.compaction.compact(run.id)
