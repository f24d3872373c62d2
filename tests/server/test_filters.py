"""Which runs a filter selects: MongoDB's semantics, for all fields of runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiowandb_server import RunChanges, Store
from aiowandb_server.errors import RequestError
from aiowandb_server.store.records import ProjectRow
from tests.server.conftest import START, Clock

RUNS: dict[str, dict[str, Any]] = {
    "adam": {
        "config": {"lr": 0.1, "opt": "adam", "net": {"depth": 3, "skip": True}, "a.b": 1},
        "summary": {"acc": 0.9, "val": {"acc": 0.8}, "epochs": [1, 2]},
        "tags": ["good", "first"],
        "group": "g1",
    },
    "sgd": {
        "config": {"lr": 0.01, "opt": "sgd", "net": {"depth": 5, "skip": False}},
        "summary": {"acc": float("nan"), "top": float("inf")},
        "tags": ["first"],
        "job_type": "eval",
    },
    "bare": {"config": {"lr": None}, "summary": {}, "tags": []},
    "words": {"config": {"lr": "0.1", "net": 1}, "summary": {"acc": 1}, "tags": ["other"]},
}


@pytest.fixture
def filled(store: Store, project: ProjectRow) -> ProjectRow:
    for name, facts in RUNS.items():
        store.runs.upsert(
            project,
            name,
            RunChanges(
                display_name=f"The {name} run",
                config=json.dumps({key: {"value": item} for key, item in facts["config"].items()}),
                summary=json.dumps(facts["summary"]),
                tags=facts["tags"],
                group=facts.get("group"),
                job_type=facts.get("job_type"),
            ),
        )
    return project


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "adam sgd bare words"),
        ({"name": "adam"}, "adam"),
        ({"display_name": "The sgd run"}, "sgd"),
        ({"displayName": {"$regex": "^The (adam|sgd)"}}, "adam sgd"),
        ({"displayName": {"$regex": "the BARE", "$options": "i"}}, "bare"),
        ({"display_name": {"$regex": "(?i)WORDS"}}, "words"),
        ({"group": "g1"}, "adam"),
        ({"group": None}, "sgd bare words"),
        ({"group": {"$exists": False}}, "sgd bare words"),
        ({"jobType": "eval"}, "sgd"),
        ({"job_type": {"$ne": "eval"}}, "adam bare words"),
        ({"config.lr": 0.1}, "adam"),
        ({"config.lr.value": 0.1}, "adam"),
        ({"config.lr": "0.1"}, "words"),
        ({"config.lr": None}, "bare"),
        ({"config.lr": {"$exists": True}}, "adam sgd bare words"),
        ({"config.opt": {"$exists": False}}, "bare words"),
        ({"config.opt": None}, "bare words"),
        ({"config.lr": {"$gt": 0.05}}, "adam"),
        ({"config.lr": {"$gte": 0.01, "$lt": 0.1}}, "sgd"),
        ({"config.lr": {"$in": [0.1, "0.1"]}}, "adam words"),
        ({"config.lr": {"$nin": [0.1, "0.1"]}}, "sgd bare"),
        ({"config.lr": {"$ne": 0.1}}, "sgd bare words"),
        ({"config.lr": {"$not": {"$gt": 0.05}}}, "sgd bare words"),
        ({"config.net.depth": 3}, "adam"),
        ({"config.net.value.depth": {"$lte": 3}}, "adam"),
        ({"config.net.skip": True}, "adam"),
        ({"config.net.skip": 1}, ""),
        ({"config.net": {"depth": 3, "skip": True}}, "adam"),
        ({"config.a.b": 1}, "adam"),
        ({"config.a.b.value": 1}, "adam"),
        ({"summary_metrics.acc": {"$gt": 0.5}}, "adam words"),
        ({"summary_metrics.acc": None}, "sgd bare"),
        ({"summary_metrics.top": {"$gt": 1e300}}, "sgd"),
        ({"summary_metrics.val.acc": 0.8}, "adam"),
        ({"summary_metrics.epochs": 2}, "adam"),
        ({"summary_metrics.epochs": [1, 2]}, "adam"),
        ({"tags": "first"}, "adam sgd"),
        ({"tags": {"$in": ["good", "other"]}}, "adam words"),
        ({"tags": {"$nin": ["first"]}}, "bare words"),
        ({"tags": {"$ne": "first"}}, "bare words"),
        ({"tags": {"$regex": "^oth"}}, "words"),
        ({"tags": []}, "bare"),
        ({"$or": [{"name": "adam"}, {"tags": "other"}]}, "adam words"),
        ({"$and": [{"tags": "first"}, {"config.opt": "sgd"}]}, "sgd"),
        ({"$nor": [{"tags": "first"}, {"config.lr": None}]}, "words"),
        ({"$not": {"tags": "first"}}, "bare words"),
        ({"$or": []}, ""),
        ({"$and": []}, "adam sgd bare words"),
        ({"state": "running"}, "adam sgd bare words"),
        ({"state": {"$in": ["finished", "crashed"]}}, ""),
        ({"name": "x' OR '1'='1"}, ""),
    ],
    ids=str,
)
def test_a_filter_selects(store: Store, filled: ProjectRow, filters: Any, expected: str) -> None:
    page = store.runs.page(filled, filters=filters)
    assert [run.name for run in page.items] == expected.split()
    assert store.runs.count(filled, filters) == len(expected.split())


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ([], "a filter must be an object"),
        ({"nonsense": 1}, "runs have no field 'nonsense'"),
        ({"summary.acc": 1}, "runs have no field 'summary.acc'"),
        ({"config.lr": {"$near": 1}}, "$near is not an operator"),
        ({"$xor": []}, "$xor is not an operator"),
        ({"$or": {"name": "a"}}, "$or takes a list"),
        ({"name": {"$in": "adam"}}, "$in takes a list"),
        ({"name": {"$regex": "("}}, "$regex"),
        ({"name": {"$regex": 3}}, "$regex takes a string"),
        ({"name": {"$gt": None}}, "takes a number or a string"),
        ({'config.a"b': 1}, "double quote"),
        ({"created_at": {"$gt": "yesterday"}}, "takes a time"),
    ],
    ids=str,
)
def test_a_wrong_filter_is_explained(
    store: Store, project: ProjectRow, filters: Any, message: str
) -> None:
    with pytest.raises(RequestError) as refusal:
        store.runs.page(project, filters=filters)
    if filters:
        assert message in str(refusal.value)


def test_a_filter_nested_without_end_is_refused(store: Store, project: ProjectRow) -> None:
    filters: dict[str, Any] = {"name": "a"}
    for _ in range(200):
        filters = {"$not": filters}
    with pytest.raises(RequestError, match="levels deep"):
        store.runs.page(project, filters=filters)


def test_a_costly_pattern_takes_no_longer_than_others(store: Store, project: ProjectRow) -> None:
    store.runs.upsert(project, "r", RunChanges(display_name="a" * 5000 + "!"))
    assert store.runs.count(project, {"display_name": {"$regex": "^(a+)+$"}}) == 0


def test_times_are_compared_as_times(store: Store, project: ProjectRow, clock: Clock) -> None:
    store.runs.upsert(project, "early")
    clock.now += 3600
    store.runs.upsert(project, "late")

    def names(condition: Any) -> list[str]:
        return [run.name for run in store.runs.page(project, filters=condition).items]

    assert names({"createdAt": {"$gt": "2025-06-15T15:30:00"}}) == ["late"]
    assert names({"created_at": {"$lte": "2025-06-15T15:06:40Z"}}) == ["early"]
    assert names({"created_at": {"$lt": "2025-06-15T17:30:00+02:00"}}) == ["early"]
    assert names({"created_at": {"$gte": START + 1}}) == ["late"]
    assert names({"duration": 0}) == ["early", "late"]


def test_a_silent_run_reads_as_crashed(store: Store, project: ProjectRow, clock: Clock) -> None:
    store.runs.upsert(project, "silent")
    store.runs.upsert(project, "done", RunChanges(state="finished"))
    clock.now += 301
    assert [run.state for run in store.runs.page(project).items] == ["crashed", "finished"]
    assert store.runs.count(project, {"state": "crashed"}) == 1
    assert store.runs.count(project, {"state": "running"}) == 0


def test_runs_can_be_found_by_the_keys_of_their_history(store: Store, project: ProjectRow) -> None:
    live, _ = store.runs.upsert(project, "live")
    store.history.append(live, ['{"_step": 0, "eval/loss": 1}'])
    done, _ = store.runs.upsert(project, "done")
    store.history.append(done, ['{"_step": 0, "a": {"b": 2}}'])
    store.finish(done)
    store.history.count_all_keys(project.id)

    def names(key: str) -> list[str]:
        filters = {f"keys_info.keys.{key}": {"$exists": True}}
        return [run.name for run in store.runs.page(project, filters=filters).items]

    assert names("eval/loss") == ["live"]
    assert names("a.b") == ["done"]


@pytest.mark.parametrize(
    ("config", "filters", "found"),
    [
        ({"a\\b": 1}, {r"config.a\b": 1}, True),
        ({"a\\b": 1}, {r"config.a\b": {"$exists": False}}, False),
        ({"a\\": {"b": 1}}, {"config.a\\.b": 1}, True),
        ({"é": 1}, {"config.é": 1}, True),
        ({"a<b&c": 1}, {"config.a<b&c": 1}, True),
        ({"a\tb": 1}, {"config.a\tb": 1}, True),
        ({"": 1}, {"config.": 1}, True),
        ({"": 1}, {"config..value": 1}, True),
        ({"": 1}, {"config.": {"$exists": False}}, False),
        ({"": {"": 1}}, {"config..": 1}, True),
        ({"a": {"b": 1}, "a.b": 2}, {"config.a.b": 1}, True),
        ({"a": {"b": 1}, "a.b": 2}, {"config.a.b": 2}, False),
        ({"a": {"b": 1}, "a.b": 2}, {"config.a\\.b": 2}, True),
        ({"a": {"b": 1}, "a.b": 2}, {"config.a\\.b": 1}, False),
        ({"a": {"b": None}, "a.b": 2}, {"config.a.b": None}, True),
        ({"a": {"b": None}, "a.b": 2}, {"config.a.b": 2}, False),
        ({"a": {"b": [1]}, "a.b": [2]}, {"config.a.b": 1}, True),
        ({"a": {"b": [1]}, "a.b": [2]}, {"config.a.b": 2}, False),
        ({"a": 1, "a.b": 2}, {"config.a.b": 2}, True),
        ({"a.b": {"c": 1}}, {"config.a\\.b.c": 1}, True),
        ({"a.b": {"c.d": 1}}, {"config.a\\.b.c\\.d": 1}, True),
        ({"a.b.c": 1}, {"config.a\\.b.c": 1}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_key_is_found_however_it_is_written(
    store: Store, project: ProjectRow, config: Any, filters: Any, found: bool, ascii_only: bool
) -> None:
    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only).replace("&", r"\u0026")

    changes = RunChanges(
        config=text({key: {"value": item} for key, item in config.items()}), summary=text(config)
    )
    run, _ = store.runs.upsert(project, "r", changes)
    assert run.config == changes.config, "it is given back as it was written"
    assert store.runs.count(project, filters) == found
    assert [r.name for r in store.runs.page(project, filters=filters).items] == ["r"] * found
    of_summary = {
        name.replace("config.", "summary_metrics.").removesuffix(".value"): item
        for name, item in filters.items()
    }
    if filters != {"config..value": 1}:
        assert store.runs.count(project, of_summary) == found
