"""New runs and projects; existing ones are never changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from aiowandb import Api, AsyncApi, ConflictError, Run
from aiowandb.errors import ServerError
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from tests.support.overwriting import replayed

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[AsyncApi]:
    async with AsyncApi.local(tmp_path, project="p") as api:
        yield api


async def facts(run: Run) -> dict[str, Any]:
    """All that can be lost of a run."""
    await run.load()
    rows = [row async for row in run.scan_history()]
    return {
        "name": run.name,
        "state": run.state,
        "config": run.config,
        "tags": run.tags,
        "summary": dict(run.summary),
        "rows": rows,
        "storage_id": run.storage_id,
    }


async def test_a_run_that_exists_is_not_made_again(api: AsyncApi) -> None:
    made = await api.create_run("r", name="first", config={"lr": 0.1}, tags=["a"])
    async with made.append(state="finished") as log:
        await log({"loss": 1})
    before = await facts(made)
    with pytest.raises(ConflictError, match="Run local/p/r exists") as raised:
        await api.create_run("r", name="second", config={"lr": 0.2}, tags=["b"])
    assert "exist_ok=True" in str(raised.value)
    with pytest.raises(ConflictError):
        await api.create_run("r")
    assert await facts(made) == before
    assert (before["config"], before["state"], before["name"]) == ({"lr": 0.1}, "finished", "first")


async def test_a_run_that_exists_is_given_as_it_is_if_that_is_wanted(api: AsyncApi) -> None:
    made = await api.create_run("r", config={"lr": 0.1}, exist_ok=True)
    before = await facts(made)
    found = await api.create_run("r", name="second", config={}, tags=["b"], exist_ok=True)
    assert (found.path, found.config, found.tags) == (["local", "p", "r"], {"lr": 0.1}, [])
    assert await facts(made) == before


async def test_a_run_has_what_it_was_made_with_and_runs(api: AsyncApi) -> None:
    made = await api.create_run("r", name="first", config={"lr": 0.1}, tags=["a"])
    for run in (made, await api.run("r")):
        assert (run.name, run.config, run.tags) == ("first", {"lr": 0.1}, ["a"])
        assert (run.state, run.last_step) == ("running", -1)


def test_without_await_it_is_the_same(tmp_path: Path) -> None:
    with Api.local(tmp_path, project="p") as api:
        api.create_run("r", config={"a": 1})
        with pytest.raises(ConflictError, match="local/p/r"):
            api.create_run("r")
        assert api.create_run("r", exist_ok=True).config == {"a": 1}
        api.create_project("q")
        with pytest.raises(ConflictError, match="local/q"):
            api.create_project("q")
        api.create_project("q", exist_ok=True)


async def test_a_project_that_exists_is_not_made_again(api: AsyncApi) -> None:
    await api.create_project("q")
    with pytest.raises(ConflictError, match="Project local/q exists"):
        await api.create_project("q")
    await api.create_project("q", exist_ok=True)
    assert [project.name async for project in api.projects("local")].count("q") == 1


async def test_of_many_that_create_a_run_at_once_one_does(tmp_path: Path) -> None:
    outcomes: list[str] = []
    start = anyio.Event()
    with Store.open(tmp_path) as store, serve_in_thread(create_app(store)) as url:

        async def make(number: int) -> None:
            async with AsyncApi(store.local_key, base_url=url, project="p") as api:
                await start.wait()
                try:
                    await api.create_run("r", config={"by": number}, tags=[str(number)])
                except ConflictError as error:
                    assert "It was not changed" in str(error)  # noqa: PT017
                else:
                    outcomes.append(str(number))

        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(make, number)
            await anyio.wait_all_tasks_blocked()
            start.set()
        async with AsyncApi(store.local_key, base_url=url, project="p") as api:
            run = await api.run("r")
            assert outcomes == run.tags == [str(run.config["by"])]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path) as store:
        store.accounts.ensure_user("local", is_admin=True)
        yield store


def before_making(app: Any, do: Callable[[], None], *, lose_answer: bool = False) -> Any:
    """Does something between the check whether a run or project exists, and its creation."""
    waiting = [do]

    async def moved(scope: Any, receive: Any, send: Any) -> None:
        body, again = await replayed(receive)
        is_first = waiting and b"mutation" in body

        async def nowhere(_: Any) -> None:
            pass

        if is_first:
            waiting.pop()()
        await app(scope, again, nowhere if is_first and lose_answer else send)
        if is_first and lose_answer:
            raise httpx.ReadError("the connection broke")

    return moved


def api_of(store: Store, app: Any) -> AsyncApi:
    transport = httpx.ASGITransport(app)
    return AsyncApi(store.local_key, base_url="http://wandb.test", project="p", transport=transport)


async def test_a_run_that_another_process_creates_meanwhile_is_not_changed(
    store: Store,
) -> None:
    def make() -> None:
        project, _ = store.projects.ensure("local", "p")
        changes = RunChanges(config='{"theirs": {"value": 1}}', tags=["theirs"], state="finished")
        store.runs.upsert(project, "r", changes)

    async with api_of(store, before_making(create_app(store), make)) as api:
        with pytest.raises(ConflictError, match="was just created"):
            await api.create_run("r", name="ours", config={"ours": 1}, tags=["ours"])
        run = await api.run("r")
    assert (run.config, run.tags, run.state) == ({"theirs": 1}, ["theirs"], "finished")


async def test_with_exist_ok_it_is_given_as_it_is(store: Store) -> None:
    def make() -> None:
        project, _ = store.projects.ensure("local", "p")
        store.runs.upsert(project, "r", RunChanges(config='{"theirs": {"value": 1}}'))

    async with api_of(store, before_making(create_app(store), make)) as api:
        run = await api.create_run("r", config={"ours": 1}, exist_ok=True)
        assert run.config == (await api.run("r")).config == {"theirs": 1}


async def test_a_project_that_another_process_creates_meanwhile_is_a_conflict(store: Store) -> None:
    def make() -> None:
        store.projects.ensure("local", "q")

    async with api_of(store, before_making(create_app(store), make)) as api:
        with pytest.raises(ConflictError, match="local/q exists"):
            await api.create_project("q")


async def test_a_lost_response_is_distinguished_from_a_run_of_another_process(
    store: Store,
) -> None:
    losing = before_making(create_app(store), lambda: None, lose_answer=True)
    async with api_of(store, losing) as api:
        with pytest.raises(ConflictError, match="or by this call, if its first response was lost"):
            await api.create_run("r", config={"a": 1})
    losing = before_making(create_app(store), lambda: None, lose_answer=True)
    async with api_of(store, losing) as api:
        # An id of our own was drawn by nobody else.
        run = await api.create_run(config={"a": 1})
        assert (await api.run(run.path)).config == {"a": 1}
        assert await api.runs("p").count() == 2


async def test_a_run_that_could_not_be_given_its_config_is_named(store: Store) -> None:
    async def refuses_config(scope: Any, receive: Any, send: Any) -> None:
        body, again = await replayed(receive)
        if b"mutation" in body and "config" in json.loads(body)["variables"]:
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
        else:
            await create_app(store)(scope, again, send)

    async with api_of(store, refuses_config) as api:
        with pytest.raises(Exception, match="403") as raised:
            await api.create_run("r", config={"a": 1})
    assert raised.value.__notes__ == [
        "Run local/p/r was created, but its name, config and tags were not set."
    ]


async def test_a_server_that_calls_every_run_an_old_one_is_not_asked_for_ever(
    store: Store,
) -> None:
    async def says_no(scope: Any, receive: Any, send: Any) -> None:
        async def send_changed(message: Any) -> None:
            if message["type"] == "http.response.body":
                body = message["body"].replace(b'"inserted":true', b'"inserted":false')
                message = {**message, "body": body}
            elif message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if pair[0] != b"content-length"]
                message = {**message, "headers": kept}
            await send(message)

        await create_app(store)(scope, receive, send_changed)

    async with api_of(store, says_no) as api:
        with pytest.raises(ServerError, match="random new ids"):
            await api.create_run(config={"a": 1})
