"""Runs copied from one W&B to another: all of them, once, and marked until they are complete."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from aiowandb import (
    Api,
    AsyncApi,
    AuthenticationError,
    ConflictError,
    CopiedRun,
    CopyEvent,
    CopyProgress,
    ServerError,
    UsageError,
)
from aiowandb.ingest.mark import KEY, read_mark
from aiowandb_server import RunChanges, Store, create_app
from aiowandb_server.graphql import viewer
from aiowandb_server.store.sweeps import SweepChanges
from tests.export.disks import filled, small_disk
from tests.ingest.conftest import FILES, ODD_ROWS, SOURCE, dump, make_run
from tests.support.tampering import connected

pytestmark = pytest.mark.anyio
TARGET = "local/copied"
once = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def test_a_copy_has_the_same_fields_of_every_run(source: AsyncApi, target: AsyncApi) -> None:
    report = await source.runs(SOURCE).copy_to(TARGET, api=target, verify=True)
    assert (report.failed, report.differences) == ([], [])
    assert report.counts == {"created": 4}
    assert report.carried["rows"] == len(ODD_ROWS) + 1510
    assert report.carried["files"] == len(FILES)
    assert await dump(target, TARGET) == await dump(source, SOURCE)


@once
async def test_a_copy_of_a_copy_remembers_the_first(source: AsyncApi, target: AsyncApi) -> None:
    await source.runs(SOURCE, {"name": "odd"}).copy_to(TARGET, api=target)
    await target.runs(TARGET).copy_to("local/again")
    first = read_mark((await target.run(f"{TARGET}/odd")).json_config)
    second = read_mark((await target.run("local/again/odd")).json_config)
    assert first
    assert second
    assert first.source != second.source
    assert (first.created_at, first.user) == (second.created_at, second.user)
    assert (await dump(target, "local/again")) == await dump(target, TARGET)


@once
async def test_unchanged_data_is_not_sent_again(source: AsyncApi, target: AsyncApi) -> None:
    await source.runs(SOURCE).copy_to(TARGET, api=target)
    # A run that goes on is looked at: it may have a new heartbeat, but nothing was added.
    report = await source.runs(SOURCE).copy_to(TARGET, api=target)
    assert report.counts == {"unchanged": 4}
    assert report.requests <= 6
    assert report.carried == {}


@once
async def test_only_what_is_new_is_sent(tmp_path: Path, target: AsyncApi) -> None:
    rows = [f'{{"_step":{n},"x":{n}}}' for n in range(100)]
    with Store.open(tmp_path / "source") as store:
        make_run(store, "r", rows=rows, notes="old", files={"a": b"1", "b": b"2"}, is_over=False)
        async with AsyncApi.local(tmp_path / "source") as api:
            await api.runs(SOURCE).copy_to(TARGET, api=target)
            project = store.projects.get("local", "varied")
            assert project
            run, _ = store.runs.upsert(project, "r", RunChanges(notes="", tags=["new"]))
            store.history.append(run, ['{"_step":200,"y":1}', '{"_step":201,"y":2}'])
            store.files.add(run, "b", b"changed")
            report = await api.runs(SOURCE).copy_to(TARGET, api=target, verify=True)
            assert report.differences == []
            assert report.counts == {"updated": 1}
            assert report.carried["rows"] == 2
            assert report.carried["files"] == 1
            api.flush()
            assert await dump(target, TARGET) == await dump(api, SOURCE)


@once
async def test_runs_that_are_in_the_way_are_refused_skipped_or_updated(
    source: AsyncApi, target: AsyncApi
) -> None:
    own = await target.create_run("odd", "copied", config={"mine": 1})
    async with own.append(state="finished") as log:
        await log({"mine": 1})
    with pytest.raises(ConflictError, match="local/copied/odd exist"):
        await source.runs(SOURCE).copy_to(TARGET, api=target)
    assert await target.runs(TARGET, fresh=True).count() == 1
    report = await source.runs(SOURCE).copy_to(TARGET, api=target, on_existing="skip")
    assert report.counts == {"created": 3, "skipped": 1}
    assert (await target.run(f"{TARGET}/odd", fresh=True)).config == {"mine": 1}
    report = await source.runs(SOURCE).copy_to(TARGET, api=target, on_existing="update")
    assert report.counts == {"unchanged": 3, "updated": 1}
    odd = await target.run(f"{TARGET}/odd", fresh=True)
    assert odd.config["lr"] == 0.1
    # Its own row stays, and those behind it are added.
    assert [row["_step"] async for row in odd.scan_history()] == [0, 3, 4, 7, 9]
    assert [row.get("mine") async for row in odd.scan_history()][0] == 1


@once
async def test_runs_get_ids_of_their_own_the_same_each_time(source: AsyncApi) -> None:
    target = "local/anew"
    first = await source.runs(SOURCE).copy_to(target, ids="new")
    again = await source.runs(SOURCE).copy_to(target, ids="new")
    assert again.counts == {"unchanged": 4}
    assert [run.target for run in first.runs] == [run.target for run in again.runs]
    assert {run.target for run in first.runs}.isdisjoint({run.run for run in first.runs})
    copied, original = await dump(source, target), await dump(source, SOURCE)
    assert sorted(map(repr, copied.values())) == sorted(map(repr, original.values()))


@once
async def test_a_project_is_not_copied_into_itself(source: AsyncApi, varied_folder: Path) -> None:
    # Whichever way leads there: the same folder may be open twice.
    async with AsyncApi.local(varied_folder) as same:
        for options in ({}, {"ids": "new"}, {"api": same}, {"on_existing": "update"}):
            with pytest.raises(UsageError, match="is the project of these runs"):
                await source.runs(SOURCE).copy_to(SOURCE, **options)
    assert await source.runs(SOURCE, fresh=True).count() == 4


@once
async def test_a_plan_sends_nothing(source: AsyncApi, target: AsyncApi) -> None:
    report = await source.runs(SOURCE).copy_to(TARGET, api=target, plan=True)
    assert report.plan
    assert (report.plan.runs, report.plan.rows) == (4, len(ODD_ROWS) + 1510)
    assert report.plan.bytes > sum(map(len, FILES.values()))
    assert report.plan.minutes > 0
    assert [project.name async for project in target.projects()] == []
    with pytest.raises(UsageError, match="plan and verify cannot be combined"):
        await source.runs(SOURCE).copy_to(TARGET, api=target, plan=True, verify=True)


class PowerCut(BaseException):
    """Nothing more happens on this machine."""


class Unreliable(httpx.AsyncBaseTransport):
    """Reaches a W&B until it has been asked so many times; then the machine is off."""

    def __init__(self, store: Store, requests: int) -> None:
        self._app = httpx.ASGITransport(create_app(store))
        self._left = requests

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._left -= 1
        if self._left < 0:
            raise PowerCut
        return await self._app.handle_async_request(request)


@pytest.mark.slow
@once
async def test_a_copy_that_is_interrupted_anywhere_resumes(
    source: AsyncApi, target: AsyncApi, target_folder: Path
) -> None:
    await source.runs(SOURCE).copy_to("local/undisturbed", api=target)
    undisturbed = await dump(target, "local/undisturbed")
    await target.create_project("copied", "local")
    with Store.open(target_folder) as store:
        cut = 0
        for requests in range(1, 200):
            made = AsyncApi(
                store.local_key,
                base_url="http://wandb.in-process",
                entity="local",
                transport=Unreliable(store, requests % 23 + 1),
            )
            try:
                async with made as api:
                    await source.runs(SOURCE).copy_to(TARGET, api=api)
                break
            except PowerCut:
                cut += 1
                async for run in target.runs(TARGET, fresh=True):
                    mark = read_mark(run.json_config)
                    # Whatever can be seen of a run that is not complete says so.
                    assert mark or not run.config
                    assert mark is None or mark.complete or not run.summary_metrics
        assert cut > 5
    assert await dump(target, TARGET) == undisturbed


@once
async def test_runs_of_a_sweep_are_of_its_copy(tmp_path: Path, target: AsyncApi) -> None:
    with Store.open(tmp_path / "source") as store:
        project, _ = store.projects.ensure("local", "varied")
        config = "method: grid\nparameters: {lr: {values: [1, 2]}}"
        changes = SweepChanges(config=config, display_name="Search", description="why")
        sweep = store.sweeps.create(project, changes).name
        for name in ("a", "b"):
            make_run(store, name, rows=[], sweep=sweep)
        async with AsyncApi.local(tmp_path / "source") as api:
            await api.runs(SOURCE, {"name": "a"}).copy_to(TARGET, api=target)
            await api.runs(SOURCE).copy_to(TARGET, api=target)
    (copied,) = [each async for each in (await target.project("local/copied")).sweeps()]
    assert (copied.config_text, copied.display_name) == (config, "Search")
    assert (copied.description or "").startswith("why\n\nCopied from local-")
    assert sorted([run.id async for run in copied.runs]) == ["a", "b"]


@once
async def test_a_run_that_fails_is_named_and_the_others_are_there(
    tmp_path: Path, target: AsyncApi
) -> None:
    with Store.open(tmp_path / "source") as store:
        for name in ("good", "bad"):
            make_run(store, name, rows=['{"_step":0,"x":1}'], files={"f": name.encode()})
        project = store.projects.get("local", "varied")
        run = project and store.runs.get(project, "bad")
        assert run
        (file,) = store.files.page(run, names=(), pattern=None, first=9, after=None).items
        for path in (tmp_path / "source").rglob("*"):
            if path.is_file() and path.read_bytes() == b"bad":
                path.write_bytes(b"bat")
        async with AsyncApi.local(tmp_path / "source") as api:
            report = await api.runs(SOURCE).copy_to(TARGET, api=target)
    assert [(run.run, run.status) for run in report.runs if run.status != "created"] == [
        ("bad", "failed")
    ]
    assert "f does not match its size and checksum" in (report.failed[0].error or "")
    assert file.name == "f"
    half = await target.run(f"{TARGET}/bad")
    mark = read_mark(half.json_config)
    assert mark
    assert not mark.complete


@once
async def test_a_run_whose_config_is_no_json_fails_alone(tmp_path: Path, target: AsyncApi) -> None:
    with Store.open(tmp_path / "source") as store:
        for name in ("good", "bad"):
            make_run(store, name, rows=['{"_step":0,"x":1}'])
        with store.runs._database.write() as connection:
            connection.execute("UPDATE run SET config = '{\"a\": ' WHERE name = 'bad'")
        async with AsyncApi.local(tmp_path / "source") as api:
            report = await api.runs(SOURCE).copy_to(TARGET, api=target)
    assert {run.run: run.status for run in report.runs} == {"good": "created", "bad": "failed"}


@pytest.mark.slow
@once
async def test_a_target_whose_disk_is_full_ends_a_copy_which_goes_on_when_there_is_room(
    source: AsyncApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", "20m") as disk:
        async with AsyncApi.local(disk / "target") as target:
            await target.create_project("copied", entity="local")
            for room in (0, 40_000, 200_000):  # for the record of no run, of a run, and for rows
                with (
                    filled(disk, room=room),
                    pytest.raises(ServerError, match="507: the disk of the embedded W&B is full"),
                ):
                    await source.runs(SOURCE).copy_to(TARGET, api=target)
            assert not any(record.exc_info for record in caplog.records)
            report = await source.runs(SOURCE).copy_to(TARGET, api=target, verify=True)
            assert (report.failed, report.differences) == ([], [])


@once
async def test_a_body_that_is_too_large_is_sent_in_pieces(
    source: AsyncApi, target_folder: Path
) -> None:
    with Store.open(target_folder) as store:
        transport = httpx.ASGITransport(create_app(store, max_body=40_000))
        url = "http://wandb.in-process"
        async with AsyncApi(store.local_key, base_url=url, transport=transport) as api:
            report = await source.runs(SOURCE, {"name": "plain"}).copy_to(TARGET, api=api)
            assert report.failed == []
            rows = [row async for row in (await api.run(f"{TARGET}/plain")).scan_history()]
    assert [row["n"] for row in rows] == list(range(1500))


@once
async def test_a_source_that_lost_rows_is_an_error(tmp_path: Path, target: AsyncApi) -> None:
    rows = [f'{{"_step":{n},"x":{n}}}' for n in range(50)]
    with Store.open(tmp_path / "source") as store:
        make_run(store, "r", rows=rows)
        async with AsyncApi.local(tmp_path / "source") as api:
            await api.runs(SOURCE).copy_to(TARGET, api=target)
            project = store.projects.get("local", "varied")
            run = project and store.runs.get(project, "r")
            assert run
            store.history.rewind(run, 20)
            store.history.append(run, ['{"_step":60,"x":60}'])
            report = await api.runs(SOURCE).copy_to(TARGET, api=target)
    assert "rewound" in (report.failed[0].error or "")


@once
async def test_a_source_that_repeats_a_page_of_its_console_is_an_error(
    tmp_path: Path, target: AsyncApi
) -> None:
    pages: list[bytes] = []

    def repeating(_: str, body: bytes) -> bytes:
        if b'"logLines"' not in body:
            return body
        pages.append(body.replace(b'"hasNextPage":false', b'"hasNextPage":true'))
        return pages[0]

    with Store.open(tmp_path / "source") as store:
        make_run(store, "r", rows=[])
        async with connected(store, repeating) as api:
            report = await api.runs(SOURCE).copy_to(TARGET, api=target)
    assert len(pages) == 2
    assert "console lines of run local/varied/r twice" in (report.failed[0].error or "")


@once
async def test_progress_is_reported(source: AsyncApi, target: AsyncApi) -> None:
    events: list[CopyEvent] = []
    await source.runs(SOURCE).copy_to(TARGET, api=target, on_event=events.append)
    runs = [event for event in events if isinstance(event, CopiedRun)]
    assert {run.run for run in runs} == {"odd", "plain", "live", "bare"}
    last = [event for event in events if isinstance(event, CopyProgress)][-1]
    assert (last.runs, last.total, last.rows) == (4, 4, len(ODD_ROWS) + 1510)


@once
async def test_fields_that_wandb_cannot_set_are_in_the_config(
    source: AsyncApi, target: AsyncApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "FEATURES", ("MARK_RUN_FILES_UPLOADED",))
    report = await source.runs(SOURCE, {"name": "bare"}).copy_to(TARGET, api=target)
    (run,) = report.runs
    assert any("creation time" in note for note in run.changed)
    assert any("crashed" in note for note in run.changed)
    copied = await target.run(f"{TARGET}/bare")
    original = await source.run(f"{SOURCE}/bare")
    assert copied.state == "failed"
    mark = copied.config[KEY]
    assert (mark["state"], mark["user"]) == ("crashed", original.username)
    assert original.created_at
    assert mark["created_at"] == original.created_at.isoformat()
    # Where it can be said, a copy of the copy says it again.
    monkeypatch.undo()
    async with AsyncApi.local(tmp_path / "back") as back:
        await target.runs(TARGET).copy_to(TARGET, api=back)
        returned = await back.run(f"{TARGET}/bare")
    for fact in ("state", "created_at", "username"):
        assert getattr(returned, fact) == getattr(original, fact), fact


@once
async def test_a_target_that_cannot_be_written_is_an_error(
    source: AsyncApi, target_folder: Path
) -> None:
    with Store.open(target_folder) as store:
        user = store.accounts.ensure_user("guest")
        key = store.accounts.add_key(user.id)
        transport = httpx.ASGITransport(create_app(store))
        url = "http://wandb.in-process"
        async with AsyncApi(key, base_url=url, transport=transport) as api:
            with pytest.raises(AuthenticationError, match="permission denied"):
                await source.runs(SOURCE).copy_to(TARGET, api=api)


def test_without_await_between_two_clients(varied_folder: Path, target_folder: Path) -> None:
    with Api.local(varied_folder) as source, Api.local(target_folder) as target:
        report = source.runs(SOURCE).copy_to(TARGET, api=target)
        assert report.counts == {"created": 4}
        assert sorted(run.id for run in target.runs(TARGET)) == ["bare", "live", "odd", "plain"]


async def repeated(folder: Path, target: AsyncApi, runs: int) -> int:
    """How many requests a copy of so many runs costs that have not changed."""
    with Store.open(folder) as store:
        for number in range(runs):
            make_run(store, f"r{number:04}", rows=['{"_step":0,"x":1}'], files={"f": b"1"})
        async with AsyncApi.local(folder) as api:
            await api.runs(SOURCE).copy_to(TARGET, api=target)
            report = await api.runs(SOURCE).copy_to(TARGET, api=target)
    assert report.counts == {"unchanged": runs}
    return report.requests


@once
@pytest.mark.slow
async def test_what_an_unchanged_run_costs_is_part_of_a_request(
    tmp_path: Path, target: AsyncApi
) -> None:
    assert await repeated(tmp_path / "source", target, 60) <= 7


@once
@pytest.mark.slow
async def test_a_thousand_unchanged_runs_cost_25_requests_at_most(
    tmp_path: Path, target: AsyncApi
) -> None:
    assert await repeated(tmp_path / "source", target, 1000) <= 25


@once
@pytest.mark.parametrize("announced", [True, False])
async def test_rows_are_compressed_where_the_server_takes_it(
    source: AsyncApi,
    target_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    announced: bool,
) -> None:
    if not announced:
        monkeypatch.setattr(viewer, "FEATURES", ("MARK_RUN_FILES_UPLOADED",))
    with Store.open(target_folder) as store:
        app = httpx.ASGITransport(create_app(store))
        encodings, sizes = list[str | None](), list[int]()

        class Watched(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.url.path.endswith("file_stream"):
                    encodings.append(request.headers.get("content-encoding"))
                    sizes.append(int(request.headers["content-length"]))
                return await app.handle_async_request(request)

        url = "http://wandb.example"
        async with AsyncApi(store.local_key, base_url=url, transport=Watched()) as api:
            report = await source.runs(SOURCE, {"name": "plain"}).copy_to(TARGET, api=api)
            assert report.failed == []
            rows = [row async for row in (await api.run(f"{TARGET}/plain")).scan_history()]
    assert [row["n"] for row in rows] == list(range(1500))
    assert ("gzip" in encodings) == announced
    assert (max(sizes) < report.carried["bytes"] / 2) == announced
