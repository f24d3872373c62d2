"""Runs that are created, changed and continued, and what is read of them afterwards."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from aiowandb import Api, AsyncApi, ConflictError, NotFoundError, Run, UsageError
from aiowandb.wire import lenient
from aiowandb.wire.appending import PendingRows
from aiowandb.wire.record import HistoryKeys, RunRecord
from aiowandb_server import RunChanges, Store, create_app

pytestmark = pytest.mark.anyio
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[AsyncApi]:
    async with AsyncApi.local(tmp_path, project="p") as api:
        yield api


@pytest.fixture
async def run(api: AsyncApi) -> Run:
    """A finished run with three rows."""
    made = await api.create_run("r1", name="first", config={"lr": 0.1, "deep": {"a": 1}})
    async with made.append(state="finished") as log:
        for n in range(3):
            await log({"loss": 1.0 - n / 10, "val": {"acc": n}})
    return made


async def rows_of(run: Run) -> list[dict[str, Any]]:
    return [row async for row in run.scan_history()]


async def test_a_run_is_made_with_what_it_is_given(api: AsyncApi) -> None:
    made = await api.create_run(name="mine", config={"lr": 0.1}, tags=["a"])
    found = await api.run(made.path)
    assert (found.name, found.config, found.tags, found.state) == (
        "mine",
        {"lr": 0.1},
        ["a"],
        "running",
    )
    assert len(made.id) == 8


async def test_rows_appended_are_rows_read(run: Run) -> None:
    rows = await rows_of(run)
    assert [(r["_step"], r["loss"], r["val.acc"]) for r in rows] == [
        (0, 1.0, 0),
        (1, 0.9, 1),
        (2, 0.8, 2),
    ]
    assert (run.state, run.history_line_count, run.last_step) == ("finished", 3, 2)
    assert (run.summary["loss"], run.summary["val.acc"], run.summary["_step"]) == (0.8, 2, 2)


async def test_rows_are_appended_to_a_finished_run_which_stays_finished(
    api: AsyncApi, run: Run
) -> None:
    again = await api.run("r1")
    async with again.append() as log:
        await log({"loss": 0.5})
        await log({"loss": math.nan, "new": "x"}, step=10)
    rows = await rows_of(again)
    assert [row["_step"] for row in rows] == [0, 1, 2, 3, 10]
    assert math.isnan(rows[-1]["loss"])
    assert again.state == "finished"
    assert (again.summary["new"], again.summary["val.acc"]) == ("x", 2)
    assert rows[-1]["_runtime"] >= rows[0]["_runtime"]


async def test_a_step_that_is_not_behind_the_last_is_refused_and_the_rest_is_kept(run: Run) -> None:
    with pytest.raises(UsageError, match="step 2 is not after step 3"):
        async with run.append() as log:
            await log({"loss": 0.5})
            await log({"loss": 0.6}, step=2)
    assert [row["_step"] for row in await rows_of(run)] == [0, 1, 2, 3]


async def test_many_rows_go_out_in_few_requests(api: AsyncApi, run: Run) -> None:
    before = api.traffic.requests
    async with run.append() as log:
        for n in range(2500):
            await log({"n": n})
    assert api.traffic.requests - before == 1 + 3 + 1  # where to go on, the rows, how it is now
    assert len(await rows_of(run)) == 2503


async def test_tasks_may_add_rows_side_by_side(run: Run) -> None:
    async def add() -> None:
        for n in range(700):
            await log({"n": n})

    async with run.append() as log, anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(add)
    assert len(await rows_of(run)) == 3 + 4 * 700


async def test_rows_are_not_doubled_when_answers_get_lost(tmp_path: Path) -> None:
    class LosesAnswers:
        """Does what it is asked, and then breaks the connection, every second time."""

        def __init__(self, app: Any) -> None:
            self.app = app
            self.posts = 0

        async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
            lost = False
            if scope["path"].endswith("file_stream"):
                self.posts += 1
                lost = self.posts % 2 == 1

            async def answer(message: MutableMapping[str, Any]) -> None:
                if not lost:
                    await send(message)

            await self.app(scope, receive, answer)
            if lost:
                raise httpx.ReadError("the connection broke")

    with Store.open(tmp_path) as store:
        app = LosesAnswers(create_app(store))
        async with AsyncApi(
            store.local_key,
            base_url="http://wandb.test",
            project="p",
            transport=httpx.ASGITransport(app),
        ) as api:
            run = await api.create_run("r")
            async with run.append(state="finished") as log:
                for n in range(3000):
                    await log({"n": n})
            assert [row["n"] for row in await rows_of(run)] == list(range(3000))
            assert app.posts > 3


async def test_a_live_run_stays_live(api: AsyncApi) -> None:
    live = await api.create_run("live")
    async with live.append() as log:
        await log({"loss": 1})
    assert (live.state, [row["loss"] for row in await rows_of(live)]) == ("running", [1])


async def test_the_state_afterwards_is_the_callers_choice(run: Run) -> None:
    async with run.append(state="failed") as log:
        await log({"loss": 9})
    assert run.state == "failed"
    with pytest.raises(UsageError, match="state must be one of"):
        run.append(state="paused")  # type: ignore[arg-type]


async def test_only_what_changed_is_sent_and_wandbs_own_part_is_kept(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.accounts.ensure_entity("local")
        project, _ = store.projects.ensure("local", "p")
        config = '{"lr": {"value": 1}, "old": {"value": 2}, "_wandb": {"value": {"t": {"1": 2}}}}'
        store.runs.upsert(project, "r", RunChanges(config=config, notes="as they were"))
    async with AsyncApi.local(tmp_path, project="p") as api:
        run = await api.run("r")
        run.config["lr"] = 0.5
        run.config["nested"] = {"a": [1, 2]}
        del run.config["old"]
        run.tags.append("best")
        run.summary["acc"] = 0.9
        run.display_name = "renamed"
        await run.update()
        api.flush()
        found = await api.run("r")
        assert found.config == {"lr": 0.5, "nested": {"a": [1, 2]}}
        assert found.raw_config["_wandb"] == {"value": {"t": {"1": 2}}}
        assert (found.tags, found.name, found.notes) == (["best"], "renamed", "as they were")
        assert found.summary["acc"] == 0.9


async def test_a_run_that_was_listed_in_part_can_be_changed_and_shown(
    api: AsyncApi, run: Run
) -> None:
    listed = await api.runs(include=[])[0]
    listed.tags.append("kept")
    await listed.update()
    again = await api.run("r1")
    assert "kept" in again.tags
    assert again.config == run.config
    assert "config" not in (await api.runs(include=[])[0])._repr_html_()


async def test_nothing_changed_sends_nothing(api: AsyncApi, run: Run) -> None:
    before = api.traffic.requests
    await run.update()
    assert api.traffic.requests == before


async def test_a_copy_that_moved_is_a_conflict_and_can_be_merged(api: AsyncApi, run: Run) -> None:
    mine, theirs = await api.run("r1"), await api.run("r1")
    theirs.config["theirs"] = 1
    await theirs.update()
    mine.config["lr"] = 0.2
    with pytest.raises(ConflictError, match="config changed at W&B"):
        await mine.update()
    await mine.update(merge=True)
    assert mine.config == {"lr": 0.2, "deep": {"a": 1}, "theirs": 1}


async def test_changes_of_other_fields_are_not_a_conflict(api: AsyncApi, run: Run) -> None:
    mine, theirs = await api.run("r1"), await api.run("r1")
    theirs.tags = ["theirs"]
    await theirs.update()
    mine.notes = "mine"
    await mine.update()
    assert (mine.tags, mine.notes) == (["theirs"], "mine")


async def test_loading_forgets_what_was_not_sent(run: Run) -> None:
    run.config["lr"] = 7
    await run.load()
    assert run.config["lr"] == 0.1


async def test_a_deleted_run_no_longer_exists(api: AsyncApi, run: Run) -> None:
    await run.delete()
    with pytest.raises(NotFoundError):
        await api.run("r1")
    with pytest.raises(NotFoundError):
        await run.load()


async def test_waiting_ends_with_the_run(api: AsyncApi) -> None:
    run = await api.create_run("live")
    other = await api.run("live")
    states = []

    async def wait() -> None:
        states.append(await other.wait_until_finished(poll_interval=0.01))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        async with run.append(state="finished") as log:
            await log({"a": 1})
    assert states == ["finished"]
    assert other.history_line_count == 1


async def test_a_run_can_be_asked_to_stop(api: AsyncApi) -> None:
    run = await api.create_run("live")
    assert await run.stop()


def appendix(**fields: Any) -> PendingRows:
    record = RunRecord(storage_id="x", id="r", state="finished", **fields)
    return PendingRows(record, state=None, clock=lambda: 100.0)


def summary_after(rows: PendingRows) -> str:
    summary: str = rows.body()["files"]["wandb-summary.json"].content[0]
    return summary


async def test_a_summary_follows_what_define_metric_asked_for() -> None:
    metrics = [{"1": "loss", "7": [1, 2]}, {"1": "x", "7": [6]}]
    rows = appendix(
        config_json=lenient.dumps({"_wandb": {"value": {"m": metrics}}}),
        summary_json='{"loss": {"min": 0.5, "max": 0.9}}',
        history_keys=HistoryKeys(last_step=4),
        history_line_count=5,
    )
    rows.add({"loss": 0.4, "x": 1, "y": {"a": 1}}, None)
    rows.add({"loss": 0.7, "y": {"b": 2}}, None)
    rows.add({"loss": None}, None)
    rows.add({"loss": "diverged"}, None)
    assert '"loss":{"min":0.4,"max":0.9}' in summary_after(rows)
    assert '"y":{"a":1,"b":2}' in summary_after(rows)
    assert '"x"' not in summary_after(rows)
    assert rows.body()["files"]["wandb-history.jsonl"].offset == 5


async def test_a_row_that_cannot_be_json_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be encoded as JSON"):
        appendix(summary_json="{}", config_json="{}").add({"x": object()}, None)


async def test_a_summary_can_be_sent_alone(api: AsyncApi, run: Run) -> None:
    await run.summary.update({"best": 1})
    run.summary["better"] = run.summary.pop("best") + 1
    await run.summary.update()
    found = await api.run("r1")
    assert found.summary["better"] == 2
    assert "best" not in found.summary


async def test_a_state_can_be_changed_where_no_script_is(api: AsyncApi) -> None:
    run = await api.create_run("r2")
    assert await run.update_state("failed")
    assert (await api.run("r2")).state == "failed"


async def test_a_card_for_notebooks_shows_the_run_and_escapes_it(api: AsyncApi) -> None:
    run = await api.create_run("r3", name="<b>bold</b>", config={f"k{n}": n for n in range(20)})
    card = run._repr_html_()
    assert "&lt;b&gt;bold" in card
    assert "<b>bold" not in card
    assert "and 8 more" in card


def test_the_facade_writes_like_the_guide_does(tmp_path: Path) -> None:
    with Api.local(tmp_path, project="p") as api:
        made = api.create_run("r", config={"lr": 1})
        with made.append(state="finished") as log:
            log({"accuracy": 0.5})
        run = api.run("p/r")
        run.config["lr"] = 2
        run.update()
        run.summary["new_name"] = run.summary["accuracy"]
        del run.summary["accuracy"]
        run.summary.update()
        api.flush()
        run = api.run("p/r")
        assert run.config == {"lr": 2}
        assert run.summary._json_dict["new_name"] == 0.5
        assert "accuracy" not in run.summary
