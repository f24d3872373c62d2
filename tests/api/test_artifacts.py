"""Artifacts: found, listed and downloaded, with the files that they refer to."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import anyio
import pytest

from aiowandb import (
    Api,
    AsyncApi,
    ContentError,
    DownloadError,
    InvalidPathError,
    LinkError,
    NotFoundError,
    UsageError,
)
from aiowandb.files.artifacts import download_artifact
from aiowandb.paths import ArtifactRef
from aiowandb_server import RunChanges, Store
from aiowandb_server.store.records import RunRow as StoredRun
from tests.support.artifacts import log_artifact
from tests.support.tampering import connected, there

pytestmark = pytest.mark.anyio

OLD = {"a.txt": b"old", "sub/b.bin": b"b" * 5000}
NEW = {"a.txt": b"new", "sub/b.bin": b"b" * 5000, "sub/c.bin": b"c", "empty": b""}


class Made:
    """A store with a project, and what is in it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        project = store.projects.ensure("local", "demo")[0]
        self.maker, self.user = (
            store.runs.upsert(project, name, RunChanges())[0] for name in ("maker", "user")
        )
        log_artifact(store, self.maker, "data", OLD)
        self.data = log_artifact(
            store,
            self.maker,
            "data",
            NEW,
            aliases=("best",),
            tags=("checked",),
            description="what is new",
            metadata='{"rows": 3, "score": NaN}',
        )

    def log(self, name: str, references: Mapping[str, str], *, by: StoredRun | None = None) -> str:
        run = by or self.maker
        return log_artifact(
            self.store, run, name, {"own.txt": name.encode()}, references=references
        )

    def use_data(self) -> None:
        used = self.store.artifacts.by_id(2)
        assert used
        self.store.artifacts.use(self.user, used)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    with Store.open(tmp_path / "wandb") as store:
        yield Made(store)


@pytest.fixture
async def api(made: Made) -> AsyncIterator[AsyncApi]:
    async with connected(made.store) as api:
        yield api


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("path", "version", "name"),
    [
        ("local/demo/data:best", "v1", "data:best"),
        ("demo/data:v0", "v0", "data:v0"),
        ("local/demo/data", "v1", "data:v1"),
        ("https://wandb.ai/local/demo/artifacts/dataset/data/v0/files?nw=1", "v0", "data:v0"),
    ],
)
async def test_an_artifact_is_found_by_its_names(
    api: AsyncApi, path: str, version: str, name: str
) -> None:
    artifact = await api.artifact(path)
    assert (artifact.version, artifact.name) == (version, name)
    assert artifact.qualified_name == f"local/demo/{name}"
    assert repr(artifact) == f"<Artifact local/demo/{name} (dataset)>"


async def test_an_artifact_has_its_attributes(api: AsyncApi) -> None:
    artifact = await api.artifact("local/demo/data:best", type="dataset")
    assert (artifact.type, artifact.state, artifact.file_count) == ("dataset", "COMMITTED", 4)
    assert sorted(artifact.aliases) == ["best", "latest"]
    assert (artifact.tags, artifact.description) == (["checked"], "what is new")
    assert artifact.metadata["rows"] == 3
    assert artifact.size == sum(map(len, NEW.values()))
    assert artifact.created_at is not None
    assert artifact.created_at.tzinfo is not None
    assert not artifact.is_link
    assert artifact.url.endswith("/local/demo/artifacts/dataset/data/v1")


async def test_missing_objects_are_named(api: AsyncApi) -> None:
    with pytest.raises(NotFoundError, match="Could not find artifact local/demo/data:v9"):
        await api.artifact("local/demo/data:v9")
    with pytest.raises(NotFoundError, match="is of type dataset, not model"):
        await api.artifact("local/demo/data", type="model")
    with pytest.raises(NotFoundError, match="local/demo/data of type model"):
        await api.artifacts("model", "local/demo/data").to_list()
    with pytest.raises(InvalidPathError, match="is not the path of an artifact"):
        await api.artifact("a/b/c/d")


