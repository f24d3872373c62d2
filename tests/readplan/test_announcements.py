"""Columns that W&B announces wrongly, or not at all, are those of the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from aiowandb import Api, ReadPlan, ServerError
from aiowandb_server import create_app, serve_in_thread

from .world import PATH, World, exported, of_batches, values

Change = Callable[[dict[str, Any]], Any]


def silent(_: dict[str, Any]) -> None:
    """The keys of a run as W&B gives them before it has looked at the run."""


def mistaken(keys: dict[str, Any]) -> dict[str, Any]:
    """Everything is called a boolean."""
    wrong = {"typeCounts": [{"type": "boolean", "count": 1}]}
    return keys | {"keys": {name: info | wrong for name, info in keys["keys"].items()}}


@contextmanager
def announcing(world: World, change: Change) -> Iterator[str]:
    """W&B, whose announcements of keys are changed."""
    app = create_app(world.store)

    async def changed(scope: Any, receive: Any, send: Any) -> None:
        messages: list[Any] = []

        async def keep(message: Any) -> None:
            messages.append(message)

        if scope["path"] != "/graphql":
            await app(scope, receive, send)
            return
        plain = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        await app(scope | {"headers": plain}, receive, keep)
        answer = orjson.loads(b"".join(message.get("body", b"") for message in messages))
        body = orjson.dumps(_changed(answer, change))
        length = (b"content-length", str(len(body)).encode())
        headers = [pair for pair in messages[0]["headers"] if pair[0] != length[0]]
        await send(messages[0] | {"headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})

    with serve_in_thread(changed) as url:
        yield url


def _changed(answer: Any, change: Change) -> Any:
    if isinstance(answer, list):
        return [_changed(each, change) for each in answer]
    if isinstance(answer, dict):
        return {
            name: change(value) if name == "historyKeys" and value else _changed(value, change)
            for name, value in answer.items()
        }
    return answer


def rows(plan: ReadPlan, **options: Any) -> pa.Table:
    batches = [batch for part in plan.parts(3) for batch in part.read(**options)]
    return of_batches(plan.schema, batches)


def test_the_columns_of_runs_without_announced_keys_come_from_their_files(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_odd_runs()
    live = world.store.runs.get(world.project, "live")
    assert live
    world.store.finish(live)
    monkeypatch.setenv("WANDB_API_KEY", world.key)
    with announcing(world, silent) as url, Api(world.key, base_url=url) as api:
        expected = exported(api, tmp_path / "out")
        plan = api.runs(PATH).plan()
        assert set(plan.schema.names) == set(expected.schema.names)
        assert {"loss", "val.deep.x", "image"} < set(plan.schema.names)
        for refresh in (False, True):
            assert values(rows(plan, refresh=refresh)) == values(expected)
        assert plan.last_steps["late"] == 10**6 + 2
        some = api.runs(PATH).plan(["loss"], exclude=["val.*"])
        assert some.schema.names == ["run_id", "_step", "loss"]


def test_wrong_announcements_are_reported_and_the_files_decide(world: World) -> None:
    world.add_run("one", [{"_step": 0, "loss": 0.5, "name": "x"}])
    with announcing(world, mistaken) as url, Api(world.key, base_url=url) as api:
        with pytest.raises(ServerError, match=r"under 'loss', 'name' of .* check_files=True"):
            list(api.runs(PATH).plan().read())
        found = rows(api.runs(PATH).plan(check_files=True)).to_pylist()
        assert [row["name"] for row in found] == ["x"]


def test_rows_that_come_later_are_new_though_nothing_is_announced(world: World) -> None:
    run = world.add_run("one", [{"_step": 0, "loss": 0.5}])
    with announcing(world, silent) as url, Api(world.key, base_url=url) as api:
        plan = api.runs(PATH).plan()
        world.store.history.append(run, ['{"_step": 5, "loss": 1}'])
        world.store.finish(run)
        later = api.runs(PATH).plan(after=plan.last_steps)
        assert rows(later)["_step"].to_pylist() == [5]
