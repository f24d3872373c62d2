"""Runs over the wire: upsert, file stream, resume, history, changes."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from aiowandb_server import Store
from aiowandb_server.store.records import RunRow
from tests.server.conftest import Client, Clock

pytestmark = pytest.mark.anyio

UPSERT = """
mutation UpsertBucket($input: UpsertBucketInput!) {
  upsertBucket(input: $input) {
    bucket { id name config tags state historyLineCount project { name entity { name } } }
    inserted
  }
}
"""


async def upsert(client: Client, **fields: Any) -> Any:
    return (await client.ask(UPSERT, input=fields))["upsertBucket"]


async def run_of(client: Client, fields: str, name: str = "r1", **variables: Any) -> Any:
    declared = "($n: String!" + "".join(f", ${key}: {kind}" for key, (kind, _) in variables.items())
    data = await client.ask(
        f'query{declared}) {{project(name:"demo"){{run(name:$n){{{fields}}}}}}}',
        n=name,
        **{key: value for key, (_, value) in variables.items()},
    )
    return data["project"]["run"]


async def test_upsert_makes_project_and_run_on_demand(client: Client) -> None:
    made = await upsert(client, name="r1", modelName="fresh", config='{"a":{"value":1}}')
    assert made["inserted"] is True
    assert made["bucket"]["project"] == {"name": "fresh", "entity": {"name": "local"}}
    again = await upsert(client, id=made["bucket"]["id"], tags=["x"], config=None)
    assert again["inserted"] is False
    assert again["bucket"]["config"] == '{"a":{"value":1}}'
    assert again["bucket"]["tags"] == ["x"]


async def test_a_config_that_is_not_an_object_is_refused(client: Client) -> None:
    status, message = await client.refusal(
        UPSERT, input={"name": "r1", "modelName": "demo", "config": "[1]"}
    )
    assert status == 400
    assert "must be a JSON object" in message


async def test_a_file_stream_request_is_stored_completely_or_not_at_all(
    client: Client, store: Store, run: RunRow
) -> None:
    response = await client.stream(
        "local/demo/r1",
        {
            "files": {
                "wandb-history.jsonl": {"offset": 0, "content": ['{"_step":0,"x":NaN}', "{no"]},
                "wandb-events.jsonl": {"offset": 0, "content": ['{"system.cpu":3}']},
                "wandb-summary.json": {"offset": 0, "content": ['{"x":Infinity}']},
                "output.log": {
                    "offset": 0,
                    "content": [
                        "2026-01-01T00:00:00.000001 hello",
                        "ERROR 2026-01-01T00:00:01.5 [rank0] bad",
                        "bare",
                    ],
                },
            }
        },
    )
    assert response.json() == {"exitcode": None, "limits": {}, "stopped": False}
    found = await run_of(
        client,
        "state history(samples:10) events(samples:10) summaryMetrics systemMetrics logLineCount "
        "logLines(first:10){edges{node{number timestamp level label line}} pageInfo{hasNextPage}}",
    )
    assert found["history"] == ['{"_step":0,"x":NaN}']
    assert found["events"] == ['{"system.cpu":3}']
    assert found["summaryMetrics"] == '{"x":Infinity}'
    assert json.loads(found["systemMetrics"]) == {"system.cpu": 3}
    assert found["logLineCount"] == 3
    nodes = [edge["node"] for edge in found["logLines"]["edges"]]
    assert [node["line"] for node in nodes] == ["hello", "bad", "bare"]
    assert [node["level"] for node in nodes] == ["", "error", ""]
    assert [node["label"] for node in nodes] == ["", "rank0", ""]
    assert store.history.rejected(run) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"files": []}',
        b'{"files": {"wandb-history.jsonl": {"offset": -1, "content": ["{}"]}}}',
        b'{"files": {"wandb-history.jsonl": {"offset": "a"}}}',
        b'{"exitcode": "zero"}',
    ],
)
async def test_a_malformed_file_stream_request_is_refused(
    client: Client, store: Store, run: RunRow, body: bytes
) -> None:
    response = await client.http.post("/files/local/demo/r1/file_stream", content=body)
    assert response.status_code == 400
    fresh = store.runs.by_id(run.id)
    assert fresh is not None
    assert fresh.history_lines == 0


async def test_an_unknown_run_has_no_file_stream(client: Client, run: RunRow) -> None:
    assert (await client.stream("local/demo/none", {})).status_code == 404
    assert (await client.stream("local/none/r1", {})).status_code == 404


async def test_a_stopped_run_is_notified_with_its_next_request(client: Client, run: RunRow) -> None:
    found = await run_of(client, "id")
    await client.ask("mutation($id:ID!){stopRun(input:{id:$id}){success}}", id=found["id"])
    assert (await client.stream("local/demo/r1", {})).json()["stopped"] is True
    done = {"complete": True, "exitcode": 255}
    assert (await client.stream("local/demo/r1", done)).json()["stopped"] is False
    assert (await run_of(client, "state exitcode")) == {"state": "failed", "exitcode": 255}


async def test_the_resume_status_has_all_that_a_resume_needs(
    client: Client, store: Store, run: RunRow
) -> None:
    query = """
    query RunResumeStatus($project: String, $entity: String, $name: String!) {
      model(name: $project, entityName: $entity) { id name entity { id name }
        bucket(name: $name, missingOk: true) {
          id name summaryMetrics displayName logLineCount historyLineCount eventsLineCount
          historyTail eventsTail config tags notes wandbConfig(keys: ["t"]) } } }
    """
    await upsert(client, name="r1", modelName="demo", config='{"_wandb":{"value":{"t":{"1":[2]}}}}')
    store.history.append(run, ['{"_step":0}', '{"_step":4}'])
    data = await client.ask(query, project="demo", entity="local", name="r1")
    bucket = data["model"]["bucket"]
    assert json.loads(bucket["historyTail"]) == ['{"_step":4}']
    assert json.loads(bucket["eventsTail"]) == []
    assert bucket["historyLineCount"] == 2
    assert json.loads(bucket["wandbConfig"]) == {"t": {"1": [2]}}
    missing = await client.ask(query, project="demo", entity="local", name="none")
    assert missing["model"]["bucket"] is None


async def test_sampled_history_includes_its_last_step(
    client: Client, store: Store, run: RunRow
) -> None:
    store.history.append(run, [json.dumps({"_step": step, "x": step}) for step in range(10)])
    specs = ['{"keys": ["_step", "x"], "minStep": 2, "maxStep": 4, "samples": 100}']
    found = await run_of(client, "sampledHistory(specs:$s)", s=("[JSONString!]!", specs))
    assert [row["x"] for row in found["sampledHistory"][0]] == [2, 3, 4]
    window = await run_of(client, "history(minStep:2, maxStep:4, samples:100)")
    assert [json.loads(line)["x"] for line in window["history"]] == [2, 3]


async def test_parquet_links_need_no_key_and_give_ranges(
    client: Client, store: Store, run: RunRow, clock: Clock
) -> None:
    store.history.append(run, ['{"_step":0}'])
    await client.stream("local/demo/r1", {"complete": True, "exitcode": 0})
    found = await run_of(client, 'parquetHistory(liveKeys:["_step"]){parquetUrls liveData}')
    assert found["parquetHistory"]["liveData"] == []
    (url,) = found["parquetHistory"]["parquetUrls"]
    full = await client.keyless.get(url)
    assert full.content[:4] == full.content[-4:] == b"PAR1"
    part = await client.keyless.get(url, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, full.content[4:8])
    assert part.headers["content-range"] == f"bytes 4-7/{len(full.content)}"
    head = await client.keyless.head(url)
    assert head.headers["content-length"] == str(len(full.content))
    assert (await client.keyless.get(url + "0")).status_code == 403
    clock.now += 10**6
    assert (await client.keyless.get(url)).status_code == 403


async def test_a_live_run_has_live_data(client: Client, store: Store, run: RunRow) -> None:
    store.history.append(run, ['{"_step":3}', '{"_step":4}'])
    found = await run_of(client, "parquetHistory{parquetUrls liveData}")
    assert found["parquetHistory"] == {"parquetUrls": [], "liveData": [{"_step": 3}]}


async def test_state_changes_follow_the_rules(client: Client, run: RunRow) -> None:
    mutation = "mutation($i: UpdateRunStateInput!){updateRunState(input:$i){success}}"
    storage_id = (await run_of(client, "id"))["id"]

    async def change(state: str) -> httpx.Response:
        return await client.send(mutation, i={"id": storage_id, "state": state})

    assert (await change("pending")).status_code == 200
    assert (await change("failed")).status_code == 200
    refused = await change("finished")
    assert refused.status_code == 400
    assert "invalid state transition" in refused.text


async def test_a_rewound_run_continues_from_its_step(
    client: Client, store: Store, run: RunRow
) -> None:
    store.history.append(run, [json.dumps({"_step": step}) for step in range(9)])
    data = await client.ask(
        'mutation($r:String!,$v:Float!){rewindRun(input:{runName:$r,projectName:"demo",'
        'metricName:"_step",metricValue:$v}){rewoundRun{historyLineCount project{name}}}}',
        r="r1",
        v=3.0,
    )
    assert data["rewindRun"]["rewoundRun"] == {
        "historyLineCount": 4,
        "project": {"name": "demo"},
    }


async def test_an_alert_is_kept(client: Client, store: Store, run: RunRow) -> None:
    await client.ask(
        "mutation($s: AlertSeverity = INFO, $w: Duration){notifyScriptableRunAlert(input:{"
        'entityName:"local",projectName:"demo",runName:"r1",title:"t",text:"x",severity:$s,'
        "waitDuration:$w}){success}}",
        s="WARN",
        w=60000,
    )
    (alert,) = store.alerts.of_run(run)
    assert (alert.title, alert.text, alert.severity) == ("t", "x", "WARN")


async def test_reports_are_read(client: Client, store: Store, run: RunRow) -> None:
    project = store.projects.get("local", "demo")
    assert project is not None
    store.reports.add(project, "Findings", spec='{"blocks": []}')
    data = await client.ask(
        '{project(name:"demo"){allViews(viewType:"runs", first: 5){edges{node{displayName spec '
        "createdAt user{username}} cursor} pageInfo{hasNextPage}}}}"
    )
    (edge,) = data["project"]["allViews"]["edges"]
    assert edge["node"]["displayName"] == "Findings"
    assert edge["node"]["spec"] == '{"blocks": []}'


def history_of(*rows: dict[str, Any], offset: int = 0) -> dict[str, Any]:
    content = [json.dumps(row) for row in rows]
    return {"files": {"wandb-history.jsonl": {"offset": offset, "content": content}}}


def all_rows(store: Store, run: RunRow) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.history.window(run, 0, 10**9, 10**9)]


async def test_writers_in_shared_mode_do_not_overwrite_each_other(
    client: Client, store: Store, run: RunRow
) -> None:
    async def say(writer: str, body: dict[str, Any]) -> None:
        headers = {"X-WANDB-USE-ASYNC-FILESTREAM": "true", "X-WANDB-ASYNC-CLIENT-ID": writer}
        path = "/files/local/demo/r1/file_stream"
        answer = await client.http.post(path, json=body, headers=headers)
        assert answer.status_code == 200

    await say("a", history_of({"_step": 0, "a": 0}, {"_step": 1, "a": 1}))
    await say("b", history_of({"_step": 0, "b": 0}))
    await say("a", history_of({"_step": 2, "a": 2}, offset=2))
    await say("b", history_of({"_step": 0, "b": 0}, {"_step": 1, "b": 1}))  # the first one again
    await say("a", history_of({"_step": 1, "a": 10}, {"_step": 2, "a": 2}, offset=1))
    rows = all_rows(store, run)
    assert [row["a"] for row in rows if "a" in row] == [0, 10, 2]
    assert [row["b"] for row in rows if "b" in row] == [0, 1]
    for writer in "ab":
        content = [json.dumps({writer: 1})]
        await say(writer, {"files": {"wandb-summary.json": {"offset": 0, "content": content}}})
    assert json.loads((await run_of(client, "summaryMetrics"))["summaryMetrics"]) == {
        "a": 1,
        "b": 1,
    }


async def test_lines_that_a_second_writer_overwrites_are_stored_separately(
    client: Client, store: Store, run: RunRow
) -> None:
    await client.stream("local/demo/r1", history_of({"_step": 0, "x": 1}, {"_step": 1, "x": 2}))
    await client.stream("local/demo/r1", history_of({"_step": 0, "x": 1}, {"_step": 1, "x": 3}))
    assert [row["x"] for row in all_rows(store, run)] == [1, 3]
    assert [json.loads(text) for text in store.history.replaced(run)] == [{"_step": 1, "x": 2}]


async def test_a_summary_is_made_of_the_rows_if_the_run_wants_it(
    client: Client, run: RunRow
) -> None:
    answer = await client.http.post(
        "/files/local/demo/r1/file_stream",
        json=history_of({"_step": 0, "x": 1, "y": 1}, {"_step": 1, "x": 2}),
        headers={"X-WANDB-SERVER-SIDE-DERIVED-SUMMARY": "true"},
    )
    assert answer.status_code == 200
    summary = (await run_of(client, "summaryMetrics"))["summaryMetrics"]
    assert json.loads(summary) == {"_step": 1, "x": 2, "y": 1}


async def test_a_console_log_is_read_from_its_beginning_page_by_page(
    client: Client, run: RunRow
) -> None:
    lines = [f"line {number}" for number in range(5)]
    body = {"files": {"output.log": {"offset": 0, "content": lines}}}
    assert (await client.stream("local/demo/r1", body)).status_code == 200
    question = """
    query RunConsoleLogPage($first: Int, $after: String) {
      project(name: "demo", entityName: "local") { run(name: "r1") {
        logLineCount
        logLines(first: $first, after: $after, useImprovedPagination: true) {
          edges { node { number line } } pageInfo { endCursor hasNextPage } } } } }
    """
    found: list[str] = []
    after = None
    for has_next in (True, True, False):
        data = await client.ask(question, first=2, after=after)
        page = data["project"]["run"]["logLines"]
        assert data["project"]["run"]["logLineCount"] == 5
        assert page["pageInfo"]["hasNextPage"] is has_next
        found += [edge["node"]["line"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
    assert found == lines
