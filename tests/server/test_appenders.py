"""Writers that only append never overwrite each other's lines, also with repeated requests."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from aiowandb_server import Store
from aiowandb_server.store.records import RunRow
from tests.server.conftest import Client

pytestmark = pytest.mark.anyio


async def send(
    client: Client, writer: str, first: int, acknowledged: int, *values: Any, **more: Any
) -> httpx.Response:
    """Rows of a writer that has had so many lines acknowledged, from line `first` on."""
    offset = first + acknowledged
    files: dict[str, Any] = {}
    if values:
        rows = [json.dumps({"_step": offset + n, "x": x}) for n, x in enumerate(values)]
        summary = json.dumps({"x": values[-1]})
        files = {
            "wandb-history.jsonl": {"offset": offset, "content": rows},
            "wandb-summary.json": {"offset": 0, "content": [summary]},
        }
    appender = {"writer": writer, "first": first, "lines": acknowledged}
    return await client.stream("local/demo/r1", {"files": files, "appender": appender} | more)


def stored(store: Store, run: RunRow) -> tuple[list[Any], Any, str]:
    """The values of x in the history, the one in the summary, and the run's state."""
    now = store.runs.by_id(run.id)
    assert now
    lines = store.history.window(now, 0, 1000, 1000)
    return [json.loads(line)["x"] for line in lines], json.loads(now.summary).get("x"), now.state


async def test_the_second_of_two_writers_is_refused_and_changes_nothing(
    client: Client, store: Store, run: RunRow
) -> None:
    done = {"complete": True, "exitcode": 0}
    assert (await send(client, "a", 0, 0, 1, 2, **done)).status_code == 200
    refused = await send(client, "b", 0, 0, 7, 8, 9)
    assert refused.status_code == 409
    assert "another writer adds rows" in refused.json()["error"]
    assert stored(store, run) == ([1, 2], 2, "finished")
    assert (await send(client, "b", 2, 0, 7)).status_code == 200
    assert stored(store, run) == ([1, 2, 7], 7, "running")


async def test_an_update_that_is_sent_again_is_acknowledged_and_stored_once(
    client: Client, store: Store, run: RunRow
) -> None:
    for _ in range(2):
        assert (await send(client, "a", 0, 0, 1, 2)).status_code == 200
    # The answer may also have got lost before more rows came.
    assert (await send(client, "a", 0, 0, 1, 2, 3)).status_code == 200
    assert (await send(client, "a", 0, 3, 4)).status_code == 200
    assert stored(store, run)[:2] == ([1, 2, 3, 4], 4)
    assert store.history.replaced(run) == []


async def test_an_update_that_is_sent_again_keeps_the_summary_of_a_later_writer(
    client: Client, store: Store, run: RunRow
) -> None:
    await send(client, "a", 0, 0, 1, 2)
    await send(client, "b", 2, 0, 3)
    assert (await send(client, "a", 0, 0, 1, 2)).status_code == 200
    assert (await send(client, "a", 0, 2, 4)).status_code == 409
    assert stored(store, run)[:2] == ([1, 2, 3], 3)


async def test_rows_that_come_late_once_more_do_not_bring_a_run_back_to_life(
    client: Client, store: Store, run: RunRow
) -> None:
    await send(client, "a", 0, 0, 1, 2)
    await send(client, "a", 0, 2, complete=True, exitcode=0)
    assert (await send(client, "a", 0, 0, 1, 2)).json()["stopped"] is False
    assert stored(store, run) == ([1, 2], 2, "finished")


async def test_an_end_without_rows_checks_that_the_rows_still_exist(
    client: Client, store: Store, run: RunRow
) -> None:
    await send(client, "a", 0, 0, 1, 2)
    assert (await send(client, "a", 0, 2, complete=True, exitcode=0)).status_code == 200
    plain = {"wandb-history.jsonl": {"offset": 1, "content": ['{"_step": 1, "x": 9}']}}
    await client.stream("local/demo/r1", {"files": plain})
    assert (await send(client, "a", 0, 2, complete=True, exitcode=0)).status_code == 409
    assert stored(store, run) == ([1, 9], 2, "running")


async def test_lines_that_a_plain_writer_overwrote_are_noticed(
    client: Client, store: Store, run: RunRow
) -> None:
    await send(client, "a", 0, 0, 1, 2, 3)
    plain = {"wandb-history.jsonl": {"offset": 2, "content": ['{"_step": 2, "x": 9}']}}
    await client.stream("local/demo/r1", {"files": plain})
    assert (await send(client, "a", 0, 3, 4)).status_code == 409
    assert stored(store, run)[0] == [1, 2, 9]


async def test_lines_before_those_of_an_appender_do_not_matter_to_it(
    client: Client, store: Store, run: RunRow
) -> None:
    store.history.append(run, ['{"_step": 0, "x": 0}'])
    await send(client, "a", 1, 0, 1)
    store.history.append(run, ['{"_step": 0, "x": 9}'], offset=0)
    assert (await send(client, "a", 1, 1, 2)).status_code == 200
    assert stored(store, run)[0] == [9, 1, 2]


async def test_a_run_that_was_rewound_is_noticed(client: Client, store: Store, run: RunRow) -> None:
    await send(client, "a", 0, 0, 1, 2, 3)
    store.history.rewind(run, 1)
    assert (await send(client, "a", 0, 3, 4)).status_code == 409
    store.history.append(run, ['{"_step": 2, "x": 7}', '{"_step": 3, "x": 8}'])
    assert (await send(client, "a", 0, 3, 4)).status_code == 409
    assert stored(store, run)[0] == [1, 2, 7, 8]


@pytest.mark.parametrize(
    "appender",
    [
        {"writer": "a", "first": -1, "lines": 0},
        {"writer": "a", "first": 0, "lines": -1},
        {"writer": "a", "first": 2**63, "lines": 0},
        {"writer": 1, "first": 0, "lines": 0},
        {"writer": "a"},
        [],
    ],
)
async def test_an_appender_that_cannot_be_is_refused(
    client: Client, run: RunRow, appender: Any
) -> None:
    answer = await client.stream("local/demo/r1", {"appender": appender})
    assert answer.status_code == 400
