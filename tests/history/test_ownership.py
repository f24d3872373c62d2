"""Whether the files of a run are recognized as its own, and those of others as not."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiowandb import IncompleteHistoryError
from aiowandb.history.ownership import FileCheck
from aiowandb.history.ranges import read_ranges
from aiowandb.history.row_facts import KeyFact, RowFacts
from aiowandb.paths import RunRef
from aiowandb.wire.history import HistorySource
from tests.history.conftest import PROJECT, World

REF = RunRef("e", "p", "r")
START = 1.7e9
FACTS = RowFacts((KeyFact("_timestamp", START + 9, True), KeyFact("loss", 0.5)), last_step=9)
LIVE = msgspec.structs.replace(FACTS, last_step=19, has_live=True)
Columns = dict[str, Any]


def rows(steps: Iterable[int], offset: float = 0, last: float = 0.5, **more: Any) -> Columns:
    steps = list(steps)
    losses = [1 / (step + 3) for step in steps[:-1]] + [last]
    return {
        "_step": steps,
        "_timestamp": [START + offset + i for i in steps],
        "loss": losses,
    } | more


def check(facts: RowFacts | None, *files: Columns, group: int = 4, statistics: Any = True) -> None:
    """Check these files of one run, one after another."""
    checking = FileCheck(REF, facts, len(files))
    for columns in files:
        file = io.BytesIO()
        pq.write_table(pa.table(columns), file, row_group_size=group, write_statistics=statistics)
        found = pq.ParquetFile(file)
        checking.check(found, read_ranges(found, checking.columns))


OWN: dict[str, tuple[Columns, ...]] = {
    "one file": (rows(range(10)),),
    "two files": (rows(range(5)), rows(range(5, 10))),
    "the same rows twice": (rows(range(10)), rows(range(5, 10))),
    "a file without rows": (rows(range(10)), {"_step": pa.array([], pa.int64())}),
    "rounded numbers": (rows(range(10), last=0.5000001, offset=1e-6),),
    "numbers of 32 bits": (rows(range(10)) | {"loss": pa.array([0.5] * 10, pa.float32())},),
    "texts": (rows(range(10)) | {"loss": ["0.5"] * 10},),
    "unannounced columns": (rows(range(10), other=[1] * 10),),
    "a nested key of the same name": (rows(range(10), a=[{"loss": 9.0, "_step": 99}] * 10),),
    "steps as doubles": (rows(range(10)) | {"_step": [float(i) for i in range(10)]},),
}


@pytest.mark.parametrize("statistics", [True, False, ["_step"]], ids=str)
@pytest.mark.parametrize("group", [4, 100])
@pytest.mark.parametrize("files", OWN.values(), ids=OWN)
def test_own_files_are_recognized(files: tuple[Columns, ...], group: int, statistics: Any) -> None:
    check(FACTS, *files, group=group, statistics=statistics)


WRONG: dict[str, tuple[str, tuple[Columns, ...]]] = {
    "later": ("times up to 1700000103.0", (rows(range(10), 100),)),
    "earlier": ("no row has 1700000009.0 as '_timestamp'", (rows(range(10), -100),)),
    "at the same time": ("no row has 0.5 as 'loss'", (rows(range(10), last=0.3),)),
    "half a second apart": ("no row has 1700000009.0 as '_timestamp'", (rows(range(10), -0.5),)),
    "no such column": ("they have no 'loss'", ({"_step": [9], "_timestamp": [START + 9]},)),
    "more steps": ("go on to step 10,", (rows(range(1, 11), -1),)),
    "fewer steps": ("end at step 8,", (rows(range(9), offset=1),)),
    "only the second": ("no row has", (rows(range(5)), rows(range(5, 10), -0.5))),
}


@pytest.mark.parametrize(("what", "files"), WRONG.values(), ids=WRONG)
def test_files_of_another_run_are_recognized(what: str, files: tuple[Columns, ...]) -> None:
    with pytest.raises(IncompleteHistoryError, match=rf"run e/p/r are not its own: .*{what}"):
        check(FACTS, *files)


def test_without_statistics_values_are_compared() -> None:
    with pytest.raises(IncompleteHistoryError, match="no row has 0.5 as 'loss'"):
        check(FACTS, rows(range(10), last=0.3), statistics=False)


def test_files_are_not_expected_to_have_live_rows() -> None:
    check(LIVE, rows(range(9)))
    with pytest.raises(IncompleteHistoryError, match="times up to"):
        check(LIVE, rows(range(9), 100))
    check(None, {"_step": [1]})


COUNTED = {"typeCounts": [{"type": "number", "count": 10}], "previousValue": 0.5}
UNBELIEVABLE: dict[str, Any] = {
    "fewer rows": {"typeCounts": [{"type": "number", "count": 9}]},
    "more rows": {"typeCounts": [{"type": "number", "count": 11}]},
    "other types": {"typeCounts": [{"type": "number", "count": 9}, {"type": "string", "count": 1}]},
    "texts": {"typeCounts": [{"type": "string", "count": 10}]},
    "no value": {"previousValue": None},
    "a text": {"previousValue": "NaN"},
    "a boolean": {"previousValue": True},
    "a huge value": {"previousValue": 2**60},
    "an object": {"previousValue": {"a": [1]}},
}


def facts_of(keys: Any, count: int | None = 10, files: Any = ("http://x",)) -> RowFacts | None:
    source = {
        "historyKeys": {"lastStep": 9, "keys": keys},
        "historyLineCount": count,
        "parquetHistory": {"parquetUrls": files, "liveData": []},
    }
    return RowFacts.of(msgspec.convert(source, HistorySource))


def test_keys_that_each_row_has_are_compared() -> None:
    keys = {f"k{i}": COUNTED | {"previousValue": i} for i in range(9)}
    found = facts_of(keys | {"loss": COUNTED, "_timestamp": COUNTED | {"monotonic": True}})
    assert found == RowFacts((KeyFact("_timestamp", 0.5, True), KeyFact("loss", 0.5)), 9)


@pytest.mark.parametrize("spoilt", UNBELIEVABLE.values(), ids=UNBELIEVABLE)
def test_what_w_and_b_says_is_not_believed_if_it_does_not_fit_together(spoilt: Any) -> None:
    assert facts_of({"loss": COUNTED | spoilt}) is None


def test_runs_without_keys_counts_or_files_are_not_compared() -> None:
    assert facts_of({"loss": COUNTED})
    assert facts_of({}) is None
    assert facts_of({"loss": COUNTED}, count=None) is None
    assert facts_of({"loss": COUNTED}, files=None) is None
    assert facts_of({"a.loss": COUNTED, "_step": COUNTED}) is None
    assert RowFacts.of(HistorySource()) is None


VALUES = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -0.0, 1, 0.1, "text", "NaN", True, [1], {"_type": "x"}, {"b": 1}]),
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["_timestamp", "loss", "a", "a.b", "lr"]), VALUES, max_size=4),
    min_size=1,
    max_size=6,
)


@pytest.mark.anyio
@pytest.mark.parametrize("number", [20, pytest.param(150, marks=pytest.mark.slow)])
async def test_no_run_is_taken_for_another(world: World, number: int) -> None:
    """Every second one is live, and has its first half in a file."""
    runs: dict[str, list[dict[str, Any]]] = {}

    @settings(max_examples=number)
    @given(ROWS, st.sampled_from([0, 1, 1000]))
    def draw(rows: list[dict[str, Any]], gap: int) -> None:
        drawn = [{"_step": step * gap} | row for step, row in enumerate(rows)]
        world.add_run(f"r{len(runs)}", drawn, finished=len(runs) % 2 == 0)
        runs[f"r{len(runs)}"] = drawn

    draw()
    async with world.api("mixed") as api:
        counts = dict.fromkeys(runs, 0)
        async for run, batch in api.scan_histories(api.runs(PROJECT)):
            counts[run.id] += batch.num_rows
    assert counts == {name: len(rows) for name, rows in runs.items()}
    assert world.asked["download"] >= len(runs) // 2
