"""Rows added to a run: what happens to them and to the run's state when something fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from aiowandb import Api, AsyncApi, CommError, ConflictError, Run, UsageError
from aiowandb.api import append, append_guard
from aiowandb.choices import EndState
from aiowandb.errors import ServerError
from aiowandb.wire.appending import PendingRows
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from tests.support.overwriting import PlainWandb, replayed

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as store:
        store.accounts.ensure_user("local", is_admin=True)
        yield store


@asynccontextmanager
async def api_of(store: Store, app: Any = None) -> AsyncIterator[AsyncApi]:
    """A client of the embedded W&B, or of what is put before it."""
    async with AsyncApi(
        store.local_key,
        base_url="http://wandb.test",
        project="p",
        transport=httpx.ASGITransport(app or create_app(store)),
    ) as api:
        yield api


@pytest.fixture
async def api(store: Store) -> AsyncIterator[AsyncApi]:
    async with api_of(store) as api:
        yield api


def make_run(store: Store, name: str = "r", rows: int = 0, *, finish: bool = False) -> None:
    project, _ = store.projects.ensure("local", "p")
    run, _ = store.runs.upsert(project, name, RunChanges())
    store.history.append(run, [json.dumps({"_step": n, "old": n}) for n in range(rows)])
    if finish:
        store.finish(run)


def add_line(store: Store, step: int, offset: int | None = None, name: str = "r") -> None:
    """Another writer, which appends without any check."""
    project, _ = store.projects.ensure("local", "p")
    run = store.runs.get(project, name)
    assert run
    line = json.dumps({"_step": step, "_timestamp": 1.0, "theirs": step})
    store.history.append(run, [line], offset=offset)


def add_lines(store: Store, *steps: int) -> None:
    for step in steps:
        add_line(store, step)


def state_of(store: Store, name: str = "r") -> str:
    project, _ = store.projects.ensure("local", "p")
    run = store.runs.get(project, name)
    assert run
    return run.state


def rows_of(store: Store, key: str, name: str = "r") -> list[Any]:
    """The values of a key, in the order of the steps."""
    project, _ = store.projects.ensure("local", "p")
    run = store.runs.get(project, name)
    assert run
    rows = map(json.loads, store.history.window(run, 0, 10**9, 10**6))
    return [row[key] for row in rows if key in row]


@contextmanager
def batches_of(rows: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PendingRows, "batch_rows", rows)
        yield


# What becomes of the state.


@pytest.mark.parametrize(
    ("before", "asked", "after"),
    [
        ("finished", "finished", "failed"),
        ("running", "finished", "failed"),
        ("finished", "running", "failed"),
        ("finished", None, "finished"),
        ("running", None, "running"),
    ],
)
async def test_after_an_exception_the_rows_are_kept_and_the_run_is_not_finished(
    store: Store, api: AsyncApi, before: str, asked: EndState | None, after: str
) -> None:
    make_run(store, finish=before == "finished")
    run = await api.run("r")
    with pytest.raises(ZeroDivisionError), batches_of(2):
        async with run.append(state=asked) as log:
            for n in range(5):
                await log({"n": n})
            raise ZeroDivisionError
    assert (state_of(store), rows_of(store, "n")) == (after, [0, 1, 2, 3, 4])
    assert (run.state, log.added) == (after, 5)


async def test_an_exception_before_the_first_row_changes_a_state_only_if_one_was_asked_for(
    store: Store, api: AsyncApi
) -> None:
    make_run(store, "r", finish=True)
    make_run(store, "s")
    states: list[tuple[str, EndState | None]] = [("r", None), ("s", "finished")]
    for name, asked in states:
        with pytest.raises(ZeroDivisionError):
            async with (await api.run(name)).append(state=asked):
                raise ZeroDivisionError
    assert (state_of(store, "r"), state_of(store, "s")) == ("finished", "failed")


async def test_a_wrong_row_is_an_exception_too(store: Store, api: AsyncApi) -> None:
    make_run(store)
    with pytest.raises(UsageError, match="not after"):
        async with (await api.run("r")).append(state="finished") as log:
            await log({"n": 0}, step=5)
            await log({"n": 1}, step=5)
    assert (state_of(store), rows_of(store, "n")) == ("failed", [0])


async def test_while_rows_are_added_the_run_is_running(store: Store, api: AsyncApi) -> None:
    make_run(store, rows=1, finish=True)
    states = []
    with batches_of(2):
        async with (await api.run("r")).append(state="finished") as log:
            for n in range(5):
                await log({"n": n})
                states.append(state_of(store))
    assert states == ["finished", "running", "running", "running", "running"]
    assert state_of(store) == "finished"


@pytest.mark.parametrize(("asked", "after"), [("finished", "failed"), (None, "finished")])
async def test_a_cancelled_block_does_not_leave_the_run_looking_finished(
    store: Store, api: AsyncApi, asked: EndState | None, after: str
) -> None:
    make_run(store, finish=True)
    run = await api.run("r")
    with anyio.CancelScope() as scope, batches_of(2):
        async with run.append(state=asked) as log:
            for n in range(3):
                await log({"n": n})
            scope.cancel()
            await anyio.sleep_forever()
    assert (state_of(store), rows_of(store, "n"), run.state) == (after, [0, 1, 2], after)


async def test_a_block_that_is_cancelled_while_it_sends_its_end_is_not_finished(
    store: Store,
) -> None:
    scope = anyio.CancelScope()

    app = create_app(store)

    async def cancels_the_end(scope_: Any, receive: Any, send: Any) -> None:
        """Stores nothing of the request that says that the run is finished."""
        body, again = await replayed(receive)
        if b'"exitcode":0' in body:
            scope.cancel()
            await anyio.sleep_forever()
        await app(scope_, again, send)

    make_run(store)
    async with api_of(store, cancels_the_end) as api:
        run = await api.run("r")
        with scope:
            async with run.append(state="finished") as log:
                await log({"n": 0})
    assert scope.cancelled_caught
    assert (state_of(store), rows_of(store, "n")) == ("failed", [0])


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_asyncio_itself_cancels_does_not_leave_the_run_finished(
    store: Store, api: AsyncApi
) -> None:
    make_run(store)
    run = await api.run("r")
    waits = asyncio.Event()

    async def write() -> None:
        async with run.append(state="finished") as log:
            await log({"n": 0})
            waits.set()
            await asyncio.sleep(600)

    task = asyncio.create_task(write())
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (state_of(store), rows_of(store, "n")) == ("failed", [0])


async def test_a_cancelled_block_waits_but_a_little_for_a_server_that_is_silent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(scope_: Any, receive: Any, send: Any) -> None:
        if scope_["path"].endswith("file_stream"):
            await anyio.sleep_forever()
        await create_app(store)(scope_, receive, send)

    monkeypatch.setattr(append, "CLOSING_SECONDS", 0.05)
    make_run(store)
    async with api_of(store, silent) as api:
        with anyio.fail_after(60), anyio.CancelScope() as scope:
            async with (await api.run("r")).append(state="finished") as log:
                await log({"n": 0})
                scope.cancel()
                await anyio.sleep_forever()
    assert (scope.cancelled_caught, rows_of(store, "n")) == (True, [])


async def test_rows_that_wandb_refuses_do_not_keep_the_run_from_being_failed(
    store: Store,
) -> None:
    async def refusing(scope_: Any, receive: Any, send: Any) -> None:
        body, again = await replayed(receive)
        if b"wandb-history.jsonl" in body:
            await send({"type": "http.response.start", "status": 413, "headers": []})
            await send({"type": "http.response.body", "body": b"too much"})
        else:
            await create_app(store)(scope_, again, send)

    make_run(store)
    async with api_of(store, refusing) as api:
        with pytest.raises(CommError, match="413") as raised:
            async with (await api.run("r")).append(state="finished") as log:
                await log({"n": 0})
    assert state_of(store) == "failed"
    assert "The last 1 rows were not added" in " ".join(raised.value.__notes__)


async def test_what_was_added_is_said_if_only_the_run_cannot_be_read_afterwards(
    store: Store,
) -> None:
    is_over = False

    async def refusing(scope_: Any, receive: Any, send: Any) -> None:
        nonlocal is_over
        if is_over:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"gone"})
        else:
            await create_app(store)(scope_, receive, send)
        is_over = scope_["path"].endswith("file_stream")

    make_run(store)
    async with api_of(store, refusing) as api:
        run = await api.run("r")
        with pytest.raises(CommError, match="404") as raised:
            async with run.append(state="finished") as log:
                for n in range(3):
                    await log({"n": n})
    assert raised.value.__notes__ == ["W&B has acknowledged 3 of these rows."]
    assert (state_of(store), rows_of(store, "n")) == ("finished", [0, 1, 2])


def test_without_await_an_exception_and_an_interrupt_are_failures_too(store: Store) -> None:
    for name, error in (("r", ZeroDivisionError), ("s", KeyboardInterrupt)):
        make_run(store, name)
        with (
            Api(
                store.local_key,
                base_url="http://wandb.test",
                project="p",
                transport=httpx.ASGITransport(create_app(store)),
            ) as api,
            pytest.raises(error),
            api.run(name).append(state="finished") as log,
        ):
            log({"n": 0})
            raise error
        assert (log.added, state_of(store, name), rows_of(store, "n", name)) == (1, "failed", [0])


# Two writers.


async def test_the_second_of_two_writers_gets_an_error_and_overwrites_nothing(
    store: Store, api: AsyncApi
) -> None:
    make_run(store, rows=3)
    run = await api.run("r")
    async with run.append(state="finished") as first:
        with pytest.raises(ConflictError, match="Another writer is adding rows to run local/p/r"):
            async with run.append(state="finished") as second:
                await second({"second": 1})
                for n in range(1000):
                    await first({"first": n})
        assert second.added == 0
    assert rows_of(store, "first") == list(range(1000))
    assert (rows_of(store, "second"), rows_of(store, "old")) == ([], [0, 1, 2])
    assert state_of(store) == "finished"


async def test_a_writer_that_another_has_overtaken_leaves_the_state_to_it(
    store: Store, api: AsyncApi
) -> None:
    make_run(store)
    run = await api.run("r")
    with batches_of(2):
        with pytest.raises(ConflictError, match="2 were stored") as raised:
            async with run.append(state="failed") as first:
                await first({"first": 0})
                await first({"first": 1})
                async with run.append(state="finished") as second:
                    await second({"second": 0})
                await first({"first": 2})
                await first({"first": 3})
        assert first.added == 2
    assert raised.value.status == 409
    assert state_of(store) == "finished"
    assert (rows_of(store, "first"), rows_of(store, "second")) == ([0, 1], [0])


async def test_adding_rows_after_a_conflict_is_an_error_again(store: Store, api: AsyncApi) -> None:
    make_run(store)
    run = await api.run("r")
    with batches_of(1), pytest.raises(ConflictError):
        async with run.append() as log:
            add_line(store, 0)
            for n in range(3):
                with pytest.raises(ConflictError):
                    await log({"n": n})
    assert rows_of(store, "n") == []


async def test_a_plain_writer_that_overwrites_our_rows_is_noticed(
    store: Store, api: AsyncApi
) -> None:
    make_run(store)
    run = await api.run("r")
    with batches_of(2), pytest.raises(ConflictError):
        async with run.append(state="finished") as log:
            await log({"n": 0})
            await log({"n": 1})
            add_line(store, 1, offset=1)
    assert rows_of(store, "theirs") == [1]


async def hammer(url: str, key: str, writers: int, rows: int) -> dict[int, list[int]]:
    """The acknowledged rows of each writer are stored, and both writers stop."""
    acknowledged: dict[int, list[int]] = {number: [] for number in range(writers)}

    async def write(number: int) -> None:
        stored = acknowledged[number]
        async with AsyncApi(key, base_url=url, project="p") as api:
            run = await api.run("local/p/r")
            while len(stored) < rows:
                start = len(stored)
                log = run.append()
                try:
                    async with log:
                        for n in range(start, min(start + 25, rows)):
                            await log({f"w{number}": n})
                except ConflictError as error:
                    assert "local/p/r" in str(error)  # noqa: PT017
                stored += range(start, start + log.added)

    async with anyio.create_task_group() as tasks:
        for number in range(writers):
            tasks.start_soon(write, number)
    return acknowledged


@pytest.mark.parametrize("writers", [2, pytest.param(5, marks=pytest.mark.slow)])
async def test_many_writers_on_a_port_lose_no_row_that_was_acknowledged(
    store: Store, writers: int
) -> None:
    make_run(store, rows=3)
    with serve_in_thread(create_app(store)) as url, batches_of(10):
        acknowledged = await hammer(url, store.local_key, writers, 100)
    for number in range(writers):
        assert acknowledged[number] == list(range(100))
        assert rows_of(store, f"w{number}") == list(range(100))
    assert rows_of(store, "old") == [0, 1, 2]
    project, _ = store.projects.ensure("local", "p")
    run = store.runs.get(project, "r")
    assert run
    assert store.history.replaced(run) == []
    steps = rows_of(store, "_step")
    assert steps == list(range(3 + 100 * writers))


# W&B itself, which lets the last writer overwrite.


@asynccontextmanager
async def plain(store: Store) -> AsyncIterator[tuple[AsyncApi, PlainWandb]]:
    app = PlainWandb(create_app(store))
    async with api_of(store, app) as api:
        yield api, app


async def test_plain_wandb_gets_the_rows_and_then_the_state(store: Store) -> None:
    make_run(store, rows=2, finish=True)
    async with plain(store) as (api, _):
        run = await api.run("r")
        with batches_of(2):
            async with run.append() as log:
                for n in range(5):
                    await log({"n": n})
        assert (run.state, run.history_line_count) == ("finished", 7)
    assert rows_of(store, "n") == list(range(5))


async def test_another_writer_on_plain_wandb_is_noticed_before_a_batch_overwrites_it(
    store: Store,
) -> None:
    make_run(store, rows=2)
    async with plain(store) as (api, _):
        run = await api.run("r")
        with batches_of(2), pytest.raises(ConflictError, match="2 were stored; the rest was not"):
            async with run.append(state="finished") as log:
                await log({"n": 0})
                await log({"n": 1})
                add_line(store, 4)
                await log({"n": 2})
                await log({"n": 3})
    assert (rows_of(store, "n"), rows_of(store, "theirs")) == ([0, 1], [4])
    assert state_of(store) == "running"


async def test_another_writer_on_plain_wandb_that_came_before_the_first_row_is_noticed(
    store: Store,
) -> None:
    make_run(store, rows=2)
    async with plain(store) as (api, _):
        with pytest.raises(ConflictError, match="0 were stored"):
            async with (await api.run("r")).append() as log:
                add_line(store, 1, offset=1)  # not more lines, but others
                await log({"n": 0})
    assert (rows_of(store, "n"), rows_of(store, "theirs")) == ([], [1])


@pytest.mark.parametrize(
    "their_step",
    [pytest.param(None, id="behind ours"), pytest.param(2, id="in the place of ours")],
)
async def test_another_writer_on_plain_wandb_that_comes_with_the_last_batch_is_noticed_after_it(
    store: Store, their_step: int | None
) -> None:
    make_run(store, rows=2)
    async with plain(store) as (api, app):
        app.after_rows.append(lambda: add_line(store, their_step or 3, offset=their_step))
        with pytest.raises(ConflictError, match="1 were stored; some of them"):
            async with (await api.run("r")).append(state="finished") as log:
                await log({"n": 0})
    assert state_of(store) == "running"


async def test_a_batch_that_overwrites_more_rows_than_it_has_is_noticed(store: Store) -> None:
    make_run(store, rows=2)
    async with plain(store) as (api, app):
        app.before_rows.append(lambda: add_lines(store, 2, 3))
        with pytest.raises(ConflictError, match="may have been overwritten"):
            async with (await api.run("r")).append(state="finished") as log:
                await log({"n": 0})


async def test_a_batch_whose_response_was_lost_is_recognised_as_our_own(
    store: Store,
) -> None:
    make_run(store, rows=2)
    app = PlainWandb(create_app(store))
    losing = [b'n": 0'.replace(b" ", b"")]

    async def loses_an_answer(scope_: Any, receive: Any, send: Any) -> None:
        if scope_["path"].endswith("file_stream") and losing:
            losing.pop()

            async def nowhere(_: Any) -> None:
                pass

            await app(scope_, receive, nowhere)
            await send({"type": "http.response.start", "status": 422, "headers": []})
            await send({"type": "http.response.body", "body": b"so I say"})
        else:
            await app(scope_, receive, send)

    async with api_of(store, loses_an_answer) as api:
        with batches_of(2):
            async with (await api.run("r")).append(state="finished") as log:
                await log({"n": 0})
                with pytest.raises(CommError, match="422"):
                    await log({"n": 1})
                await log({"n": 2})
    assert (rows_of(store, "n"), state_of(store)) == ([0, 1, 2], "finished")


def counting(lines: Callable[[], int], app: Any) -> Any:
    """Says another number of lines than there are."""

    async def changed(scope_: Any, receive: Any, send: Any) -> None:
        body, again = await replayed(receive)

        async def send_changed(answer: Any) -> None:
            if answer["type"] == "http.response.body" and b"RunResumeStatus" in body:
                said = json.loads(answer["body"])
                said["data"]["model"]["bucket"]["historyLineCount"] = lines()
                answer = {**answer, "body": json.dumps(said).encode()}
            elif answer["type"] == "http.response.start":
                kept = [pair for pair in answer["headers"] if pair[0] != b"content-length"]
                answer = {**answer, "headers": kept}
            await send(answer)

        await app(scope_, again, send_changed)

    return changed


async def test_wandb_may_count_late_what_it_has_acknowledged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(store, rows=2)
    counts = iter([2, 2, 2, 2])
    app = counting(lambda: next(counts, 3), PlainWandb(create_app(store)))
    async with api_of(store, app) as api, (await api.run("r")).append(state="finished") as log:
        await log({"n": 0})
    assert (rows_of(store, "n"), state_of(store), next(counts, None)) == ([0], "finished", None)


async def test_rows_that_wandb_never_counts_are_not_called_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_guard, "MAX_LAG_SECONDS", 0.1)
    make_run(store, rows=2)
    app = counting(lambda: 2, PlainWandb(create_app(store)))
    async with api_of(store, app) as api:
        with pytest.raises(ServerError, match="acknowledged 1 rows, but its history has 2 lines"):
            async with (await api.run("r")).append(state="finished") as log:
                await log({"n": 0})
    assert state_of(store) != "finished"


# Rows with a token.


async def add_with_token(
    run: Run, rows: list[dict[str, Any]], *, stop_after: int | None = None, **how: Any
) -> tuple[int, int]:
    """Add rows by two; a writer that is to stop leaves no trace of its end, like one killed."""
    log = run.append(**{"token": "t"} | how)
    with batches_of(2):
        await log.__aenter__()
        for row in rows[:stop_after]:
            await log(row)
        if stop_after is None:
            await log.__aexit__(None, None, None)
    return log.added, log.skipped


ROWS = [{"n": n} for n in range(9)]


@pytest.mark.parametrize("stop_after", range(10))
async def test_rows_with_a_token_are_added_once_wherever_they_were_cut_off(
    store: Store, api: AsyncApi, stop_after: int
) -> None:
    make_run(store, rows=3, finish=True)
    run = await api.run("r")
    await add_with_token(run, ROWS, stop_after=stop_after)
    sent = stop_after // 2 * 2
    assert rows_of(store, "n") == list(range(sent))
    assert await add_with_token(run, ROWS) == (9 - sent, sent)
    assert await add_with_token(run, ROWS) == (0, 9)
    assert rows_of(store, "n") == list(range(9))
    assert rows_of(store, "_step") == list(range(12))
    assert (run.state, run.summary["n"]) == ("finished", 8)


async def test_steps_that_rows_name_are_part_of_them(store: Store, api: AsyncApi) -> None:
    make_run(store)
    run = await api.run("r")
    rows = [{"n": n, "_step": n * n} for n in range(9)]
    await add_with_token(run, rows, stop_after=5)
    assert await add_with_token(run, rows, state="finished") == (5, 4)
    assert rows_of(store, "_step") == [n * n for n in range(9)]


async def test_other_rows_may_come_between_and_other_tokens_know_nothing_of_it(
    store: Store, api: AsyncApi
) -> None:
    make_run(store)
    run = await api.run("r")
    await add_with_token(run, ROWS, stop_after=4)
    await add_with_token(run, [{"other": n} for n in range(3)], token="u")
    async with run.append() as log:
        await log({"nameless": 1})
    assert await add_with_token(run, ROWS) == (5, 4)
    assert await add_with_token(run, [{"other": n} for n in range(5)], token="u") == (2, 3)
    assert (rows_of(store, "n"), rows_of(store, "other")) == (list(range(9)), list(range(5)))
    assert rows_of(store, "nameless") == [1]


async def test_a_token_takes_more_rows_behind_the_same(store: Store, api: AsyncApi) -> None:
    make_run(store)
    run = await api.run("r")
    await add_with_token(run, ROWS[:4])
    assert await add_with_token(run, ROWS) == (5, 4)
    assert rows_of(store, "n") == list(range(9))


async def test_clocks_in_the_rows_may_differ(store: Store, api: AsyncApi) -> None:
    make_run(store)
    run = await api.run("r")
    await add_with_token(run, [row | {"_timestamp": 1.0} for row in ROWS], stop_after=4)
    again = [row | {"_timestamp": 2.0, "_runtime": 1} for row in ROWS]
    assert await add_with_token(run, again) == (5, 4)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{"n": -1}, *ROWS[1:]], "the first 4 rows are not those"),
        ([*ROWS[:3], {"n": 3, "more": 1}], "the first 4 rows are not those"),
        (ROWS[:3], "only 3 rows were given, but 4 were added"),
    ],
)
async def test_other_rows_with_the_same_token_are_refused_and_change_nothing(
    store: Store, api: AsyncApi, rows: list[dict[str, Any]], complaint: str
) -> None:
    make_run(store)
    run = await api.run("r")
    await add_with_token(run, ROWS[:4], state="finished")
    with pytest.raises(ConflictError, match=complaint) as raised:
        await add_with_token(run, rows, state="failed")
    assert "Run local/p/r: " in str(raised.value)
    assert (rows_of(store, "n"), state_of(store)) == ([0, 1, 2, 3], "finished")


async def test_a_row_is_not_added_after_the_token_was_refused(store: Store, api: AsyncApi) -> None:
    make_run(store)
    run = await api.run("r")
    await add_with_token(run, ROWS[:1])
    with pytest.raises(ConflictError):
        async with run.append(token="t") as log:
            for n in (5, 6):
                with pytest.raises(ConflictError):
                    await log({"n": n})
    assert rows_of(store, "n") == [0]


async def test_a_run_that_was_rewound_is_not_taken_to_have_the_rows(
    store: Store, api: AsyncApi
) -> None:
    make_run(store)
    run = await api.run("r")
    await add_with_token(run, ROWS)
    project, _ = store.projects.ensure("local", "p")
    stored = store.runs.get(project, "r")
    assert stored
    store.history.rewind(stored, 3)
    with pytest.raises(ConflictError, match="it was rewound"):
        await add_with_token(run, ROWS)


async def test_a_run_that_was_finished_is_so_again_when_a_killed_append_is_repeated(
    store: Store, api: AsyncApi
) -> None:
    make_run(store, finish=True)
    run = await api.run("r")
    await add_with_token(run, ROWS[:8], stop_after=8)
    assert state_of(store) == "running"
    assert await add_with_token(run, ROWS[:8]) == (0, 8)
    assert state_of(store) == "finished"


async def test_the_summary_keeps_the_tokens_used_last(store: Store, api: AsyncApi) -> None:
    make_run(store)
    run = await api.run("r")
    for number in range(20):
        await add_with_token(run, [{"n": number}], token=f"t{number}")
    kept = json.loads(run.summary["_appended"])
    assert list(kept) == [f"t{number}" for number in range(4, 20)]


async def test_a_summary_value_that_is_not_a_record_of_tokens_is_reported(
    store: Store, api: AsyncApi
) -> None:
    make_run(store)
    run = await api.run("r")
    async with run.append() as log:
        await log({"_appended": 3})
    with pytest.raises(ConflictError, match="'_appended' is not what"):
        await add_with_token(run, ROWS)
    with pytest.raises(UsageError, match="token must be a name for the rows, or None, not ''"):
        await add_with_token(run, ROWS, token="")
