"""A gateway that mixes up answers: the one to a query about a run is about another run."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import md5
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aiowandb import AiowandbWarning, AsyncApi, ContentError, RetryPolicy, ServerError
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from aiowandb_server.store.sweeps import SweepChanges
from tests.support.tampering import connected

pytestmark = pytest.mark.anyio
PROJECT = "local/p"
ANYTHING = "*"
ONCE = RetryPolicy(random=lambda: 0.0, max_failures=1, max_same_failures=1)


class Mixer:
    """Passes requests on with values replaced, as if the answers belonged to other requests."""

    def __init__(self, store: Store) -> None:
        self._app = create_app(store)
        self.instead: dict[str, str] = {}
        self.operation = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/graphql":
            body = b""
            while (message := await receive()).get("more_body"):
                body += message["body"]
            asked = json.loads(body + message["body"])
            if self.operation in (asked["operationName"], ANYTHING):
                variables = asked["variables"]
                asked["variables"] = {
                    name: self.instead.get(value, value) if isinstance(value, str) else value
                    for name, value in variables.items()
                }
            message["body"] = json.dumps(asked).encode()
            headers = [pair for pair in scope["headers"] if pair[0] != b"content-length"]
            headers += [(b"content-length", b"%d" % len(message["body"]))]
            messages = iter([message])
            scope, original = scope | {"headers": headers}, receive

            async def receive() -> Any:
                return next(messages, None) or await original()

        await self._app(scope, receive, send)


class Mixed:
    def __init__(self, store: Store, mixer: Mixer, url: str) -> None:
        self.store = store
        self._url = url
        self.mixer = mixer

    @asynccontextmanager
    async def api(self) -> AsyncIterator[AsyncApi]:
        self.mixer.operation = ""
        async with AsyncApi(self.store.local_key, base_url=self._url, retry=ONCE) as api:
            yield api


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    with Store.open(tmp_path_factory.mktemp("wandb"), crash_after=float("inf")) as store:
        project, _ = store.projects.ensure("local", "p")
        for name in "ab":
            run, _ = store.runs.upsert(project, name, RunChanges())
            store.history.append(run, ['{"_step": 0, "loss": 1}'])
        twin, _ = store.projects.ensure("local", "q")
        run, _ = store.runs.upsert(twin, "a", RunChanges(summary='{"of": "q"}'))
        store.history.append(run, ['{"_step": 0, "loss": 2}'])
        mixer = Mixer(store)
        with serve_in_thread(mixer) as url:
            yield Mixed(store, mixer, url)


async def all_of(items: Any) -> list[Any]:
    return [item async for item in items]


async def change(run: Any) -> None:
    run.tags.append("new")
    await run.update()


CALLS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "RunFullHistory": lambda run: run.history(pandas=False),
    "RunSampledHistory": lambda run: run.history(keys=["loss"], pandas=False),
    "RunSystemHistory": lambda run: run.history(stream="system", pandas=False),
    "HistoryPlans": lambda run: all_of(run.scan_history()),
    "HistoryPages": lambda run: all_of(run.scan_history()),
    "RunConsoleLog": lambda run: all_of(run.console_logs()),
    "RunConsoleLogTail": lambda run: all_of(run.console_logs(last=3)),
    "RunFiles": lambda run: all_of(run.files()),
    "RunOutputArtifacts": lambda run: all_of(run.logged_artifacts()),
    "RunInputArtifacts": lambda run: all_of(run.used_artifacts()),
    "RunState": lambda run: run.wait_until_finished(),
    "Run": lambda run: run.load(force=True),
    "UpsertBucket": change,
}


@pytest.mark.parametrize("operation", CALLS)
async def test_an_answer_about_another_run_is_an_error(mixed: Mixed, operation: str) -> None:
    async with mixed.api() as api:
        run, other = await api.run(f"{PROJECT}/a"), await api.run(f"{PROJECT}/b")
        mixed.mixer.instead = {"a": "b", run.storage_id: other.storage_id}
        mixed.mixer.operation = operation
        with pytest.raises(ServerError, match=f"{operation}: .* response to another request"):
            await CALLS[operation](run)


async def test_a_new_run_is_not_taken_for_another(mixed: Mixed) -> None:
    async with mixed.api() as api:
        mixed.mixer.instead, mixed.mixer.operation = {"new": "b"}, "UpsertBucket"
        with pytest.raises(ServerError, match="it is about bucket b, not new"):
            await api.create_run("new", entity="local", project="p")


async def test_an_answer_about_another_artifact_is_an_error(mixed: Mixed, tmp_path: Path) -> None:
    for name in "cd":
        (tmp_path / name).write_text(name)
    async with mixed.api() as api:
        run = await api.run(f"{PROJECT}/a")
        made = [await run.log_artifact(name, "t", tmp_path / name) for name in "cd"]
        mixed.mixer.instead = {made[0].id: made[1].id}
        calls: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "FetchArtifactManifest": lambda artifact: artifact.manifest(),
            "ArtifactCreatedBy": lambda artifact: artifact.logged_by(),
            "ArtifactUsedBy": lambda artifact: artifact.used_by(),
        }
        for operation, call in calls.items():
            mixed.mixer.operation = operation
            with pytest.raises(ServerError, match=f"{operation}: .*it is about artifact"):
                await call(made[0])


OF_PROJECT: dict[str, Callable[[AsyncApi], Awaitable[Any]]] = {
    "Runs": lambda api: all_of(api.runs(PROJECT)),
    "RunCount": lambda api: api.runs(PROJECT).count(),
    "Run": lambda api: api.run(f"{PROJECT}/a"),
    "GetProject": lambda api: api.project("p", entity="local"),
    "GetSweeps": lambda api: history_of_sweeps(api),
    "RunSizes": lambda api: api.runs(PROJECT).plan_export("unused"),
}


async def history_of_sweeps(api: AsyncApi) -> None:
    await all_of((await api.project("p", entity="local")).sweeps())


@pytest.mark.parametrize("operation", OF_PROJECT)
async def test_an_answer_about_another_project_is_an_error(mixed: Mixed, operation: str) -> None:
    async with mixed.api() as api:
        mixed.mixer.instead, mixed.mixer.operation = {"p": "q"}, operation
        with pytest.raises(ServerError, match=f"{operation}: .*about project local/q, not local/p"):
            await OF_PROJECT[operation](api)


@pytest.mark.parametrize("operation", ["HistoryPlans", "HistoryPages"])
async def test_rows_of_a_run_of_the_same_name_are_not_taken(mixed: Mixed, operation: str) -> None:
    async with mixed.api() as api:
        run = await api.run(f"{PROJECT}/a")
        mixed.mixer.instead, mixed.mixer.operation = {"p": "q"}, operation
        with pytest.raises(ServerError, match="about project local/q, not local/p"):
            await all_of(run.scan_history())


async def test_an_old_name_of_a_project_leads_to_the_new_one(mixed: Mixed) -> None:
    """As all responses say, also that to the question which project this is."""
    async with mixed.api() as api:
        mixed.mixer.instead, mixed.mixer.operation = {"old": "q", "OLD": "local"}, ANYTHING
        runs = await all_of(api.runs("OLD/old"))
        assert [run.summary["of"] for run in runs] == ["q"]
        assert [row["loss"] for row in await all_of(runs[0].scan_history())] == [2]


async def test_projects_of_another_entity_are_not_taken(mixed: Mixed) -> None:
    async with mixed.api() as api:
        mixed.mixer.instead, mixed.mixer.operation = {"me": "local"}, "GetProjects"
        with pytest.raises(ServerError, match="it is about project local/., not me/"):
            await all_of(api.projects("me"))


async def test_another_version_or_artifact_is_not_taken(mixed: Mixed, tmp_path: Path) -> None:
    async with mixed.api() as api:
        run = await api.run(f"{PROJECT}/a")
        for name in ("f", "f", "g"):
            (tmp_path / name).write_text(f"{name} {len(list(tmp_path.iterdir()))}")
            await run.log_artifact(name, "t", tmp_path / name, aliases=["best"])
            (tmp_path / "more").touch()
        newest = await api.artifact(f"{PROJECT}/f:latest")
        digest = await api.artifact(f"{PROJECT}/f:v0")
        assert (newest.version, digest.version) == ("v1", "v0")

        def lie(operation: str, **instead: str) -> Any:
            mixed.mixer.instead, mixed.mixer.operation = instead, operation
            mixed.mixer.instead |= {k.replace("_", ":"): v for k, v in instead.items()}
            return pytest.raises(ServerError, match=f"{operation}: .*to another request")

        for asked, found in {"f_v1": "f:v0", "f_best": "g:best", "f_latest": "f:v0"}.items():
            with lie("ArtifactMembershipByName", **{asked: found}):
                await api.artifact(f"{PROJECT}/{asked.replace('_', ':')}", fresh=True)
        with lie("ArtifactMembershipFiles", v1="v0"):
            await all_of(newest.files())
        with lie("ArtifactMembershipFiles", f="g"):
            await all_of(newest.files())
        with lie("ProjectArtifacts", f="g"):
            await all_of(api.artifacts("t", f"{PROJECT}/f"))


async def test_the_best_run_is_one_of_the_sweep(mixed: Mixed, tmp_path: Path) -> None:
    store = mixed.store
    project, _ = store.projects.ensure("local", "swept")
    config = "method: random\nmetric: {name: loss}\nparameters: {x: {value: 1}}\n"
    sweeps = [store.sweeps.create(project, SweepChanges(config=config)).name for _ in "ab"]
    for name, sweep in zip("xy", sweeps, strict=True):
        store.runs.upsert(project, name, RunChanges(sweep=sweep, summary='{"loss": 1}'))
    async with mixed.api() as api:
        mixed.mixer.operation = "BestRuns"
        one, other = (json.dumps({"sweep": sweep}, separators=(",", ":")) for sweep in sweeps)
        mixed.mixer.instead = {one: other}
        with pytest.warns(AiowandbWarning, match="The best run of sweep .* is unknown: BestRuns"):
            await api.runs("local/swept").export(tmp_path, what=["runs", "sweeps"])
    found = {
        row["sweep"]: row["best_run"]
        for row in pq.read_table(tmp_path / "sweeps.parquet").to_pylist()
    }
    assert found == {sweeps[0]: None, sweeps[1]: "y"}


async def test_a_link_to_another_manifest_is_noticed(mixed: Mixed, tmp_path: Path) -> None:
    (tmp_path / "e").write_text("e")
    async with mixed.api() as api:
        run = await api.run(f"{PROJECT}/a")
        made = await run.log_artifact("e", "t", tmp_path / "e")
    known: list[bytes] = []
    wrong = [False]

    def change(_: str, body: bytes) -> bytes:
        """W&B as it may know the MD5 of manifests, which the embedded one does not."""
        if b'"contents"' in body:
            known.append(base64.b64encode(md5(body, usedforsecurity=False).digest()))
            return body.replace(b'"e"', b'"f"') if wrong.pop() else body
        return body.replace(b'"md5":null', b'"md5":"%s"' % known[0]) if known else body

    async with connected(mixed.store, change) as api:
        artifact = await api.artifact(f"{PROJECT}/{made.name}")
        assert list((await artifact.manifest()).entries) == ["e"]
    async with connected(mixed.store, change) as api:
        artifact = await api.artifact(f"{PROJECT}/{made.name}")
        wrong[:] = [True, True]
        with pytest.raises(ContentError, match="The manifest of .* but W&B announced"):
            await artifact.manifest()
        wrong[:] = [False, True]
        assert list((await artifact.manifest()).entries) == ["e"]  # with a new link
