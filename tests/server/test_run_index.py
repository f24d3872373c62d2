"""The index of values: the same runs are found with it as without."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb_server import RunChanges, Store
from aiowandb_server.store.filters import compile_filter
from aiowandb_server.store.records import ProjectRow
from aiowandb_server.store.run_fields import run_field
from tests.conftest import examples
from tests.server.conftest import START

RUNS = 2_100
# No lists and no long texts: with them a key is not read from the index.
SCALARS: list[Any] = [
    0,
    1,
    2,
    3,
    0.5,
    -1.5,
    True,
    False,
    None,
    "a",
    "b",
    "",
    "1",
    "é",
    float("nan"),
]
SCALARS += [float("inf"), 2**60, 2**70, "a\\b", 'say "x"']
KEYS = ["lr", "a.b", "a", "é", "", "x\\y", "n"]
NAMES = [f"{part}.{key}" for part in ("config", "summary_metrics") for key in KEYS]
NAMES += [
    "config.lr.value",
    "config.a.value.b",
    r"config.a\.b",
    "config.wild",
    "summary_metrics.wild",
]


def random_facts(chance: random.Random) -> dict[str, Any]:
    facts = {key: chance.choice(SCALARS) for key in KEYS if chance.random() < 0.7}
    if chance.random() < 0.3:
        facts["a"] = {"b": chance.choice(SCALARS)}
    if chance.random() < 0.5:
        facts["wild"] = chance.choice([[1, "a"], [], {"x": 1}, "a" * 600, 1, "a", None])
    return facts


def random_changes(chance: random.Random) -> RunChanges:
    config = {key: {"value": item} for key, item in random_facts(chance).items()}
    return RunChanges(
        config=json.dumps(config, ensure_ascii=chance.random() < 0.5),
        summary=json.dumps(random_facts(chance), ensure_ascii=chance.random() < 0.5),
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, ProjectRow]]:
    """Many runs of all kinds; written here without an fsync for each."""
    chance = random.Random(1)
    with Store.open(tmp_path_factory.mktemp("large"), clock=lambda: float(START)) as store:
        project, _ = store.projects.ensure("local", "large")
        with store._database.write() as connection:
            connection.executemany(
                "INSERT INTO run (project_id, name, display_name, state, created_at, heartbeat_at)"
                " VALUES (?, ?, '', 'finished', ?, ?)",
                [(project.id, f"r{n}", n, n) for n in range(RUNS)],
            )
        store.runs.change(1, random_changes(chance))
        with store._database.write() as connection:
            for run_id in range(1, RUNS + 1):
                _apply(connection, run_id, random_changes(chance))
        found = store.projects.get("local", "large")
        assert found is not None
        yield store, found


def _apply(connection: Any, run_id: int, changes: RunChanges) -> None:
    from aiowandb_server.store.run_values import ChangedDocuments
    from aiowandb_server.store.runs import _apply, _checked

    changed = _checked(changes)
    _apply(connection, run_id, changed)
    (project_id,) = connection.execute(
        "SELECT project_id FROM run WHERE id = ?", (run_id,)
    ).fetchone()
    ChangedDocuments(changed.documents).store(connection, project_id, run_id)


def scanned(store: Store, project: ProjectRow, filters: Any) -> list[str]:
    """Names of the runs that the filter selects, by reading all of them."""
    where = compile_filter(filters, partial(run_field, state_rule=store.runs.state_rule))
    with store._database.read() as connection:
        rows = connection.execute(
            f"SELECT name FROM run WHERE project_id = ? AND {where.text} ORDER BY created_at, id",
            (project.id, *where.parameters),
        ).fetchall()
    return [name for (name,) in rows]


values = st.sampled_from([value for value in SCALARS if value == value and value != float("inf")])
numbers_and_texts = st.sampled_from([0, 1, 2.5, "a", "", "é", 2**60])
operations = st.one_of(
    values,
    st.builds(lambda v: {"$eq": v}, values),
    st.builds(lambda v: {"$ne": v}, values),
    st.builds(
        lambda operator, v: {operator: v},
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
        numbers_and_texts,
    ),
    st.builds(lambda low, high: {"$gte": low, "$lt": high}, numbers_and_texts, numbers_and_texts),
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$in", "$nin"]), st.lists(values, max_size=4)),
    st.builds(lambda v: {"$exists": v}, st.booleans()),
    st.builds(lambda v: {"$regex": v}, st.sampled_from(["a", "^$", "."])),
    st.builds(lambda v: {"$not": {"$gt": v}}, numbers_and_texts),
)
conditions = st.one_of(
    st.dictionaries(st.sampled_from(NAMES), operations, min_size=1, max_size=3),
    st.builds(lambda n: {"name": {"$gt": n}}, st.sampled_from(["r1", "r5"])),
    st.just({"state": "finished"}),
)
documents = st.recursive(
    conditions,
    lambda inner: st.builds(
        lambda group, parts: {group: parts},
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=4,
)


@examples(10)
@given(filters=documents, seed=st.integers(0, 10**6), descending=st.booleans())
def test_the_index_finds_what_a_scan_finds(
    large: tuple[Store, ProjectRow], filters: Any, seed: int, descending: bool
) -> None:
    store, project = large
    chance = random.Random(seed)
    for _ in range(3):
        store.runs.change(chance.randrange(1, RUNS + 1), random_changes(chance))
    expected = scanned(store, project, filters)
    assert store.runs.count(project, filters) == len(expected)
    order = "-created_at" if descending else "+created_at"
    if descending:
        expected.reverse()
    page = store.runs.page(project, filters=filters, order=order, first=20)
    assert [run.name for run in page.items] == expected[:20]
    assert page.has_next == (len(expected) > 20)
    if page.has_next:
        rest = store.runs.page(
            project, filters=filters, order=order, first=RUNS, after=page.cursors[-1]
        )
        assert [run.name for run in rest.items] == expected[20:]


def steps(store: Store, project: ProjectRow, filters: Any) -> str:
    """How SQLite counts the runs."""
    statements: list[str] = []
    connection = store._database._idle.get_nowait()
    connection.set_trace_callback(statements.append)
    store._database._idle.put(connection)
    store.runs.count(project, filters)
    connection.set_trace_callback(None)
    return "\n".join(statements)


def test_many_runs_are_counted_without_reading_them(large: tuple[Store, ProjectRow]) -> None:
    store, project = large
    filters = {"config.lr": 1, "summary_metrics.n": {"$lt": 2}}
    store.runs.count(project, filters)
    counted = steps(store, project, filters)
    assert "run_value" in counted
    assert "json_extract" not in counted
    assert "json_extract" in steps(store, project, {"config.wild": 1}), "it has lists"


def test_the_index_follows_what_is_written_and_deleted(store: Store) -> None:
    project = _with_runs(store, 2_050)
    filters = {"config.lr": 5}
    assert store.runs.count(project, filters) == 0
    run, _ = store.runs.upsert(project, "new", RunChanges(config='{"lr": {"value": 5}}'))
    assert store.runs.count(project, filters) == 1
    store.runs.change(run.id, RunChanges(config='{"lr": {"value": [5]}}'))
    assert store.runs.count(project, filters) == 1, "a list is read from the run"
    store.runs.change(run.id, RunChanges(config='{"lr": {"value": 6}}'))
    assert store.runs.count(project, filters) == 0
    assert store.runs.count(project, {"config.lr": 6}) == 1
    store.runs.delete(run.id)
    assert store.runs.count(project, {"config.lr": 6}) == 0
    with store._database.read() as connection:
        assert connection.execute("SELECT count(*) FROM run_value").fetchone()[0] == 0


def test_the_index_of_a_deleted_project_is_deleted(store: Store) -> None:
    project = _with_runs(store, 2_050, config='{"lr": {"value": 1}}')
    assert store.runs.count(project, {"config.lr": 1}) == 2_050
    store.projects.delete(project.id)
    with store._database.read() as connection:
        for table in ("run_value", "indexed_key"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0


@pytest.mark.slow
def test_the_number_of_keys_in_the_index_is_bounded(store: Store) -> None:
    project = _with_runs(store, 2_050)
    for number in range(70):
        store.runs.count(project, {f"config.key{number}": 1})
    store.runs.count(project, {f"config.other{number}": 1 for number in range(20)})
    with store._database.read() as connection:
        (count,) = connection.execute("SELECT count(*) FROM indexed_key").fetchone()
    assert count == 64


def test_a_small_project_has_no_index(store: Store, project: ProjectRow) -> None:
    store.runs.upsert(project, "r", RunChanges(config='{"lr": {"value": 1}}'))
    assert store.runs.count(project, {"config.lr": 1}) == 1
    with store._database.read() as connection:
        assert connection.execute("SELECT count(*) FROM indexed_key").fetchone()[0] == 0


def _with_runs(store: Store, number: int, config: str = "{}") -> ProjectRow:
    project, _ = store.projects.ensure("local", "many")
    with store._database.write() as connection:
        connection.executemany(
            "INSERT INTO run (project_id, name, display_name, state, created_at, heartbeat_at,"
            " config) VALUES (?, ?, '', 'finished', 1, 1, ?)",
            [(project.id, f"r{n}", config) for n in range(number)],
        )
    found = store.projects.get("local", "many")
    assert found is not None
    return found
