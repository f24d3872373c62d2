"""A plan says what an export would do, costs next to nothing, and changes nothing."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiowandb import AiowandbWarning, AsyncApi, ExportError, NotFoundError
from aiowandb.api.runs import Runs
from aiowandb.choices import EVERYTHING, Format, HistoryMode, Layout, Split
from aiowandb.export import ExportPlan, TablePlan, What
from aiowandb.export.folders.local import LocalFolder
from aiowandb_server import Store, create_app
from tests.export.bucket import Bucket
from tests.export.conftest import Project, contents, steps
from tests.export.test_tables import log_table
from tests.export.test_tables import table as table_of
from tests.support.artifacts import log_artifact
from tests.support.in_process import client_of

pytestmark = pytest.mark.anyio


def table(plan: ExportPlan, name: What) -> TablePlan:
    (found,) = (each for each in plan.tables if each.table == name)
    return found


def reasons(plan: ExportPlan) -> str:
    return "\n".join(map(str, plan.left_out))


@pytest.fixture
def filled(project: Project) -> Project:
    """Two runs with something of everything; the second is still running."""
    for name, rows in (("a", 300), ("b", 100)):
        project.log(name, steps(0, rows, accuracy=0.5), finish=False)
        run = project.run(name)
        project.store.files.add(run, "output.log", name.encode() * 1000)
        log_artifact(project.store, run, "model", {"weights.bin": name.encode() * 5000})
    project.log_system("a", [{"_timestamp": float(n), "cpu": n} for n in range(40)])
    project.store.finish(project.run("a"))
    return project


async def test_a_plan_has_the_numbers_that_the_export_then_has(
    filled: Project, runs: Runs, out: Path
) -> None:
    plan = await runs.plan_export(out, what=EVERYTHING)
    done = await runs.export(out, what=EVERYTHING)
    assert (plan.runs, plan.new, plan.changed, plan.unchanged) == (2, 2, 0, 0)
    assert (table(plan, "history").rows, table(plan, "system").rows) == (400, 40)
    files, artifacts = table(plan, "files"), table(plan, "artifacts")
    assert (files.files, files.bytes) == (2, 2000)
    assert (artifacts.files, artifacts.bytes) == (2, 10_000)
    assert plan.rows == done.rows
    assert sum(each.downloads for each in plan.tables) == done.downloads
    assert plan.requests == done.requests


@pytest.mark.parametrize("what", EVERYTHING)
async def test_the_requests_for_each_table_are_counted(
    filled: Project, runs: Runs, out: Path, what: What
) -> None:
    plan = await runs.plan_export(out, what=[what])
    done = await runs.export(out, what=[what])
    assert (plan.requests, plan.rows) == (done.requests, done.rows)
    assert sum(each.downloads for each in plan.tables) == done.downloads


async def test_nothing_is_written(filled: Project, runs: Runs, out: Path) -> None:
    plan = await runs.plan_export(out / "of" / "mine", what=EVERYTHING)
    assert not out.exists()
    assert plan.free_bytes == pytest.approx(shutil.disk_usage(out.parent).free, rel=0.5)
    await runs.export(out)
    (out / ".aiowandb-export" / "journal.jsonl").chmod(0o444)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    await runs.plan_export(out)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


async def test_a_folder_that_another_export_uses_can_be_planned(
    filled: Project, runs: Runs, out: Path
) -> None:
    plans: list[ExportPlan] = []
    folder = LocalFolder(out)
    with folder.lock():
        plans.append(await runs.plan_export(out))
    assert plans[0].new == 2


@pytest.mark.parametrize("number", [1, 450])
async def test_a_plan_takes_one_request_for_two_hundred_runs(
    project: Project, runs: Runs, out: Path, number: int
) -> None:
    for index in range(number):
        project.log(f"run-{index}", [], finish=False)
    plan = await runs.plan_export(out, what=EVERYTHING)
    assert plan.runs == number
    assert plan.planning_requests == -(-number // 200)


async def test_only_what_is_new_is_planned_where_there_is_an_export(
    filled: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, what=EVERYTHING)
    again = await runs.plan_export(out, what=EVERYTHING)
    assert (again.new, again.changed, again.unchanged) == (0, 0, 2)
    assert {each.bytes for each in again.tables} == {None, 0}
    # The runs, the sweeps, the reports, and what was changed of files and of artifacts.
    assert again.requests == 5
    filled.log("b", steps(100, 130, accuracy=0.5))
    filled.store.files.add(filled.run("b"), "more.txt", b"12345")
    filled.log("c", steps(0, 7))
    plan = await runs.plan_export(out, what=EVERYTHING)
    assert (plan.new, plan.changed, plan.unchanged) == (1, 1, 1)
    # The last row is read again, to see that it is the same.
    assert table(plan, "history").rows == 7 + 31
    assert (table(plan, "files").files, table(plan, "files").bytes) == (1, 5)
    assert table(plan, "artifacts").bytes == 0


async def test_runs_that_are_gone_are_counted(filled: Project, runs: Runs, out: Path) -> None:
    await runs.export(out)
    filled.delete("a")
    plan = await runs.plan_export(out)
    assert (plan.runs, plan.missing, plan.requests) == (1, 1, 2)
    await runs.export(out)
    assert (await runs.plan_export(out)).requests == 1


async def test_what_is_left_out_is_said_with_its_reason(
    filled: Project, runs: Runs, out: Path
) -> None:
    plan = await runs.plan_export(out, keys=["loss"], max_step=150)
    assert table(plan, "history").rows == 250
    said = reasons(plan)
    assert "about 150 rows of histories: max_step is 150" in said
    assert "1 of 3 keys (accuracy): keys is ['loss']" in said
    assert "40 rows of system metrics: system is not in what" in said
    assert "2 files: files is not in what" in said
    assert "2 logged artifacts: artifacts is not in what" in said
    assert "a running run logs" in said
    sampled = await runs.plan_export(out, samples=120)
    assert table(sampled, "history").rows == 220
    assert "about 180 rows of 1 runs: samples is 120" in reasons(sampled)
    assert not out.exists()


async def test_unknown_keys_are_said_before_they_are_missed(
    filled: Project, runs: Runs, out: Path
) -> None:
    with pytest.warns(AiowandbWarning, match="did you mean 'loss'"):
        plan = await runs.plan_export(out, keys=["losss"])
    assert plan.unknown_keys == ("losss",)
    assert plan.rows == 0


async def test_a_folder_that_the_export_would_refuse_is_refused(
    filled: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, keys=["loss"])
    with pytest.raises(ExportError, match="has another export"):
        await runs.plan_export(out)
    assert (await runs.plan_export(out, overwrite=True)).new == 2
    assert len(contents(out)) == 2


async def test_a_project_that_is_missing_is_named(api: AsyncApi, out: Path) -> None:
    with pytest.raises(NotFoundError, match="local/none"):
        await api.runs("local/none").plan_export(out)


async def test_a_stream_has_no_disk(filled: Project, runs: Runs) -> None:
    plan = await runs.plan_export("-", what=["history"], format="csv")
    assert (plan.target, plan.free_bytes, plan.fits, plan.rows) == ("-", None, None, 400)


async def test_an_export_in_an_object_store_is_read_without_a_lock(
    filled: Project, runs: Runs, bucket: Bucket
) -> None:
    await runs.export(bucket.url, what=EVERYTHING)
    before = bucket.contents(), bucket.state()
    plan = await runs.plan_export(bucket.url, what=EVERYTHING)
    assert (plan.unchanged, plan.free_bytes) == (2, None)
    assert (bucket.contents(), bucket.state()) == before


async def test_the_minutes_follow_from_the_rate_that_is_allowed_or_granted(
    store: Store, filled: Project, out: Path
) -> None:
    def client(limit: float | None = None, max_rate: float | None = None) -> AsyncApi:
        return AsyncApi(
            store.local_key,
            base_url="http://wandb.in-process",
            transport=httpx.ASGITransport(create_app(store, rate_limit=limit)),
            max_rate=max_rate,
        )

    async with client() as api:
        assert (await api.runs(filled.path).plan_export(out)).rate is None
    async with client(max_rate=0.5) as api:
        plan = await api.runs(filled.path).plan_export(out, what=EVERYTHING)
        assert plan.rate == 0.5
        assert plan.minutes == pytest.approx(plan.requests / 0.5 / 60)
    async with client(limit=60) as api:
        # As much as is left of the quota, until it is renewed.
        assert (await api.runs(filled.path).plan_export(out)).rate is not None


async def test_media_and_histograms_are_counted_by_the_types_of_their_values(
    project: Project, runs: Runs, out: Path
) -> None:
    histogram = {"_type": "histogram", "values": [1, 2], "bins": [0, 1, 2]}
    image = {"_type": "image-file", "path": "media/a.png", "size": 3}
    project.log("a", [{"_step": n, "h": histogram, "i": image} for n in range(4)])
    project.log("b", steps(0, 3))
    what: list[What] = ["media", "histograms"]
    plan = await runs.plan_export(out, what=what)
    done = await runs.export(out, what=what)
    rows = {each.table: (each.runs, each.rows) for each in plan.tables}
    assert rows["histograms"] == (1, 4)
    assert plan.rows == done.rows
    again = await runs.plan_export(out, what=what)
    assert (again.rows, again.unchanged) == (0, 2)


def log_wide_rows(project: Project, run: str) -> None:
    values = {f"k{number}": number / 7 for number in range(150)}
    project.log(run, [{"_step": step, **values} for step in range(30)])


def log_media(project: Project, run: str) -> None:
    image = {"_type": "image-file", "path": "media/a.png", "size": 3}
    images = {"_type": "images/separated", "filenames": ["media/b.png"], "count": 1}
    project.log(run, [{"_step": n, "i": image, "l": images} for n in range(5)])


def log_files(project: Project, run: str) -> None:
    project.log(run, steps(0, 2))
    for number in range(60 if run == "run-0" else 2):
        project.store.files.add(project.run(run), f"d/{number}.txt", b"x" * number)


def log_artifacts(project: Project, run: str) -> None:
    project.log(run, steps(0, 2))
    files = {"w": run.encode(), "v": b"v" + run.encode()}
    log_artifact(project.store, project.run(run), run, files)


def log_lines(project: Project, run: str) -> None:
    project.log(run, steps(0, 2))
    project.write_lines(run, ["x"] * (1_500 if run == "run-0" else 20))


def log_system_metrics(project: Project, run: str) -> None:
    project.log(run, steps(0, 2))
    project.log_system(run, [{"_timestamp": float(n), "cpu": n} for n in range(50)])


def log_histograms(project: Project, run: str) -> None:
    project.log(run, steps(0, 5, h={"_type": "histogram", "values": [1], "bins": [0, 1]}))


def log_a_table(project: Project, run: str) -> None:
    log_table(project, run, 0, "t", table_of(["x"], [1]))


def log_rows(project: Project, run: str) -> None:
    project.log(run, steps(0, 200))


KINDS: list[tuple[Callable[[Project, str], None], list[What]]] = [
    (log_rows, ["history"]),
    (log_wide_rows, ["history"]),
    (log_media, ["media"]),
    (log_histograms, ["histograms"]),
    (log_a_table, ["tables"]),
    (log_files, ["files"]),
    (log_artifacts, ["artifacts"]),
    (log_lines, ["logs"]),
    (log_system_metrics, ["system"]),
    (log_rows, ["metrics"]),
]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("log", "what", "history"),
    [
        (log_media, ["media"], "json"),
        *(
            pytest.param(log, what, history, marks=pytest.mark.slow)
            for log, what in KINDS
            for history in ("json", "parquet")
        ),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_plans_of_many_runs_are_not_far_from_what_exports_do(
    store: Store,
    project: Project,
    out: Path,
    log: Callable[[Project, str], None],
    what: list[What],
    history: HistoryMode,
) -> None:
    for number in range(30):
        log(project, f"run-{number}")
    async with client_of(store, httpx.ASGITransport(create_app(store, history=history))) as api:
        runs = api.runs(project.path)
        plan = await runs.plan_export(out, what=what)
        done = await runs.export(out, what=what)
    # The first requests are for few runs, as a slow W&B would not answer others: how many follow
    # depends on how fast it is.
    assert plan.requests == pytest.approx(done.requests, rel=0.2, abs=1)
    assert sum(each.downloads for each in plan.tables) == done.downloads
    if what != ["tables"]:  # whose rows nobody counts
        assert plan.rows == done.rows


@pytest.mark.parametrize("history", ["json", "mixed"])
async def test_the_requests_for_rows_that_are_in_no_file_are_counted(
    store: Store, project: Project, out: Path, history: HistoryMode
) -> None:
    for index in range(6):
        project.log(f"run-{index}", steps(0, 2500 if index < 2 else 30), finish=index % 2 == 0)
    async with AsyncApi(
        store.local_key,
        base_url="http://wandb.in-process",
        transport=httpx.ASGITransport(create_app(store, history=history)),
    ) as api:
        runs = api.runs(project.path)
        plan = await runs.plan_export(out)
        done = await runs.export(out)
    assert (plan.requests, plan.rows) == (done.requests, done.rows)
    assert sum(each.downloads for each in plan.tables) == done.downloads


def written_bytes(folder: Path) -> int:
    """The files of the tables, and the parts that they are made of."""
    state = folder / ".aiowandb-export"
    parts = [path for path in folder.rglob("*.*") if state not in path.parents]
    parts += (state / "history").rglob("*.parquet")
    return sum(path.stat().st_size for path in parts if path.is_file())


def log_floats(number: int) -> dict[str, object]:
    return {f"k{key}": math.sin(number * 10 + key) for key in range(8)}


def log_histograms_of_64_bins(number: int) -> dict[str, object]:
    edges = [math.sin(number * 65 + edge) for edge in range(65)]
    return {"h": {"_type": "histogram", "values": [number % 97] * 64, "bins": edges}}


def log_images(number: int) -> dict[str, object]:
    digest = sha256(b"%d" % number).hexdigest()
    path = f"media/images/i_{number}_{digest[:20]}.png"
    image = {"_type": "image-file", "path": path, "sha256": digest, "size": number + 10_000}
    return {"i": image | {"format": "png", "width": 64, "height": 64}}


def log_long_texts(number: int) -> dict[str, object]:
    return {"t": " ".join(sha256(b"%d" % (number * 99 + word)).hexdigest() for word in range(30))}


def log_what_repeats(number: int) -> dict[str, object]:
    return {"n": 5, "s": "the same", "l": [1, 2, 3], "b": number % 2 == 0}


@pytest.mark.parametrize("format", ["parquet", "csv"])
async def test_the_bytes_are_between_the_least_and_the_most_that_are_said(
    project: Project, runs: Runs, out: Path, format: Format
) -> None:
    # W&B tells neither how long texts are nor whether values repeat.
    for number, make in enumerate((log_long_texts, log_what_repeats)):
        rows = [{"_step": step, **make(step)} for step in range(150)]
        project.log(f"run-{number}", rows, finish=False)
        project.summarize(f"run-{number}", make(149))
        project.store.finish(project.run(f"run-{number}"))
        target, keys = out / str(number), sorted(make(0))
        plan = await runs.plan_export(target, what=["history"], format=format, keys=keys)
        await runs.export(target, what=["history"], format=format, keys=keys)
        assert plan.least_bytes < written_bytes(target) < 1.4 * plan.bytes
        assert plan.bytes < 20 * written_bytes(target)


@pytest.mark.parametrize(
    ("format", "layout", "split"),
    [
        ("parquet", "wide", None),
        ("jsonl", "wide", None),
        *(
            pytest.param(name, layout, split, marks=pytest.mark.slow)
            for name in ("parquet", "csv", "jsonl", "arrow")
            for layout, split in (("wide", "run"), ("long", None))
        ),
    ],
)
async def test_the_bytes_of_histories_are_nearly_those_of_the_files(
    project: Project, runs: Runs, out: Path, format: Format, layout: Layout, split: Split | None
) -> None:
    makers = (log_floats, log_histograms_of_64_bins, log_images)
    for number, make in enumerate(makers):
        rows = [{"_step": n, **make(n)} for n in range(400 if number == 0 else 100)]
        project.log(f"run-{number}", rows)
    options: dict[str, Any] = {"what": ["history"], "format": format, "layout": layout}
    plan = await runs.plan_export(out, split=split, **options)
    await runs.export(out, split=split, **options)
    assert 0.8 < plan.bytes / written_bytes(out) < 1.7
    assert plan.least_bytes < written_bytes(out)
