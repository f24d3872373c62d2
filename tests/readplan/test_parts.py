"""Parts can be sent anywhere: they are small, need no key, and show no signature."""

from __future__ import annotations

import logging
import pickle
import re
import subprocess
import sys
import threading
import traceback
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest

from aiowandb import Api, CommError, LinkError, NotFoundError, ReadPart, RunsFailedError, UsageError
from aiowandb.api import planning
from aiowandb.choices import LiveRows
from aiowandb.readplan.links import ends_at
from aiowandb.readplan.pickling import unpickled
from aiowandb_server import Store, create_app, serve_in_thread

from .world import PATH, World, of_batches, values

READER = """
import os, pickle, sys
import pyarrow as pa
assert "WANDB_API_KEY" not in os.environ
for part in pickle.load(sys.stdin.buffer):
    for row in pa.Table.from_batches(part.read(), schema=part.schema).to_pylist():
        print(repr(row))
"""


def elsewhere(parts: list[ReadPart]) -> list[str]:
    """What another process reads; it has no key."""
    done = subprocess.run(
        [sys.executable, "-c", READER], input=pickle.dumps(parts), capture_output=True, check=True
    )
    return done.stdout.decode().splitlines()


@pytest.mark.slow
def test_parts_are_read_in_another_process_without_a_key(world: World) -> None:
    world.add_odd_runs()
    with world.serve() as url, Api(world.key, base_url=url) as api:
        plan = api.runs(PATH).plan()
        expected = list(map(repr, pa.table(plan).to_pylist()))
        assert elsewhere(plan.parts(2)) == expected


def test_parts_are_small_and_show_no_signature(world: World) -> None:
    for number in range(64):
        world.add_run(f"run-{number}", [{"_step": 0, "loss": 0.5}])
    with world.serve() as url, Api(world.key, base_url=url) as api:
        plan = api.runs(PATH).plan()
        parts = plan.parts(64)
        assert len(parts) == 64
        assert plan.requests <= 4
        for shown in (repr(plan), repr(parts), str(plan), repr(plan.parts(1))):
            assert "signature" not in shown
            assert world.key not in shown
        pickled = [pickle.dumps(part) for part in parts]
        assert max(map(len, pickled)) < 600
        assert not any(b"signature" in each or world.key.encode() in each for each in pickled)
        assert len(pickle.dumps(plan)) < 64 * 200
        again = pickle.loads(pickle.dumps(plan))
        assert again == plan
        assert values(pa.table(again)) == values(pa.table(plan))
        assert pickle.loads(pickled[3]) == parts[3]


def test_only_the_columns_that_are_named_are_given(world: World) -> None:
    world.add_odd_runs()
    with world.serve() as url, Api(world.key, base_url=url) as api:
        plan = api.runs(PATH).plan()
        everything = pa.table(plan)
        for columns in (["loss"], ["run_id_logged", "run_id"], ["val.acc", "_step"], ["run_id"]):
            found = pa.Table.from_batches(
                plan.read(columns), schema=pa.schema(map(plan.schema.field, columns))
            )
            assert values(found) == values(everything.select(columns))
        with pytest.raises(UsageError, match="No column named 'losss' in the plan; did you mean"):
            plan.read(["losss"])
        with pytest.raises(UsageError, match=r"write \['loss'\]"):
            plan.read("loss")


def test_a_part_that_is_left_early_leaves_no_thread(world: World) -> None:
    world.add_odd_runs()
    with world.serve() as url, Api(world.key, base_url=url) as api:
        plan = api.runs(PATH).plan()
        before = set(threading.enumerate())
        batches = iter(plan.read())
        next(batches)
        del batches
        # The server runs here too, and starts workers whenever it needs them.
        new = [thread.name for thread in set(threading.enumerate()) - before]
        assert [name for name in new if not name.startswith("AnyIO worker")] == []


