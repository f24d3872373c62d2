"""What an export decides to write, before it requests rows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.export.plan import Plan, plan_parts
from aiowandb.export.stored import Part, RunSnapshot, StoredRun
from aiowandb.history.reading import RowMark

FULL = 100


def run(name: str, rows: int = 60) -> RunSnapshot:
    return RunSnapshot(name, f"id of {name}", rows, rows - 1)


def part(number: int, *runs: RunSnapshot, schema: int = 1, file: str | None = None) -> Part:
    stored = tuple(
        StoredRun(run, run.estimated_rows, run.lines, RowMark(run.last_step, "")) for run in runs
    )
    return Part(number, file or f"part-{number:05}.parquet", schema, 1, stored)


def plan(runs: Sequence[RunSnapshot], parts: Sequence[Part], *, split: bool = False) -> Plan:
    number = max((part.number for part in parts), default=-1) + 1
    return plan_parts(runs, parts, schema_number=1, next_number=number, part_rows=FULL, split=split)


def layout(planned: Plan) -> list[tuple[str, str]]:
    """File and runs of the new parts; what is asked for in capitals, what is copied in small."""
    return [
        (
            new.file.removesuffix(".parquet"),
            "".join(
                task.snapshot.run.upper() if task.fetch else task.snapshot.run for task in new.tasks
            ),
        )
        for new in planned.new
    ]


def carried_out(planned: Plan, parts: Sequence[Part]) -> list[Part]:
    kept = [part for part in parts if part.number not in planned.drops]
    return kept + [
        part(new.number, *(task.snapshot for task in new.tasks), file=new.file)
        for new in planned.new
    ]


def test_a_part_ends_with_the_run_that_fills_it() -> None:
    assert layout(plan([run(name) for name in "abcde"], [])) == [
        ("part-00000", "AB"),
        ("part-00001", "CD"),
        ("part-00002", "E"),
    ]


def test_no_runs_are_an_empty_part() -> None:
    assert layout(plan([], [])) == [("part-00000", "")]
    assert not plan([], [part(0)])


def test_a_run_without_rows_is_not_asked_for() -> None:
    assert layout(plan([run("a", 0)], [])) == [("part-00000", "a")]


def test_an_export_that_was_interrupted_resumes_with_its_options() -> None:
    runs = [run(name) for name in "abcdefg"]
    full = plan(runs, [])
    for finished in range(1, len(full.new)):
        parts = carried_out(Plan(full.new[:finished]), [])
        rest = plan(runs, parts)
        assert layout(rest) == layout(full)[finished:]
        assert not rest.drops


def test_only_parts_that_are_touched_are_written_again() -> None:
    parts = [part(0, run("a"), run("b")), part(1, run("c"), run("d")), part(2, run("e"))]
    grown = [run(name, 80 if name == "c" else 60) for name in "abcde"]
    planned = plan(grown, parts)
    assert layout(planned) == [("part-00001", "Cd")]
    assert planned.drops == {1}
    assert [task.start.step for task in planned.fetched] == [59]


def test_a_run_that_shrank_is_read_from_its_start() -> None:
    planned = plan([run("a", 30)], [part(0, run("a"))])
    assert [task.start.step for task in planned.fetched] == [0]


def test_a_run_that_was_created_again_under_its_name_is_read_from_its_start() -> None:
    made_anew = RunSnapshot("a", "another id", 70, 69)
    assert [task.start.step for task in plan([made_anew], [part(0, run("a"))]).fetched] == [0]


def test_parts_of_an_old_schema_are_cast_under_their_names() -> None:
    parts = [part(0, run("a"), run("b"), schema=0), part(1, run("c"), run("d"))]
    planned = plan([run(name) for name in "abcd"], parts)
    assert layout(planned) == [("part-00000", "ab")]
    assert planned.drops == {0}


def test_a_run_in_two_parts_is_where_it_was_written_last() -> None:
    parts = [part(0, run("a"), run("b")), part(1, run("a", 70), file="part-00001.parquet")]
    planned = plan([run("a", 70), run("b")], parts)
    assert layout(planned) == [("part-00000", "b")]
    assert planned.drops == {0}


def test_split_gives_each_run_a_file_that_readers_find() -> None:
    runs = [run("a"), run("../b"), run("_c"), run(".d")]
    assert layout(plan(runs, [], split=True)) == [
        ("a", "A"),
        ("%2E.%2Fb", "../B"),
        ("%5Fc", "_C"),
        ("%2Ed", ".D"),
    ]


@pytest.mark.parametrize("name", ["x" * 300, "é" * 60, "日本" * 64, "." + "/" * 120])
def test_a_long_name_is_no_longer_than_file_systems_allow(name: str) -> None:
    other = name + "2"
    files = [new.file for new in plan([run(name), run(other)], [], split=True).new]
    assert len(set(files)) == 2
    # With the ending of another format, and of a file that is under way.
    assert all(len(file.encode()) <= 240 for file in files)


RUNS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 150)), unique_by=lambda r: r[0]
)


@given(st.lists(RUNS, min_size=1, max_size=5))
def test_after_any_changes_each_run_is_in_one_part_and_nothing_is_left_to_do(
    listings: list[list[tuple[str, int]]],
) -> None:
    parts: list[Part] = []
    for listing in listings:
        runs = [run(name, rows) for name, rows in listing]
        parts = carried_out(plan(runs, parts), parts)
        stored = [stored.snapshot for part in parts for stored in part.runs]
        assert sorted(stored, key=str) == sorted(runs, key=str)
        assert len({part.file for part in parts}) == len(parts)
        assert not plan(runs, parts)
        small = [part for part in parts if part.estimated_rows < FULL // 2]
        assert len(small) <= 1
