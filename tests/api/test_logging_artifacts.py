"""Artifacts made of local files: complete or not there, under the names that were asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiowandb import Api, AsyncApi, CommError, MissingFileError, NotFoundError, Run, UsageError
from aiowandb.net import RetryPolicy
from aiowandb_server import Store, create_app

pytestmark = pytest.mark.anyio
once = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture
async def api(new_folder: Callable[[Path], Path], tmp_path: Path) -> AsyncIterator[AsyncApi]:
    """A client of an empty W&B."""
    async with AsyncApi.local(new_folder(tmp_path / "wandb")) as api:
        yield api


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 100)
    (folder / "deep" / "notes.txt").write_text("notes")
    (folder / "deep" / "same.txt").write_text("notes")
    (folder / "empty").write_text("")
    return folder


async def started(api: AsyncApi) -> Run:
    return await api.create_run("maker", "p", "local", exist_ok=True)


async def test_a_folder_is_logged_with_all_that_is_said_of_it(
    api: AsyncApi, out: Path, tmp_path: Path
) -> None:
    run = await started(api)
    artifact = await run.log_artifact(
        "model",
        "model",
        out,
        aliases=["best", "latest"],
        tags=["t"],
        description="why",
        metadata={"acc": 0.5},
        references={"far": "s3://bucket/far"},
    )
    assert (artifact.version, sorted(artifact.aliases)) == ("v0", ["best", "latest"])
    assert (artifact.type, artifact.tags, artifact.description) == ("model", ["t"], "why")
    assert (artifact.metadata, artifact.file_count) == ({"acc": 0.5}, 5)
    down = await artifact.download(tmp_path / "down")
    assert {path.relative_to(down.folder).as_posix() for path in down.files} == {
        *("weights.bin", "deep/notes.txt", "deep/same.txt", "empty"),
    }
    assert (down.folder / "weights.bin").read_bytes() == (out / "weights.bin").read_bytes()
    assert down.references == {"far": "s3://bucket/far"}
    assert [each.id async for each in run.logged_artifacts(fresh=True)] == [artifact.id]
    maker = await artifact.logged_by()
    assert maker
    assert maker.id == "maker"


@once
async def test_the_same_content_is_no_new_version(api: AsyncApi, out: Path) -> None:
    run = await started(api)
    first = await run.log_artifact("model", type="model", files=str(out))
    again = await run.log_artifact("model", type="model", files=out, aliases=["again"])
    assert again.id == first.id
    assert sorted(again.aliases) == ["again", "latest"]
    (out / "new").write_text("new")
    second = await run.log_artifact("model", type="model", files=out, aliases=["again"])
    assert (second.version, sorted(second.aliases)) == ("v1", ["again", "latest"])


@once
async def test_files_are_named_by_lists_and_dicts_too(api: AsyncApi, out: Path) -> None:
    run = await started(api)
    listed = await run.log_artifact("a", "data", [out / "weights.bin", out / "deep"])
    assert {*(await listed.manifest()).entries} == {"weights.bin", "notes.txt", "same.txt"}
    named = await run.log_artifact("b", "data", {"x/y.bin": out / "weights.bin"})
    assert {*(await named.manifest()).entries} == {"x/y.bin"}
    single = await run.log_artifact("c", "data", out / "weights.bin")
    assert {*(await single.manifest()).entries} == {"weights.bin"}
    only_references = await run.log_artifact("d", "data", references={"r": "gs://b/r"})
    (entry,) = (await only_references.manifest()).entries.values()
    assert entry.ref == "gs://b/r"


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"files": "nothing"}, MissingFileError, "nothing is not there"),
    ({"files": []}, UsageError, "no file to log"),
    ({"files": ["out/deep/same.txt", "other/same.txt"]}, UsageError, "both named 'same.txt'"),
    ({"files": ""}, UsageError, "an empty path would be this folder, which is '.'"),
    ({"files": {"x": ""}}, UsageError, "an empty path would be this folder"),
    ({"files": {"../x": "out/empty"}}, UsageError, "names in an artifact are relative"),
    (
        {"files": {"x": "out/empty"}, "references": {"x": "s3://b/x"}},
        *(UsageError, "the name of a file already"),
    ),
    ({"name": "a/b"}, UsageError, "a name of letters"),
    ({"metadata": {"x": object()}}, UsageError, "cannot be encoded"),
]


@once
@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
async def test_what_cannot_be_logged_is_refused_before_anything_is_sent(
    api: AsyncApi,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(out.parent)
    Path("other").mkdir()
    Path("other/same.txt").write_text("other")
    run = await started(api)
    sent = api.traffic.requests
    with pytest.raises(error, match=message):
        given: dict[str, Any] = {"name": "model", "type": "model", "files": out}
        await run.log_artifact(**given | arguments)
    assert api.traffic.requests == sent


class Refusing(httpx.AsyncBaseTransport):
    """A W&B that takes no files until it is told to."""

    def __init__(self, store: Store) -> None:
        self._app = httpx.ASGITransport(create_app(store))
        self.refuses = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.refuses and request.method == "PUT":
            return httpx.Response(403, text="no")
        return await self._app.handle_async_request(request)


@once
async def test_a_version_whose_files_are_refused_is_not_there(tmp_path: Path, out: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        transport = Refusing(store)
        url = "http://wandb.in-process"
        retry = RetryPolicy(max_failures=1)
        async with AsyncApi(store.local_key, base_url=url, transport=transport, retry=retry) as api:
            run = await started(api)
            with pytest.raises(CommError):
                await run.log_artifact("model", "model", out)
            with pytest.raises(NotFoundError):
                await api.artifact("local/p/model:latest", fresh=True)
            transport.refuses = False
            assert (await run.log_artifact("model", "model", out)).version == "v0"


def test_without_await(tmp_path: Path, out: Path) -> None:
    with Api.local(tmp_path / "store") as api, api.start_run("local/p") as run:
        artifact = run.log_artifact("model", type="model", files=out, aliases=["best"])
        assert sorted(artifact.aliases) == ["best", "latest"]
        assert [each.version for each in run.logged_artifacts(fresh=True)] == ["v0"]