async def test_a_linked_version_knows_where_it_was_logged(api: AsyncApi, made: Made) -> None:
    project = made.store.projects.get("local", "demo")
    assert project
    portfolio = made.store.collections.ensure(project, "chosen", "dataset", "PORTFOLIO")
    data = made.store.collections.get(project.id, "data")
    assert data
    latest = made.store.artifacts.latest(data.id)
    assert latest
    made.store.artifacts.link(latest, portfolio, ["top"])
    artifact = await api.artifact("local/demo/chosen:top")
    assert artifact.is_link
    assert (artifact.version, artifact.aliases) == ("v0", ["top", "latest"])
    assert artifact.source == ArtifactRef("local", "demo", "data", "v1")
    assert artifact.source_qualified_name == "local/demo/data:v1"
    assert [file.name async for file in artifact.files()] == sorted(NEW)


async def test_a_run_knows_what_it_has_logged_and_used(api: AsyncApi, made: Made) -> None:
    for n in range(3):
        made.log(f"more-{n}", {}, by=made.user)
    made.use_data()
    maker, user = await api.run("local/demo/maker"), await api.run("local/demo/user")
    assert [a.name async for a in maker.logged_artifacts()] == ["data:v0", "data:v1"]
    logged = user.logged_artifacts(per_page=2)
    assert [a.name async for a in logged] == ["more-0:v0", "more-1:v0", "more-2:v0"]
    assert (await logged.count(), await maker.used_artifacts().count()) == (3, 0)
    (used,) = await user.used_artifacts().to_list()
    assert (used.name, sorted(used.aliases)) == ("data:v1", ["best", "latest"])
    maker_again = await used.logged_by()
    assert maker_again
    assert maker_again.path == maker.path
    assert [run.path for run in await used.used_by()] == [user.path]


async def test_an_artifact_may_have_no_creator_and_no_users(api: AsyncApi, made: Made) -> None:
    log_artifact(made.store, made.maker, "alone", {"x": b"x"})
    with made.store._database.write() as connection:
        connection.execute("UPDATE artifact SET run_id = NULL, user_id = 1")
    artifact = await api.artifact("local/demo/alone")
    assert await artifact.logged_by() is None
    assert await artifact.used_by() == []


async def test_the_versions_of_an_artifact_are_listed(api: AsyncApi) -> None:
    versions = api.artifacts("dataset", "demo/data", per_page=1)
    assert {artifact.version async for artifact in versions} == {"v0", "v1"}
    assert await versions.count() == 2
    checked = api.artifacts("dataset", "local/demo/data", tags=["checked"])
    assert [artifact.name async for artifact in checked] == ["data:v1"]
    assert await checked.count() == 1


async def test_its_files_are_files(api: AsyncApi, out: Path) -> None:
    artifact = await api.artifact("local/demo/data")
    assert [file.name async for file in artifact.files(per_page=1)] == sorted(NEW)
    assert await artifact.files().count() == len(NEW)
    (file,) = await artifact.files(names=["sub/b.bin"]).to_list()
    assert file.size == 5000
    assert (await file.download(out)).read_bytes() == NEW["sub/b.bin"]
    with pytest.raises(UsageError, match="cannot be changed"):
        await file.delete()
    with pytest.raises(UsageError, match="names must be specified in a list"):
        artifact.files(names="a.txt")


async def test_it_is_downloaded_completely(api: AsyncApi, out: Path) -> None:
    artifact = await api.artifact("local/demo/data")
    result = await artifact.download(out)
    assert there(out) == NEW
    assert set(result.files) == {out / name for name in NEW}
    assert (result.fetched, result.references) == (len(NEW), {})
    assert os.listdir(result) == os.listdir(out)
    assert f"{result}" == str(out)


async def test_intact_files_are_not_fetched_again(api: AsyncApi, out: Path) -> None:
    old, new = await api.artifact("local/demo/data:v0"), await api.artifact("local/demo/data:v1")
    await old.download(out)
    assert (await new.download(out)).fetched == len(NEW) - 1
    assert there(out) == NEW
    (out / "sub" / "b.bin").write_bytes(b"x" * 5000)
    assert (await new.download(out)).fetched == 1
    assert there(out) == NEW


async def test_a_part_of_it_is_chosen_by_a_prefix(api: AsyncApi, out: Path) -> None:
    artifact = await api.artifact("local/demo/data")
    await artifact.download(out, path_prefix="sub/")
    assert there(out).keys() == {"sub/b.bin", "sub/c.bin"}


