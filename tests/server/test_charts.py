"""The queries of the web pages besides W&B's own: series for charts, previews, columns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiowandb_server import Store
from aiowandb_server.store.charting import ChartRequest
from aiowandb_server.store.previews import find_value
from aiowandb_server.store.records import ProjectRow, RunChanges, RunRow
from tests.server.conftest import Client

pytestmark = pytest.mark.anyio
RUN = 'project(name:"demo",entityName:"local"){run(name:"r1"){%s}}'


def log(store: Store, run: RunRow, rows: list[dict[str, Any]], stream: Any = "history") -> RunRow:
    store.history.append(run, [json.dumps(row) for row in rows], stream=stream)
    found = store.runs.by_id(run.id)
    assert found is not None
    return found


def both_ways(store: Store, run: RunRow, request: ChartRequest) -> list[dict[str, Any]]:
    """The series, which is the same from SQLite and from Parquet."""
    live = store.charts.series(run, request)
    store.compaction.compact(run.id)
    assert store.charts.series(run, request) == live
    return live


async def test_few_points_are_given_as_they_are(store: Store, run: RunRow) -> None:
    run = log(store, run, [{"loss": 3.0}, {"acc": 0.5}, {"loss": 1, "acc": 0.75}])
    loss, acc, none = both_ways(store, run, ChartRequest(("loss", "acc", "none")))
    assert (loss["x"], loss["y"], loss["count"]) == ([0, 2], [3.0, 1], 2)
    assert (acc["x"], acc["y"]) == ([1, 2], [0.5, 0.75])
    assert none["count"] == 0


async def test_a_spike_among_many_points_stays_in_the_band(store: Store, run: RunRow) -> None:
    run = log(store, run, [{"loss": 1000.0 if n == 7777 else n % 2} for n in range(10_000)])
    (series,) = both_ways(store, run, ChartRequest(("loss",), buckets=100))
    assert len(series["x"]) == 100
    assert series["count"] == 10_000
    assert max(series["high"]) == 1000
    assert series["low"] == [0] * 100
    assert series["y"][0] == pytest.approx(0.5)
    assert series["x"][0] == pytest.approx(49.5)


async def test_a_part_of_the_axis_is_looked_at_closely(store: Store, run: RunRow) -> None:
    run = log(store, run, [{"loss": n} for n in range(1000)])
    (series,) = both_ways(store, run, ChartRequest(("loss",), buckets=50, low=100, high=120))
    assert series["x"] == list(range(100, 121))


async def test_any_key_can_be_the_axis(store: Store, run: RunRow) -> None:
    run = log(store, run, [{"epoch": n / 2, "val": {"acc": n}} for n in range(3)] + [{"val": 9}])
    (series,) = both_ways(store, run, ChartRequest(("val.acc",), x="epoch"))
    assert (series["x"], series["y"]) == ([0, 0.5, 1], [0, 1, 2])
    assert both_ways(store, run, ChartRequest(("val.acc",), x="none"))[0]["count"] == 0


async def test_values_that_are_not_numbers_are_not_drawn(store: Store, run: RunRow) -> None:
    odd = [float("nan"), float("inf"), "NaN", "word", None, True, [1], {"a": 1}, 10**400]
    run = log(store, run, [{"k": value} for value in [*odd, 5]])
    (series,) = both_ways(store, run, ChartRequest(("k",)))
    assert series["y"] == [5]


async def test_huge_numbers_have_a_mean(store: Store, run: RunRow) -> None:
    run = log(store, run, [{"k": 1.7e308}] * 10)
    (series,) = both_ways(store, run, ChartRequest(("k",), buckets=1))
    assert series["y"] == [pytest.approx(1.7e308)]


async def test_system_metrics_have_series_too(store: Store, run: RunRow) -> None:
    run = log(store, run, [{"_runtime": n, "system.cpu": n * 2} for n in range(3)], "events")
    request = ChartRequest(("system.cpu",), x="_runtime", stream="events")
    assert store.charts.series(run, request)[0]["y"] == [0, 2, 4]


async def test_series_come_through_graphql(client: Client, store: Store, run: RunRow) -> None:
    log(store, run, [{"loss": n} for n in range(4)])
    spec = json.dumps({"keys": ["loss"], "buckets": 2})
    query = "query($spec:JSONString!){" + RUN % "chartSeries(spec:$spec)" + "}"
    answer = await client.ask(query, spec=spec)
    (series,) = answer["project"]["run"]["chartSeries"]
    assert series["y"] == [0.5, 2.5]
    for bad in ("[]", '{"keys": 1}', json.dumps({"keys": ["k"] * 101})):
        status, message = await client.refusal(query, spec=bad)
        assert status == 400
        assert "chartSeries" in message


async def test_long_texts_are_cut_in_previews(
    client: Client, store: Store, project: ProjectRow
) -> None:
    config = {"text": {"value": "x" * 1_000_000}, "lr": {"value": 0.1}, "_wandb": {"value": {}}}
    summary = {"deep": {"list": list(range(5000)), "nan": float("nan")}}
    changes = RunChanges(config=json.dumps(config), summary=json.dumps(summary))
    store.runs.upsert(project, "r1", changes)
    columns = '["config.text","config.lr","summary.deep.nan","config.none","state"]'
    query = "{" + RUN % f"configPreview summaryPreview cells(columns:{columns})" + "}"
    run = (await client.ask(query))["project"]["run"]
    assert run["configPreview"].keys() == {"text", "lr"}
    assert len(run["configPreview"]["text"]) < 2100
    assert run["configPreview"]["text"].endswith("(1000000 characters)")
    assert len(run["summaryPreview"]["deep"]["list"]) == 2001
    text, *others = run["cells"]
    assert len(text) < 400
    assert others == [0.1, "NaN", None, None]


async def test_names_of_columns_are_found(
    client: Client, store: Store, project: ProjectRow
) -> None:
    config = {"model": {"value": {"depth": 18}}, "a.b": {"value": 1}}
    summary = {f"key{n}": n for n in range(10_000)} | {"image": {"_type": "image-file"}}
    changes = RunChanges(config=json.dumps(config), summary=json.dumps(summary))
    store.runs.upsert(project, "r1", changes)
    query = 'query($s:String){project(name:"demo",entityName:"local"){columnNames(search:$s)}}'

    async def names(search: str) -> list[str]:
        found: list[str] = (await client.ask(query, s=search))["project"]["columnNames"]
        return found

    assert len(await names("")) == 500
    assert await names("CONFIG.") == ["config.a.b", "config.model.depth"]
    assert await names("key9999") == ["summary.key9999"]
    assert await names("image") == ["summary.image"]


def test_a_dotted_name_is_a_key_or_a_path() -> None:
    tree = {"a": {"b.c": {"d": 1}}, "a.b": 2, "x": None}
    assert find_value(tree, "a.b") == 2
    assert find_value(tree, "a.b.c.d") == 1
    assert find_value(tree, "a.b.c.e") is None
    assert find_value(tree, "x") is None


async def test_a_sweep_has_its_search_space(client: Client, store: Store) -> None:
    config = (
        "method: grid\nmetric: {name: loss}\n"
        "parameters: {lr: {values: [1, 2]}, m: {parameters: {d: {value: 1}}}}"
    )
    made = await client.ask(
        'mutation($c:String){upsertSweep(input:{projectName:"demo",config:$c})'
        "{sweep{searchMetric searchParameters}}}",
        c=config,
    )
    assert made["upsertSweep"]["sweep"] == {
        "searchMetric": {"name": "loss", "goal": "minimize"},
        "searchParameters": ["lr", "m.d"],
    }
