"""The artifacts of a copy: their order and their makers, also if something fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiowandb import AsyncApi, CopiedRun, CopyEvent, ExportError, RunFacts, Source, SourceRun
from aiowandb.ingest.source import SourceArtifact
from aiowandb.net import RetryPolicy
from aiowandb_server import Store, create_app
from aiowandb_server.store.artifact_records import ArtifactRow
from aiowandb_server.store.records import RunRow
from tests.ingest.conftest import SOURCE, make_run
from tests.support.artifacts import log_artifact

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
TARGET = "local/copied"


def the_run(store: Store, name: str) -> RunRow:
    project = store.projects.get("local", "varied")
    run = project and store.runs.get(project, name)
    assert run
    return run


def log(store: Store, run_name: str, *contents: bytes) -> None:
    """Log versions of the artifact `set`."""
    for content in contents:
        log_artifact(store, the_run(store, run_name), "set", {"f": content})


class Refusing(httpx.AsyncBaseTransport):
    """Answers 503 to uploads of this content, as a server in trouble does."""

    def __init__(self, store: Store, content: bytes) -> None:
        self._server = httpx.ASGITransport(create_app(store))
        self.content: bytes | None = content

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT" and await request.aread() == self.content:
            return httpx.Response(503, request=request)
        return await self._server.handle_async_request(request)


async def test_later_versions_wait_for_one_that_failed_for_a_moment(tmp_path: Path) -> None:
    versions = [b"zero", b"one", b"two"]
    with Store.open(tmp_path / "source") as here, Store.open(tmp_path / "target") as there:
        make_run(here, "maker", rows=[])
        log(here, "maker", *versions)
        for number in (0, 1, 2):
            link(here, the_versions(here, "maker")[number], "varied", "chosen")
        refusing = Refusing(there, b"one")
        retry = RetryPolicy(max_failures=2, random=lambda: 0.0)
        async with (
            AsyncApi.local(tmp_path / "source") as source,
            AsyncApi(
                there.local_key, base_url="http://w.test", transport=refusing, retry=retry
            ) as target,
        ):
            first = await source.runs(SOURCE).copy_to(TARGET, api=target)
            errors = {each.run: each.error or "" for each in first.failed}
            assert set(errors) == {"maker", "set:v1", "set:v2"}
            assert "set:v1 could not be copied yet" in errors["set:v2"]
            # What is linked is numbered, too.
            assert first.carried["artifact links"] == 1
            refusing.content = None
            second = await source.runs(SOURCE).copy_to(TARGET, api=target, verify=True)
            assert (second.failed, second.differences) == ([], [])
            for number, content in enumerate(versions):
                artifact = await target.artifact(f"{TARGET}/set:v{number}")
                down = await artifact.download(tmp_path / f"v{number}")
                assert (down.folder / "f").read_bytes() == content
                assert (await target.artifact(f"{TARGET}/chosen:v{number}")).id == artifact.id


@pytest.mark.parametrize("order", ["+created_at", "-created_at"])
async def test_a_version_that_two_runs_have_logged_is_of_the_first(
    target: AsyncApi, tmp_path: Path, order: str
) -> None:
    with Store.open(tmp_path / "source") as store:
        for number, name in enumerate(("first", "second")):
            make_run(store, name, rows=[], created_at=1_700_000_000 + number)
            log(store, name, b"same")
        async with AsyncApi.local(tmp_path / "source") as source:
            report = await source.runs(SOURCE, order=order).copy_to(TARGET, api=target)
    assert report.failed == []
    maker = await (await target.artifact(f"{TARGET}/set:v0")).logged_by()
    assert maker
    assert maker.id == "first"


def the_versions(store: Store, run_name: str) -> list[ArtifactRow]:
    run = the_run(store, run_name)
    return list(store.artifacts.of_run(run.id, "output", first=99).items)


def link(store: Store, version: ArtifactRow, project: str, name: str, *aliases: str) -> None:
    place, _ = store.projects.ensure("local", project)
    portfolio = store.collections.ensure(place, name, "dataset", "PORTFOLIO")
    store.artifacts.link(version, portfolio, aliases)


@pytest.mark.slow
async def test_what_is_said_about_a_version_is_brought_up_to_date(
    target: AsyncApi, tmp_path: Path
) -> None:
    now = [1_750_000_000.0]
    with Store.open(tmp_path / "source", clock=lambda: now[0]) as store:
        make_run(store, "maker", rows=[])
        log(store, "maker", b"zero")
        (version,) = the_versions(store, "maker")
        store.artifacts.change(version, description="old", metadata='{"k": 0}', add_tags=["t", "u"])
        own = store.collections.by_id(version.collection_id)
        assert own
        changes: list[Callable[[], object]] = [
            lambda: store.artifacts.change(version, description="new", remove_tags=["u"]),
            lambda: store.artifacts.change(version, metadata='{"n": NaN}'),
            lambda: store.artifacts.change(version, add_tags=["v"]),
            lambda: store.collections.add_alias(own, version.id, "best"),
            lambda: link(store, version, "varied", "chosen", "good"),
            lambda: link(store, version, "varied", "chosen", "better"),
        ]
        async with AsyncApi.local(tmp_path / "source") as source:
            await source.runs(SOURCE).copy_to(TARGET, api=target)
            for change in changes:
                # Nothing else of the run has changed, and what it has is known from one list.
                now[0] += 1
                change()
                report = await source.runs(SOURCE).copy_to(TARGET, api=target, verify=True)
                assert [each.status for each in report.artifacts] == ["updated"]
                assert (report.failed, report.differences) == ([], [])
            store.history.append(the_run(store, "maker"), ['{"_step": 1}'])
            report = await source.runs(SOURCE).copy_to(TARGET, api=target)
            assert [each.status for each in report.artifacts] == ["unchanged"]
            report = await source.runs(SOURCE).copy_to(TARGET, api=target)
            assert report.artifacts == []


@pytest.mark.slow
async def test_a_changed_version_costs_no_requests_for_the_others(
    target: AsyncApi, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "source") as store:
        make_run(store, "maker", rows=[])
        log(store, "maker", *(b"%d" % number for number in range(20)))
        async with AsyncApi.local(tmp_path / "source") as source:
            await source.runs(SOURCE).copy_to(TARGET, api=target)
            link(store, the_versions(store, "maker")[7], "varied", "chosen")
            report = await source.runs(SOURCE).copy_to(TARGET, api=target)
    assert [each.run for each in report.artifacts if each.status != "unchanged"] == ["set:v7"]
    assert report.requests < 25


async def test_links_within_the_project_are_copied_and_others_are_named(
    target: AsyncApi, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "source") as store:
        make_run(store, "maker", rows=[])
        log(store, "maker", b"zero", b"one", b"two")
        zero, one, two = the_versions(store, "maker")
        for version, aliases in ((two, ["stable"]), (zero, []), (one, ["next"])):
            link(store, version, "varied", "chosen", *aliases)
        link(store, one, "wandb-registry-data", "Numbers", "production")
        async with AsyncApi.local(tmp_path / "source") as source:
            report = await source.runs(SOURCE).copy_to(TARGET, api=target, verify=True)
        assert (report.failed, report.differences) == ([], [])
        assert report.carried["artifact links"] == 3
        elsewhere = "its link to local/wandb-registry-data/Numbers:v0, which is not in the copied"
        dropped = {each.run: each.dropped for each in report.artifacts if each.dropped}
        assert dropped == {"set:v1": [f"{elsewhere} project"]}
    linked = [await target.artifact(f"{TARGET}/chosen:v{number}") for number in range(3)]
    assert [each.source.version for each in linked] == ["v2", "v0", "v1"]
    assert [sorted(each.aliases) for each in linked] == [["stable"], [], ["latest", "next"]]


async def test_a_link_that_is_refused_is_named(target: AsyncApi, tmp_path: Path) -> None:
    with Store.open(tmp_path / "source") as store:
        make_run(store, "maker", rows=[])
        log(store, "maker", b"zero")
        (version,) = the_versions(store, "maker")
        link(store, version, "varied", "taken")
        run = await target.create_run("own", "copied")
        (tmp_path / "f").write_bytes(b"of somebody else")
        await run.log_artifact("taken", "dataset", tmp_path / "f")
        async with AsyncApi.local(tmp_path / "source") as source:
            report = await source.runs(SOURCE).copy_to(TARGET, api=target)
    assert report.failed == []
    (dropped,) = report.artifacts[0].dropped
    assert dropped.startswith("its link to taken:v0: ")
    assert "is a sequence" in dropped


class Gone(SourceRun):
    """A run whose artifacts cannot be listed any more."""

    def __init__(self, name: str) -> None:
        super().__init__(RunFacts.of(name, summary={"x": 1}, state="finished"))
        self.has_artifacts = True

    async def artifacts(self) -> AsyncGenerator[SourceArtifact]:
        if self.facts.id == "bad":
            raise ExportError("the list is gone")
        async for artifact in super().artifacts():
            yield artifact


class Gones(Source):
    name = "gones"

    async def runs(self) -> AsyncGenerator[SourceRun]:
        for name in ("bad", "good"):
            yield Gone(name)


async def test_a_run_whose_artifacts_cannot_be_listed_does_not_end_the_copy(
    target: AsyncApi,
) -> None:
    events: list[CopyEvent] = []
    report = await target.import_runs(Gones(), TARGET, on_event=events.append)
    assert {run.run: run.error for run in report.failed} == {"bad": "artifacts: the list is gone"}
    assert (await target.run(f"{TARGET}/good")).summary["x"] == 1
    ended: dict[str, Any] = {
        each.run: each.status for each in events if isinstance(each, CopiedRun)
    }
    assert ended == {"bad": "failed", "good": "created"}