@pytest.mark.anyio
async def test_a_part_is_read_inside_a_running_event_loop(world: World) -> None:
    world.add_odd_runs()
    with world.serve() as url, Api(world.key, base_url=url) as api:
        assert sum(batch.num_rows for batch in api.runs(PATH).plan().read()) > 100


def test_a_plan_of_the_embedded_server_is_read_where_its_folder_is(world: World) -> None:
    world.add_odd_runs()
    with Api.local(world.store.folder) as api:
        plan = pickle.loads(pickle.dumps(api.runs(PATH).plan()))
        assert sum(batch.num_rows for batch in plan.read()) > 100


def test_a_plan_of_the_embedded_server_is_read_in_any_working_folder(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_run("run", [{"_step": 0, "loss": 0.5}])
    monkeypatch.chdir(world.store.folder.parent)
    with Api.local(world.store.folder.name) as api:
        plan = api.runs(PATH).plan()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert sum(batch.num_rows for batch in plan.read()) == 1
    assert list(elsewhere.iterdir()) == []


def test_expired_links_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    times = [now]
    with Store.open(tmp_path / "wandb", clock=lambda: times[0]) as store:
        world = World(store)
        run = world.add_run("one", ({"_step": i, "loss": i / 2} for i in range(20)))
        with serve_in_thread(create_app(store)) as url, Api(world.key, base_url=url) as api:
            plan = api.runs(PATH).plan()
            expected = values(pa.table(plan))
            end = plan.expires_at
            assert end is not None
            assert end - datetime.fromtimestamp(now, UTC) <= timedelta(hours=1)
            times[0] = end.timestamp() + 60
            with pytest.raises(LinkError, match=r"run local/demo/one .* Make a new plan") as caught:
                list(plan.read())
            assert "signature" not in repr(caught.value)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("WANDB_API_KEY", world.key)
                # More was logged since: a part has the rows that it had.
                world.store.history.append(run, ['{"_step": 30, "loss": 1}'])
                world.store.finish(run)
                found = of_batches(plan.schema, plan.read(refresh=True))
            assert values(found) == expected


def test_a_part_of_another_version_is_refused(world: World) -> None:
    world.add_run("one", [{"_step": 0, "loss": 0.5}])
    with Api.local(world.store.folder) as api:
        (part,) = api.runs(PATH).plan().parts(1)
    _, made_of = part.__reduce__()
    assert isinstance(made_of, tuple)
    make, kind, version, content = made_of
    assert unpickled(make, kind, version, content) == part
    for other in (version - 1, version + 1):
        with pytest.raises(UsageError, match="ReadPart was made by another version of aiowandb"):
            unpickled(make, kind, other, content)
    with pytest.raises(UsageError, match="ReadPart was made by another version of aiowandb"):
        unpickled(make, kind, version, content[:-9])


def test_plans_that_are_not_possible_are_one_clear_error(world: World) -> None:
    world.add_run("one", [{"_step": 0, "loss": 0.5}])
    with Api.local(world.store.folder) as api:
        with pytest.raises(NotFoundError, match="No runs found in local/demo"):
            api.runs(PATH, {"state": "crashed"}).plan()
        with pytest.raises(NotFoundError, match="Could not find project local/nothing"):
            api.runs("local/nothing").plan()
        with pytest.raises(UsageError, match="live must be"):
            api.runs(PATH).plan(live="skipp")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="are always complete"):
            api.runs(PATH).plan(["loss"], stream="system")
        with pytest.raises(UsageError, match="count must be"):
            api.runs(PATH).plan().parts(0)
        with pytest.raises(UsageError, match=re.escape("use parts(), scanner()")):
            api.runs(PATH).plan().get_fragments()


LIVE: list[tuple[LiveRows, int]] = [("read", 5), ("fetch", 5), ("skip", 0)]


