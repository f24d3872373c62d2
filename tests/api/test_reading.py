"""Runs and their rows, read from the embedded W&B on both event loops."""

from __future__ import annotations

import math
from contextlib import aclosing
from pathlib import Path

import pyarrow as pa
import pytest

from aiowandb import AsyncApi, InvalidPathError, NotFoundError, Run, UsageError
from aiowandb.wire.dotted import flattened
from tests.support.sample import ROWS, RUNS, Sample

pytestmark = pytest.mark.anyio


async def test_every_run_comes_once_whatever_the_page_size(api: AsyncApi, sample: Sample) -> None:
    for per_page in (1, 3, RUNS, 50):
        runs = api.runs(sample.path, per_page=per_page)
        found = [run.id async for run in runs]
        assert len(set(found)) == len(found) == RUNS == await runs.count()


async def test_the_newest_run_comes_first(api: AsyncApi, sample: Sample) -> None:
    times = [run.created_at async for run in api.runs(sample.path)]
    assert times == sorted(times, key=str, reverse=True)


async def test_a_page_brings_config_and_summary_with_it(api: AsyncApi, sample: Sample) -> None:
    async for run in api.runs(sample.path):
        assert run.config
        assert run.raw_config.keys() >= run.config.keys()
        assert run.summary
    assert api.traffic.requests == 1


async def test_filters_are_sent_as_typed(api: AsyncApi, sample: Sample) -> None:
    everything = [run async for run in api.runs(sample.path)]
    finished = [run async for run in api.runs(sample.path, filters={"state": "finished"})]
    assert {run.id for run in finished} == {r.id for r in everything if r.state == "finished"}
    assert 0 < len(finished) < len(everything)


async def test_one_run_has_the_values_that_it_has_in_the_list(
    api: AsyncApi, sample: Sample
) -> None:
    listed = [run async for run in api.runs(sample.path)][0]
    run = await api.run(listed.path)
    assert isinstance(run, Run)
    assert (run.id, run.name, run.config, run.tags) == (
        listed.id,
        listed.name,
        listed.config,
        listed.tags,
    )
    assert repr(run) == f"<Run {sample.path}/{run.id} ({run.state})>"


async def test_paths_may_be_shortened_to_what_the_defaults_fill_in(sample: Sample) -> None:
    async with AsyncApi.local(sample.folder, project="sample") as api:
        run = [run async for run in api.runs()][0]
        assert (await api.run(run.id)).path == run.path
        assert (await api.run(f"sample/{run.id}")).path == run.path


async def test_the_default_entity_is_asked_for_once_and_only_when_needed(
    url: str, sample: Sample
) -> None:
    async with AsyncApi(sample.key, base_url=url) as api:
        run = await api.runs(sample.path)[0]
        await api.run(run.path)
        assert api.traffic.requests == 2
        await api.runs("sample", per_page=1)[0]
        assert api.traffic.requests == 4
        await api.run(f"sample/{run.id}")
        await api.project("sample")
        assert await api.default_entity() == "local"
        assert api.traffic.requests == 5


async def test_nothing_is_sent_until_it_is_used(api: AsyncApi, sample: Sample) -> None:
    runs = api.runs(sample.path)
    api.projects()
    api.artifacts("model", "sample/weights")
    assert api.traffic.requests == 0
    run = await runs[0]
    run.files()
    run.logged_artifacts()
    run.scan_history()
    run.console_logs()
    assert api.traffic.requests == 1


async def test_all_rows_come_once_and_in_step_order(api: AsyncApi, sample: Sample) -> None:
    async for run in api.runs(sample.path):
        steps = [row["_step"] async for row in run.scan_history()]
        assert steps == sorted(set(steps))
        assert len(steps) == run.history_line_count
    assert sample.project.rows == RUNS * ROWS


async def test_the_page_size_changes_nothing(api: AsyncApi, sample: Sample) -> None:
    async for run in api.runs(sample.path, filters={"state": "running"}):
        full = [row["_step"] async for row in run.scan_history()]
        assert full == [row["_step"] async for row in run.scan_history(page_size=7)]


async def test_rows_and_batches_have_the_same_values(api: AsyncApi, sample: Sample) -> None:
    run = [run async for run in api.runs(sample.path)][-1]
    rows = [flattened(row) async for row in run.scan_history()]
    batches = [batch async for batch in run.scan_history_batches()]
    assert all(isinstance(batch, pa.RecordBatch) for batch in batches)
    columns = [row for batch in batches for row in batch.to_pylist()]
    assert [row["_step"] for row in rows] == [row["_step"] for row in columns]
    for row, column in zip(rows, columns, strict=True):
        for key in ("train/loss", "val.acc"):
            assert same(row.get(key), column.get(key))


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return one == other


