"""Odd rows and values are stored as something readable, or refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aiowandb_server import RunChanges, Store
from aiowandb_server.errors import RequestError
from aiowandb_server.store.json_text import MAX_DEPTH
from aiowandb_server.store.records import ProjectRow, RunRow
from aiowandb_server.store.search import parse_space
from aiowandb_server.store.sweeps import SweepChanges
from tests.server.conftest import Client
from tests.support.old_stores import old_store

pytestmark = pytest.mark.anyio

LISTING = """query($order: String, $filters: JSONString) { project(name: "demo") {
  runs(order: $order, filters: $filters) { edges { node {
    name config summaryMetrics historyKeys historyTail history(samples: 100) systemMetrics
    sampledHistory(specs: ["{\\"keys\\": [\\"_step\\"]}"]) parquetHistory { parquetUrls }
  } } } } }"""


async def runs_of(client: Client, **variables: Any) -> dict[str, Any]:
    edges = (await client.ask(LISTING, **variables))["project"]["runs"]["edges"]
    return {edge["node"]["name"]: edge["node"] for edge in edges}


@pytest.mark.parametrize("is_finished", [False, True])
async def test_half_a_surrogate_in_one_row_leaves_the_project_readable(
    client: Client, store: Store, project: ProjectRow, run: RunRow, is_finished: bool
) -> None:
    store.runs.upsert(project, "other")
    line = r'{"k\ud800": 1, "pair": "\ud83d\ude00", "half": "\udc00", "_step": 0}'
    assert store.history.append(run, [line]) == 0
    if is_finished:
        store.finish(run)
    found = await runs_of(client)
    assert set(found) == {"r1", "other"}
    assert set(found["r1"]["historyKeys"]["keys"]) == {"k\ufffd", "pair", "half", "_step"}
    (text,) = found["r1"]["history"]
    assert json.loads(text) == {"k\ufffd": 1, "pair": "😀", "half": "\ufffd", "_step": 0}
    for url in found["r1"]["parquetHistory"]["parquetUrls"]:
        (row,) = pq.read_table(io.BytesIO((await client.keyless.get(url)).content)).to_pylist()
        assert row == {"k\ufffd": 1, "pair": "😀", "half": "\ufffd", "_step": 0}


async def test_half_a_surrogate_in_a_request_is_kept_as_a_replacement(
    client: Client, store: Store, run: RunRow
) -> None:
    body = rb"""{"files": {"output.log": {"offset": 0, "content": ["a\ud800b"]},
        "wandb-summary.json": {"offset": 0, "content": ["{\"x\": \"\\ud800\"}"]}}}"""
    answer = await client.http.post("/files/local/demo/r1/file_stream", content=body)
    assert answer.status_code == 200
    fresh = store.runs.by_id(run.id)
    assert fresh is not None
    (line,) = store.console.tail(fresh, 1).items
    assert line.line == "a\ufffdb"
    assert json.loads(fresh.summary) == {"x": "\ufffd"}


async def test_config_with_half_a_surrogate_can_be_ordered_by(
    client: Client, store: Store, project: ProjectRow
) -> None:
    store.runs.upsert(project, "odd", RunChanges(config=r'{"lr": {"value": "\ud800"}}'))
    store.runs.upsert(project, "plain", RunChanges(config='{"lr": {"value": "a"}}'))
    assert list(await runs_of(client, order="+config.lr")) == ["plain", "odd"]
    await runs_of(client, filters='{"config.lr": {"$regex": "."}}')


async def test_a_store_with_such_rows_can_be_read(tmp_path: Path) -> None:
    half = r'{"a": {"value": "\ud800"}}'
    with old_store(tmp_path, 7) as connection:
        connection.execute("INSERT INTO entity VALUES (1, 'local', 0, 5)")
        connection.execute(
            "INSERT INTO project (id, entity_id, name, created_at) VALUES (2, 1, 'demo', 5)"
        )
        connection.execute(
            "INSERT INTO run (id, project_id, name, state, created_at, heartbeat_at, display_name,"
            " config, finite_config, summary) VALUES (1, 2, 'r1', 'finished', 5, 5, 'r1', ?, ?, ?)",
            (half, half, "[" * 2500),
        )
    with Store.open(tmp_path) as store:
        project = store.projects.get("local", "demo")
        assert project is not None
        (found,) = store.runs.page(project, order="+config.a").items
        assert json.loads(found.config) == {"a": {"value": "\ufffd"}}
        assert store.runs.page(project, order="+summary_metrics.a").items


async def test_deeply_nested_values_are_text_in_a_row_and_refused_elsewhere(
    client: Client, store: Store, run: RunRow
) -> None:
    def nested(depth: int) -> str:
        return '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"

    for depth, refused in ((MAX_DEPTH, 0), (MAX_DEPTH + 1, 1), (100_000, 1)):
        assert store.history.append(run, [nested(depth)]) == 0
        if refused:
            with pytest.raises(RequestError, match="nested"):
                store.runs.change(run.id, RunChanges(config=nested(depth)))
        else:
            store.runs.change(run.id, RunChanges(config=nested(depth)))
    store.finish(run)
    found = await runs_of(client, order="-config.a")
    rows = [json.loads(text) for text in found["r1"]["history"]]
    assert [row["_step"] for row in rows] == [0, 1, 2]
    for row in rows:
        value, depth = row["a"], 1
        while isinstance(value, list) and value:
            (value,), depth = value, depth + 1
        assert depth <= MAX_DEPTH
        assert not isinstance(value, str) or set(value) == {"[", "]"}


async def test_brackets_in_a_text_are_not_nested(store: Store, run: RunRow) -> None:
    line = json.dumps({"_step": 0, "text": '["\\' * 10_000})
    assert store.history.append(run, [line]) == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{}", '{"_step":0}'),
        (' { "x" : 1 } ', ' { "x" : 1,"_step":0}'),
        ('{"x":NaN}', '{"x":NaN,"_step":0}'),
        ('{"_step":null,"x":1}', '{"_step":0,"x":1}'),
        ('{"_step":"a","x":1}', '{"_step":0,"x":1}'),
        ('{"_step":true,"x":1}', '{"_step":0,"x":1}'),
        ('{"_step":1e400,"x":1}', '{"_step":0,"x":1}'),
        ('{"x":{"_step":7}}', '{"x":{"_step":7},"_step":0}'),
        ('{"x":"\\"_step\\":0"}', '{"x":"\\"_step\\":0","_step":0}'),
        ('{"x":1, "_step": 0}', '{"x":1, "_step": 0}'),
    ],
)
@pytest.mark.parametrize("is_finished", [False, True])
async def test_every_returned_line_has_its_step(
    client: Client, store: Store, run: RunRow, line: str, expected: str, is_finished: bool
) -> None:
    assert store.history.append(run, [line]) == 0
    if is_finished:
        store.finish(run)
    found = (await runs_of(client))["r1"]
    assert found["history"] == [expected]
    assert json.loads(found["historyTail"]) == [expected]
    assert found["sampledHistory"] == [[{"_step": 0}]]
    for url in found["parquetHistory"]["parquetUrls"]:
        content = (await client.keyless.get(url)).content
        assert pq.read_table(io.BytesIO(content))["_step"].to_pylist() == [0]


async def test_a_line_count_beyond_32_bits_is_refused(client: Client, run: RunRow) -> None:
    for offset in (2**31, 2**40):
        body = {"files": {"output.log": {"offset": offset, "content": ["x"]}}}
        assert (await client.stream("local/demo/r1", body)).status_code == 400
    assert (await client.stream("local/demo/r1", {"exitcode": 2**32})).status_code == 400
    await runs_of(client)


async def test_the_exit_code_of_a_crash_on_windows_is_kept(
    client: Client, store: Store, run: RunRow
) -> None:
    body = {"complete": True, "exitcode": 0xC0000005}
    assert (await client.stream("local/demo/r1", body)).status_code == 200
    ended = store.runs.by_id(run.id)
    assert ended is not None
    assert (ended.exit_code, ended.state) == (0xC0000005 - 2**32, "failed")
    await client.ask('{project(name: "demo"){runs{edges{node{exitcode}}}}}')


async def test_bytes_that_are_not_utf_8_do_not_end_a_run(
    client: Client, store: Store, run: RunRow
) -> None:
    body = b'{"files": {"output.log": {"offset": 0, "content": ["a\xffb"]}}}'
    answer = await client.http.post("/files/local/demo/r1/file_stream", content=body)
    assert answer.status_code == 200
    spoken = store.runs.by_id(run.id)
    assert spoken is not None
    assert store.console.tail(spoken, 1).items[0].line == "a\ufffdb"


def test_a_number_without_end_is_text_in_its_row(store: Store, run: RunRow) -> None:
    digits = "9" * 5_000
    assert store.history.append(run, [f'{{"_step": 0, "x": -{digits}, "y": 1}}']) == 0
    store.finish(run)
    (text,) = store.history.window(run, 0, 9, 9)
    assert json.loads(text) == {"_step": 0, "x": f"-{digits}", "y": 1}


async def test_a_history_that_cannot_become_columns_goes_out_as_it_is(
    client: Client, store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run_id: int) -> None:
        raise ArithmeticError("nobody knows why")

    store.history.append(run, ['{"_step": 0, "x": 1}'])
    store.stream.finish(run)
    monkeypatch.setattr(store.compaction, "compact", fail)
    found = await client.ask(
        '{project(name: "demo"){run(name: "r1"){history(samples: 9)'
        ' parquetHistory(liveKeys: ["_step"]){parquetUrls liveData}}}}'
    )
    assert found["project"]["run"] == {
        "history": ['{"_step": 0, "x": 1}'],
        "parquetHistory": {"parquetUrls": [], "liveData": [{"_step": 0}]},
    }


SWEEPS = """{ project(name: "demo") { sweeps { edges { node {
  name method runCountExpected bestLoss priorRuns { totalCount edges { node { name } } }
} } } } }"""


@pytest.mark.parametrize("prior", [None, "{", '{"nothing.such": 1}'])
async def test_an_old_invalid_sweep_does_not_break_lists(
    client: Client, store: Store, project: ProjectRow, prior: str | None
) -> None:
    config = "method: grid\nparameters: {x: {values: [1, 2]}}"
    old = store.sweeps.create(project, SweepChanges(config=config))
    store.sweeps.create(project, SweepChanges(config=config))
    with store._database.write() as connection:
        connection.execute(
            "UPDATE sweep SET config = 'method: [', prior_runs = ? WHERE id = ?", (prior, old.id)
        )
    edges = (await client.ask(SWEEPS))["project"]["sweeps"]["edges"]
    assert [edge["node"]["method"] for edge in edges] == ["grid", None]
    assert [edge["node"]["runCountExpected"] for edge in edges] == [2, None]
    assert {edge["node"]["priorRuns"]["totalCount"] for edge in edges} == {0}


async def test_prior_runs_with_an_invalid_filter_are_refused(client: Client, run: RunRow) -> None:
    status, _ = await client.refusal(
        "mutation($input: UpsertSweepInput!){upsertSweep(input: $input){sweep{id}}}",
        input={
            "projectName": "demo",
            "config": "method: grid\nparameters: {x: {values: [1]}}",
            "priorRunsFilters": "{",
        },
    )
    assert status == 400


def test_a_filter_may_name_thousands_and_a_longer_one_is_refused(
    store: Store, project: ProjectRow, run: RunRow
) -> None:
    names = [f"r{number}" for number in range(5_000)]
    assert store.runs.count(project, {"name": {"$in": names}}) == 1
    with pytest.raises(RequestError, match="too long"):
        store.runs.count(project, {"name": {"$in": [*names] * 60}})


def test_pages_go_on_after_an_infinite_value(store: Store, project: ProjectRow) -> None:
    for name, value in (("a", "1"), ("b", "Infinity"), ("c", "Infinity"), ("d", "null")):
        store.runs.upsert(project, name, RunChanges(summary=f'{{"x": {value}}}'))
    found: list[str] = []
    after = None
    for _ in range(4):
        page = store.runs.page(project, order="+summary_metrics.x", first=1, after=after)
        found += [run.name for run in page.items]
        after = page.cursors[-1]
    assert found == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "config",
    [
        "{method: grid, parameters: {x: {values: 5}}}",
        "{method: random, parameters: {x: {distribution: 5}}}",
        "{method: random, parameters: [1]}",
        "{method: random, metric: loss}",
        "{method: random, run_cap: many}",
        "{method: grid, parameters: {x: {min: 0.5, max: 1.0e+300, q: 1}}}",
        "{? [a] : 1}",
        pytest.param("[" * 5_000, marks=pytest.mark.slow),
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n"
            for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
        ),
    ],
)
def test_a_sweep_that_is_not_understood_is_refused(config: str) -> None:
    with pytest.raises(RequestError):
        parse_space(config)


def test_parameters_of_a_sweep_are_what_json_can_say() -> None:
    space = parse_space(r'{"method": "grid", "parameters": {"x": {"value": "\ud83d\ude00\ud800"}}}')
    assert space.draw(0, 0) == {"x": "😀\ufffd"}
    huge = parse_space("{method: grid, parameters: {x: {min: 0, max: 1000000000000}}}")
    assert huge.draw(10**9, 0) == {"x": 10**9}