async def test_without_a_folder_it_gets_one_of_its_own(
    api: AsyncApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    artifact = await api.artifact("local/demo/data:best")
    assert str(await artifact.download()) == os.path.join("artifacts", "data:v1")
    monkeypatch.setenv("WANDB_ARTIFACT_DIR", str(tmp_path / "elsewhere"))
    assert there((await artifact.download()).folder) == NEW
    assert (tmp_path / "elsewhere" / "data:v1" / "a.txt").exists()


async def test_a_large_one_costs_few_requests(api: AsyncApi, made: Made, out: Path) -> None:
    files = {f"{n:04}.txt": b"%d" % n for n in range(25)}
    log_artifact(made.store, made.maker, "large", files)
    artifact = await api.artifact("local/demo/large")
    before = api.traffic.requests
    await download_artifact(api._session, artifact.record, out, links_at_once=10)
    assert there(out) == files
    assert api.traffic.requests - before == 1 + 3  # the manifest, and links by tens


async def test_references_to_other_artifacts_are_followed(
    api: AsyncApi, made: Made, out: Path
) -> None:
    middle = made.log("middle", {"b.bin": f"wandb-artifact://{made.data}/sub/b.bin"})
    made.log(
        "top",
        {
            "far/b.bin": f"wandb-artifact://{middle}/b.bin",
            "same.bin": f"wandb-artifact://{made.data}/sub/b.bin",
            "cloud.bin": "s3://bucket/cloud.bin",
            "web.html": "https://example.com/",
        },
    )
    result = await (await api.artifact("local/demo/top")).download(out)
    assert there(out) == {
        "own.txt": b"top",
        "far/b.bin": NEW["sub/b.bin"],
        "same.bin": NEW["sub/b.bin"],
    }
    assert result.references == {
        "cloud.bin": "s3://bucket/cloud.bin",
        "web.html": "https://example.com/",
    }
    assert result.fetched == 3


async def test_a_reference_is_never_fetched_by_its_url(
    api: AsyncApi, made: Made, out: Path
) -> None:
    made.log("top", {"web.html": "https://example.com/"})
    artifact = await api.artifact("local/demo/top")
    (file,) = await artifact.files(names=["web.html"]).to_list()
    with pytest.raises(DownloadError, match=r"reference to https://example.com/, which is outside"):
        await file.download(out)


@pytest.mark.parametrize("target", ["{data}/nothing", "00ff/x", "41727469666163743a393939/x"])
async def test_a_reference_to_a_deleted_file_is_an_error_unless_allowed(
    api: AsyncApi, made: Made, out: Path, target: str
) -> None:
    reference = f"wandb-artifact://{target.format(data=made.data)}"
    made.log("top", {"gone.bin": reference})
    artifact = await api.artifact("local/demo/top")
    with pytest.raises(NotFoundError):
        await artifact.download(out)
    result = await artifact.download(out, allow_missing_references=True)
    assert there(out) == {"own.txt": b"top"}
    assert result.references == {"gone.bin": reference}
    (left_out,) = result.left_out
    assert (left_out.name, left_out.reference) == ("gone.bin", reference)
    assert re.search("does not have|Could not find|not found", left_out.reason)


async def test_skipped_references_are_in_the_result_and_in_a_warning(
    api: AsyncApi, made: Made, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made.log("top", {"a.bin": "file:///data/a.bin", "b.bin": "s3://bucket/b.bin?signed=secret"})
    result = await (await api.artifact("local/demo/top")).download(out)
    assert [(one.name, one.reference) for one in result.left_out] == [
        ("a.bin", "file:///data/a.bin"),
        ("b.bin", "s3://bucket/b.bin?signed=secret"),
    ]
    assert "computer that logged it" in result.left_out[0].reason
    assert "s3:// address" in result.left_out[1].reason
    (warning,) = [one for one in caplog.records if one.name == "aiowandb.files"]
    assert warning.levelname == "WARNING"
    assert "local/demo/top:v0: 2 of its entries were not downloaded, the first is a.bin" in (
        warning.getMessage()
    )
    caplog.clear()
    assert (await (await api.artifact("local/demo/data")).download(out)).left_out == ()
    assert not caplog.records


async def test_references_in_circles_are_refused(api: AsyncApi, made: Made, out: Path) -> None:
    me = b"Artifact:3".hex()
    assert made.log("top", {"me": f"wandb-artifact://{me}/me"}) == me
    with pytest.raises(DownloadError, match="me has circular references"):
        await (await api.artifact("local/demo/top")).download(out)


async def test_digests_by_xxh128_are_checked_like_md5s(made: Made, out: Path) -> None:
    log_artifact(made.store, made.maker, "fast", NEW, xxh128=True)

    def spoil(path: str, body: bytes) -> bytes:
        return body.swapcase() if path.startswith("/wandb_artifacts/") and spoiled else body

    async with connected(made.store, spoil) as api:
        artifact = await api.artifact("local/demo/fast")
        spoiled = False
        assert (await artifact.download(out)).fetched == len(NEW)
        assert (await artifact.download(out)).fetched == 0
        spoiled = True
        (out / "a.txt").write_bytes(b"NEW")
        with pytest.raises(ContentError, match="its xxh128 is .*, but W&B announced"):
            await artifact.download(out)


async def test_content_that_is_not_in_the_manifest_is_refused(made: Made, out: Path) -> None:
    def spoil(path: str, body: bytes) -> bytes:
        return body.swapcase() if path.startswith("/wandb_artifacts/") else body

    async with connected(made.store, spoil) as api:
        with pytest.raises(ContentError, match="its md5 is .*, but W&B announced"):
            await (await api.artifact("local/demo/data")).download(out)
    assert not there(out).keys() & {"a.txt", "sub/b.bin", "sub/c.bin"}
    assert not any("unfinished" in name for name in there(out))


async def test_an_expired_link_is_requested_again(made: Made, out: Path) -> None:
    refused: list[str] = []

    def refuse(path: str) -> bool:
        first = path.startswith("/wandb_artifacts/") and path not in refused
        if first:
            refused.append(path)
        return first

    async with connected(made.store, refuse=refuse) as api:
        await (await api.artifact("local/demo/data")).download(out)
    assert len(refused) == len(NEW)
    assert there(out) == NEW


async def test_a_link_that_stays_refused_is_an_error(made: Made, out: Path) -> None:
    async with connected(made.store, refuse=lambda p: p.startswith("/wandb_artifacts/")) as api:
        with pytest.raises(LinkError):
            await (await api.artifact("local/demo/data")).download(out)


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "sub/../../outside.txt"])
async def test_a_manifest_never_leads_out_of_the_folder(made: Made, out: Path, name: str) -> None:
    def rename(path: str, body: bytes) -> bytes:
        return body.replace(b'"a.txt"', f'"{name}"'.encode())

    async with connected(made.store, rename) as api:
        with pytest.raises(DownloadError, match="is refused"):
            await (await api.artifact("local/demo/data")).download(out)
    assert not list(out.parent.glob("outside*"))
    assert there(out) == {}