@pytest.mark.parametrize(("live", "rows"), LIVE)
def test_rows_in_no_file_are_read_by_the_planner_or_fetched_or_left_out(
    world: World, live: LiveRows, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_run("done", [{"_step": 0, "loss": 0.5}])
    live_run = world.add_run("live", [{"_step": i, "loss": 0.5} for i in range(5)], finished=False)
    with world.serve() as url, Api(world.key, base_url=url) as api:
        plan = api.runs(PATH).plan(live=live)
        world.store.history.append(live_run, ['{"_step": 9, "loss": 7}'])  # is not in the plan
        if live == "fetch":
            monkeypatch.setenv("WANDB_API_KEY", world.key)
        found = of_batches(plan.schema, plan.read())
        assert found["_step"].to_pylist().count(0) == 1 + bool(rows)
        assert found.num_rows == 1 + rows


def test_a_run_that_vanishes_while_it_is_planned_is_named(world: World) -> None:
    run = world.add_run("one", [{"_step": 0, "loss": 0.5}])
    app, questions = create_app(world.store), count()

    async def vanishing(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/graphql" and next(questions) == 1:  # behind the list
            world.store.runs.delete(run.id)
        await app(scope, receive, send)

    with (
        serve_in_thread(vanishing) as url,
        Api(world.key, base_url=url) as api,
        pytest.raises(RunsFailedError, match="Could not find run local/demo/one"),
    ):
        api.runs(PATH).plan()


def test_runs_that_are_added_while_others_are_listed_make_no_doubles(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"run-{number}" for number in range(5)]
    for name in names:
        world.add_run(name, [{"_step": 0, "loss": 0.5}])
    app, questions = create_app(world.store), count()

    async def growing(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/graphql" and next(questions) == 1:  # behind the first page
            world.add_run("late", [{"_step": 0, "loss": 0.5}])
        await app(scope, receive, send)

    monkeypatch.setattr(planning, "RUNS_PER_PAGE", 2)
    with serve_in_thread(growing) as url, Api(world.key, base_url=url) as api:
        plan = api.runs(PATH, order="-created_at").plan()
        planned = of_batches(plan.schema, plan.read())["run_id"].to_pylist()
    assert sorted(run for run in set(planned) if run and run != "late") == names
    assert len(planned) == len(set(planned)) == plan.runs


def test_neither_logs_nor_errors_nor_tracebacks_show_a_link(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.add_odd_runs()
    caplog.set_level(logging.DEBUG)
    with world.serve() as url, Api(world.key, base_url=url) as api:
        plan = api.runs(PATH).plan()
        urls = [link for one in plan._data.slices for link in one.run.segments]
        signatures = [parse_qs(urlsplit(link).query)["signature"][0] for link in urls]
        list(plan.read())
    with pytest.raises(CommError) as caught:  # nobody is there any more
        list(plan.read())
    shown = caplog.text + "".join(traceback.format_exception(caught.value))
    shown += repr(caught.value) + repr(vars(caught.value))
    assert len(signatures) > 5
    assert "aiowandb" in caplog.text
    assert [each for each in (world.key, *signatures) if each in shown] == []


END = "2026-01-02T03:05:00+00:00"
ENDS = [
    ("https://s.test/a?X-Amz-Date=20260102T030405Z&X-Amz-Expires=55", END),
    (
        "https://s.test/a?X-Goog-Date=20260102T030405Z&X-Goog-Expires=55",
        "2026-01-02T03:05:00+00:00",
    ),
    ("https://s.test/a?se=2026-01-02T03%3A05%3A00Z&sig=x", END),
    ("https://s.test/a?Expires=1767323100&Signature=x", END),
    ("https://s.test/a?se=tomorrow", None),
    ("https://s.test/a", None),
]


@pytest.mark.parametrize(("url", "end"), ENDS)
def test_links_have_an_expiry(url: str, end: str | None) -> None:
    assert ends_at(url) == (end and datetime.fromisoformat(end))


def test_reading_loads_no_engine(world: World) -> None:
    code = "import sys, aiowandb.readplan; print({'polars', 'duckdb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