async def test_keys_choose_the_rows_that_have_all_of_them(api: AsyncApi, sample: Sample) -> None:
    async for run in api.runs(sample.path):
        full = [flattened(row) async for row in run.scan_history()]
        wanted = [row["_step"] for row in full if "val.acc" in row and "train/loss" in row]
        chosen = [row async for row in run.scan_history(keys=["val.acc", "train/loss"])]
        assert [row["_step"] for row in chosen] == wanted
        assert all(row.keys() == {"_step", "val.acc", "train/loss"} for row in chosen)


async def test_steps_bound_what_is_read(api: AsyncApi, sample: Sample) -> None:
    async for run in api.runs(sample.path):
        full = [row["_step"] async for row in run.scan_history()]
        part = [row["_step"] async for row in run.scan_history(min_step=10, max_step=90)]
        assert part == [step for step in full if 10 <= step < 90]


async def test_a_sample_has_some_of_the_rows(api: AsyncApi, sample: Sample) -> None:
    run = [run async for run in api.runs(sample.path)][-1]
    steps = {row["_step"] async for row in run.scan_history()}
    for rows in (
        await run.history(samples=20, pandas=False),
        await run.history(samples=20, keys=["train/loss"], pandas=False),
    ):
        assert 0 < len(rows) <= 20
        assert {row["_step"] for row in rows} <= steps
    assert await run.history(samples=3, stream="system", pandas=False)


async def test_only_strings_for_nan_and_infinities_become_numbers(tmp_path: Path) -> None:
    async with AsyncApi.local(tmp_path, project="p") as api:
        run = await api.create_run("r")
        async with run.append(state="finished") as log:
            for loss, note in ((0.5, "NaN"), (math.nan, "fine"), (-math.inf, "Infinity")):
                await log({"loss": loss, "note": note})
        run = await api.run("r")
        rows = await run.history(keys=["loss", "note"], pandas=False)
        assert [repr(row["loss"]) for row in rows] == ["0.5", "nan", "-inf"]
        assert [row["note"] for row in rows] == ["NaN", "fine", "Infinity"]


async def test_leaving_early_is_fine(api: AsyncApi, sample: Sample) -> None:
    run = [run async for run in api.runs(sample.path)][0]
    async with aclosing(run.scan_history()) as rows:
        async for row in rows:
            assert row["_step"] == 0
            break


async def test_missing_objects_are_named(api: AsyncApi, sample: Sample) -> None:
    with pytest.raises(NotFoundError, match="Could not find run local/sample/nothing"):
        await api.run("local/sample/nothing")
    with pytest.raises(NotFoundError, match="Could not find project local/nothing"):
        await api.runs("local/nothing").count()
    with pytest.raises(NotFoundError, match="Could not find project local/nothing"):
        [run async for run in api.runs("local/nothing")]


async def test_wrong_calls_are_refused_before_anything_is_sent(api: AsyncApi) -> None:
    with pytest.raises(InvalidPathError):
        await api.run("a/b/c/d")
    with pytest.raises(UsageError, match="no default project"):
        await api.run("r")
    with pytest.raises(UsageError, match="per_page"):
        api.runs("local/sample", per_page=0)
    assert api.traffic.requests == 0


async def test_keys_are_a_list(api: AsyncApi, sample: Sample) -> None:
    run = [run async for run in api.runs(sample.path)][0]
    with pytest.raises(UsageError, match="keys must be specified in a list"):
        await run.history(keys="loss")
    with pytest.raises(UsageError, match="keys must be specified in a list"):
        [row async for row in run.scan_history(keys="loss")]
    with pytest.raises(UsageError, match="system metrics are not selected by key"):
        await run.history(keys=["train/loss"], stream="system")


async def test_the_same_is_read_over_a_real_socket(url: str, sample: Sample) -> None:
    async with AsyncApi(sample.key, base_url=url) as api:
        assert (await api.viewer()).entity == "local"
        assert await api.runs("sample").count() == RUNS
        run = [run async for run in api.runs("sample")][-1]
        assert len([row async for row in run.scan_history()]) == run.history_line_count