async def test_a_cancelled_download_leaves_only_complete_files(made: Made, out: Path) -> None:
    with anyio.CancelScope() as scope:

        def leave(path: str, body: bytes) -> bytes:
            if path.startswith("/wandb_artifacts/") and len(body) == 5000:
                scope.cancel()
            return body

        async with connected(made.store, leave) as api:
            await (await api.artifact("local/demo/data")).download(out)
    assert scope.cancelled_caught
    assert there(out).items() <= (NEW.items() - {("sub/b.bin", NEW["sub/b.bin"])})


async def test_a_manifest_lists_everything(api: AsyncApi, made: Made) -> None:
    made.log("top", {"cloud.bin": "s3://bucket/cloud.bin"})
    manifest = await (await api.artifact("local/demo/top")).manifest()
    assert manifest.entries.keys() == {"own.txt", "cloud.bin"}
    assert manifest.entries["cloud.bin"].ref == "s3://bucket/cloud.bin"
    assert manifest.entries["own.txt"].size == 3


def test_the_facade_reads_the_same(made: Made, tmp_path: Path) -> None:
    made.use_data()
    with Api.local(tmp_path / "wandb") as api:
        artifact = api.artifact("local/demo/data:best")
        assert artifact.name == "data:best"
        assert artifact.manifest.entries.keys() == NEW.keys()
        assert os.listdir(artifact.download(tmp_path / "out"))
        assert [file.name for file in artifact.files()] == sorted(NEW)
        maker = artifact.logged_by()
        assert maker
        assert maker.id == "maker"
        assert [run.id for run in artifact.used_by()] == ["user"]
        assert [a.name for a in maker.logged_artifacts()] == ["data:v0", "data:v1"]
        assert len(api.run("local/demo/user").used_artifacts()) == 1
        assert len(api.artifacts("dataset", "local/demo/data")) == 2
