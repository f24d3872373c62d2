"""Many projects are exported in one call, each into a folder of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow.parquet as pq
import pytest

from aiowandb import (
    AiowandbWarning,
    Api,
    AsyncApi,
    ExportError,
    InvalidPathError,
    NotFoundError,
    ProjectExport,
    UsageError,
)
from aiowandb.export import ExportEvent, RunsFound
from aiowandb_server import Store, create_app
from tests.support.in_process import client_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path, new_folder: Callable[[Path], Path]) -> Iterator[Store]:
    with Store.open(new_folder(tmp_path / "wandb")) as store:
        yield store


def fill(store: Store, *projects: str, rows: int = 3) -> None:
    for path in projects:
        entity, _, name = path.rpartition("/")
        store.accounts.ensure_entity(entity or "local")
        project, _ = store.projects.ensure(entity or "local", name)
        run, _ = store.runs.upsert(project, f"run-of-{name}")
        store.history.append(run, [json.dumps({"_step": n, "loss": n}) for n in range(rows)])
        store.finish(run, exit_code=0)


class Server(httpx.AsyncBaseTransport):
    """The embedded W&B, which fails for some projects, or is gone once some were exported."""

    def __init__(self, store: Store) -> None:
        self._inner = httpx.ASGITransport(create_app(store))
        self.failing: set[str] = set()
        self.answers_left = 10**6
        self.listed: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.answers_left -= 1
        if self.answers_left < 0:
            raise httpx.ConnectError("connection refused", request=request)
        asked = orjson.loads(request.content) if request.method == "POST" else {}
        if asked.get("operationName") == "Runs":
            self.listed.append(asked["variables"]["project"])
            if self.listed[-1] in self.failing:
                body = orjson.dumps({"errors": [{"message": "this project is broken"}]})
                return httpx.Response(200, stream=httpx.ByteStream(body))
        return await self._inner.handle_async_request(request)


@pytest.fixture
def server(store: Store) -> Server:
    return Server(store)


@pytest.fixture
async def api(store: Store, server: Server) -> AsyncIterator[AsyncApi]:
    async with client_of(store, server, max_connect_failures=1) as api:
        yield api


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def names(done: list[ProjectExport]) -> list[str]:
    return [each.project for each in done]


async def test_each_project_has_a_folder(store: Store, api: AsyncApi, out: Path) -> None:
    fill(store, "mnist", "cifar", "team/mnist")
    done = await api.export_projects(["local/*", "team/mnist"], out, keys=["loss"])
    assert sorted(names(done)) == ["local/cifar", "local/mnist", "team/mnist"]
    assert all(each.is_complete and each.result and each.result.rows == 3 for each in done)
    for each in done:
        assert each.folder == out / each.project
        assert pq.read_table(out / each.project / "history").num_rows == 3


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.slow)])
async def test_many_projects_are_exported_in_few_requests(
    store: Store, api: AsyncApi, server: Server, out: Path, count: int
) -> None:
    fill(store, *(f"p{number}" for number in range(count)), rows=1)
    done = await api.export_projects("*", str(out), what=["history"])
    assert len(done) == len(list((out / "local").iterdir())) == count
    assert all(each.is_complete for each in done)
    # One for the list of projects; of each, its runs, where the rows are, and the rows.
    assert api.traffic.requests <= 1 + 3 * count
    server.listed.clear()
    before = api.traffic.requests
    again = await api.export_projects("*", out, what=["history"])
    assert api.traffic.requests - before == 1 + count
    assert len(server.listed) == count
    assert {each.result.downloads for each in again if each.result} == {0}


async def test_projects_are_included_and_excluded_by_name_or_path(
    store: Store, api: AsyncApi, out: Path
) -> None:
    fill(store, "a-1", "a-2", "b-1", "team/a-1")

    async def found(paths: list[str], **chosen: list[str]) -> list[str]:
        return sorted(names(await api.export_projects(paths, out, plan=True, **chosen)))  # type: ignore[arg-type]

    assert await found(["a-*"]) == ["local/a-1", "local/a-2"]
    assert await found(["*", "team/*"], include_projects=["a-*"]) == [
        *("local/a-1", "local/a-2"),
        "team/a-1",
    ]
    assert await found(["*", "team/*"], exclude_projects=["team/*", "*-2"]) == [
        *("local/a-1", "local/b-1"),
    ]
    assert await found(["a-1", "local/a-[12]*", "local/a-1"]) == ["local/a-1", "local/a-2"]
    fill(store, "a-[1]")
    assert await found(["*"], include_projects=["a-[1]"]) == ["local/a-[1]"]
    assert await found(["a-*"], exclude_projects=["local/a-[1]"]) == ["local/a-1", "local/a-2"]


async def test_a_plan_writes_nothing(store: Store, api: AsyncApi, out: Path) -> None:
    fill(store, "a", "b")
    done = await api.export_projects("*", out, plan=True)
    assert [each.plan.rows for each in done if each.plan] == [3, 3]
    assert not out.exists()


async def test_the_failure_of_one_project_does_not_stop_the_others(
    store: Store, api: AsyncApi, server: Server, out: Path
) -> None:
    fill(store, "a", "b", "c")
    server.failing.add("b")
    (out / "local" / "c").mkdir(parents=True)
    (out / "local" / "c" / "runs.parquet").touch()
    done = {each.project: each for each in await api.export_projects(["*", "local/none"], out)}
    assert done["local/a"].is_complete
    assert "this project is broken" in str(done["local/b"].error)
    assert isinstance(done["local/c"].error, ExportError)
    assert isinstance(done["local/none"].error, NotFoundError)
    assert [project for project, each in done.items() if each.is_complete] == ["local/a"]
    server.failing.clear()
    assert (await api.export_projects(["b"], out))[0].is_complete


async def test_when_the_server_is_gone_no_more_projects_are_begun(
    store: Store, api: AsyncApi, server: Server, out: Path
) -> None:
    fill(store, *(f"p{number}" for number in range(40)))
    server.answers_left = 20
    done = await api.export_projects("*", out)
    assert len(done) == 40
    assert sum(each.is_complete for each in done) < 20
    assert {type(each.error).__name__ for each in done if each.error} == {"ConnectError"}
    assert len(server.listed) < 20


async def test_events_come_with_the_project(store: Store, api: AsyncApi, out: Path) -> None:
    fill(store, "a", "b")
    heard: list[tuple[str, ExportEvent | ProjectExport]] = []
    done = await api.export_projects("*", out, on_event=lambda *event: heard.append(event))
    assert {path for path, event in heard if isinstance(event, RunsFound)} == {"local/a", "local/b"}
    ends = {path: event for path, event in heard if isinstance(event, ProjectExport)}
    assert ends == {each.project: each for each in done}


async def test_the_names_of_projects_never_lead_out_of_the_folder(
    store: Store, api: AsyncApi, out: Path
) -> None:
    fill(store, "a")
    outside = out.parent / "outside"
    outside.mkdir()
    out.mkdir()
    (out / "local").symlink_to(outside)
    (done,) = await api.export_projects("*", out)
    assert "leads out of it" in str(done.error)
    assert list(outside.iterdir()) == []


async def test_in_an_object_store_the_folder_is_part_of_the_url(
    store: Store, api: AsyncApi, tmp_path: Path
) -> None:
    fill(store, "a")
    (done,) = await api.export_projects("*", f"file://{tmp_path}/lake")
    assert done.folder == f"file://{tmp_path}/lake/local/a"
    assert (tmp_path / "lake" / "local" / "a" / "runs.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"paths": ["*/x"]}, InvalidPathError, "only the name of the project"),
        ({"paths": []}, UsageError, "or a list of them"),
        ({"paths": ["a"], "target": "-"}, UsageError, "a folder"),
        ({"paths": ["a"], "target": ""}, UsageError, "a folder"),
        (
            {"paths": ["a"], "target": "postgresql://me:hunter2@host/x", "what": ["history"]},
            UsageError,
            "and postgresql://host/x is a database",
        ),
        ({"paths": ["a"], "what": ["runs"], "keys": ["x"]}, UsageError, "keys requires history"),
        ({"paths": ["a"], "repair": True, "plan": True}, UsageError, "plan and repair"),
        ({"paths": ["a"], "repair": True, "overwrite": True}, UsageError, "leave overwrite out"),
        ({"paths": ["a"], "filters": {"$foo": 1}}, UsageError, "foo"),
        ({"paths": ["no-*"]}, NotFoundError, r"No project matches no-\*\."),
        ({"paths": ["*"], "exclude_projects": ["*"]}, NotFoundError, "none of the 1 found"),
    ],
)
@pytest.mark.filterwarnings("ignore::aiowandb.AiowandbWarning")
async def test_wrong_calls_are_refused_before_anything_is_exported(
    store: Store, api: AsyncApi, out: Path, arguments: dict[str, Any], error: Any, said: str
) -> None:
    fill(store, "a")
    with pytest.raises(error, match=said):
        await api.export_projects(**({"target": out} | arguments))
    assert not out.exists()


async def test_a_pattern_without_a_project_is_a_warning_among_others(
    store: Store, api: AsyncApi, out: Path
) -> None:
    fill(store, "a")
    with pytest.warns(AiowandbWarning, match="No project matches 'b-"):
        assert names(await api.export_projects(["a", "b-*"], out)) == ["local/a"]


def test_without_await_too(store: Store, tmp_path: Path, out: Path) -> None:
    fill(store, "a", "b")
    with Api.local(tmp_path / "wandb") as api:
        assert [
            each.plan.rows for each in api.export_projects("*", out, plan=True) if each.plan
        ] == [3, 3]
        assert api.runs("local/a").plan_export(out).rows == 3
        assert all(each.is_complete for each in api.export_projects("*", out))
