"""Mistakes that Python accepts: unknown attributes and keys, values that cannot be sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiowandb import AiowandbWarning, Api, AsyncApi, Run, UsageError
from tests.support.sample import Sample

pytestmark = pytest.mark.anyio


@pytest.fixture
async def run(api: AsyncApi, sample: Sample) -> Run:
    return await api.runs(sample.path)[0]


WRONG_ATTRIBUTES = [
    ("nmae", "x", "A run has no attribute 'nmae'; did you mean 'name'?"),
    ("my_score", 1, "A run has no attribute 'my_score'."),
    ("state", "failed", "state of a Run cannot be set; you can set config, "),
    ("id", "x", "id of a Run cannot be set"),
    ("history_keys", None, "history_keys of a Run cannot be set"),
    ("scan_history", None, "scan_history of a Run cannot be set"),
    ("name", 5, "name must be a string, or None, not 5"),
    ("tags", "abc", "tags must be specified in a list of strings, not 'abc': write ['abc']"),
    ("config", 5, "config must be a mapping of names to values, like a dict, not 5"),
    ("summary", [1], "summary must be a mapping of names to values, like a dict, not [1]"),
    ("group", ["a"], "group must be a string, or None, not ['a']"),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG_ATTRIBUTES)
async def test_an_unknown_attribute_or_one_that_cannot_be_sent_is_refused(
    run: Run, name: str, value: Any, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        setattr(run, name, value)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(("name", "value", "said"), WRONG_ATTRIBUTES)
def test_so_it_is_without_await(sample: Sample, name: str, value: Any, said: str) -> None:
    with Api.local(sample.folder) as api, pytest.raises(UsageError) as caught:
        setattr(api.runs(sample.path)[0], name, value)
    assert str(caught.value).startswith(said)


async def test_attributes_that_can_be_set_are_sent_by_both_clients(tmp_path: Path) -> None:
    async with AsyncApi.local(tmp_path) as api:
        run = await api.create_run("r", project="p", config={"lr": 1})
        run.name, run.tags, run.notes = "best", ["a", "b"], None
        run.config, run.summary = {"lr": 2}, {"loss": 0.5}
        await run.update()
        run = await api.run("local/p/r")
        assert (run.name, run.tags, run.config) == ("best", ["a", "b"], {"lr": 2})
        assert dict(run.summary) == {"loss": 0.5}


def test_a_summary_can_be_set_without_await(tmp_path: Path) -> None:
    with Api.local(tmp_path) as api:
        run = api.create_run("r", project="p")
        run.summary = {"loss": 0.5}
        run.update()
        assert dict(api.run("local/p/r").summary) == {"loss": 0.5}


async def test_lists_and_apis_take_no_new_attributes(api: AsyncApi, sample: Sample) -> None:
    runs: Any = api.runs(sample.path)
    for target, name in ((runs, "per_page"), (api, "timeout")):
        with pytest.raises(UsageError, match=f"no attribute '{name}'"):
            setattr(target, name, 5)
    with pytest.raises(UsageError, match="settings of an AsyncApi cannot be set; nothing can"):
        api.settings = None  # type: ignore[misc, assignment]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: run.tags.append(5), "tags must be specified in a list of strings"),
        (lambda run: run.config.update({5: 1}), "config must be a mapping of names"),
        (
            lambda run: run.config.update(model=object()),
            "config of run .* cannot be encoded as JSON",
        ),
    ],
)
async def test_a_change_that_cannot_be_sent_is_refused_before_anything_is(
    api: AsyncApi, run: Run, change: Any, said: str
) -> None:
    change(run)
    sent = api.traffic.requests
    with pytest.raises(UsageError, match=said):
        await run.update()
    assert api.traffic.requests == sent


async def test_a_run_whose_config_cannot_be_sent_is_not_made(tmp_path: Path) -> None:
    async with AsyncApi.local(tmp_path) as api:
        with pytest.raises(UsageError, match="cannot be encoded as JSON"):
            await api.create_run("r", project="p", config={"model": object()})
        assert await api.projects().to_list() == []


async def test_an_entity_alone_is_not_a_project(tmp_path: Path) -> None:
    async with AsyncApi.local(tmp_path) as api:
        run = await api.create_run("r", entity="local")
        assert run.path == ["local", "uncategorized", "r"]


NO_KEY = r"No key named 'train/los' in {}; did you mean 'train/loss'\?"


async def test_a_key_that_the_run_does_not_have_is_a_warning(run: Run) -> None:
    said = NO_KEY.format(f"run {run.ref}")
    with pytest.warns(AiowandbWarning, match=said) as caught:
        assert [row async for row in run.scan_history(keys=["train/los"])] == []
    assert caught[0].filename == __file__
    with pytest.warns(AiowandbWarning, match=said):
        assert await run.history(keys=["train/los"], pandas=False) == []
    with pytest.warns(AiowandbWarning, match=said):
        assert [batch async for batch in run.scan_history_batches(keys=["train/los"])] == []
    with pytest.warns(AiowandbWarning, match="'_stp'.*did you mean '_step'"):
        await run.history(keys=["train/loss"], x_axis="_stp", pandas=False)
    with pytest.warns(AiowandbWarning, match=said):
        assert [row async for row in run.scan_history(exclude=["train/los"])]


async def test_keys_and_globs_that_a_run_has_are_no_warning(run: Run) -> None:
    wanted = ["train/*", "_step", "_timestamp"]
    rows = [row async for row in run.scan_history(keys=wanted)]
    sampled = await run.history(keys=["train/*"], pandas=False)
    assert rows
    assert sampled
    assert all(any(key.startswith("train/") for key in row) for row in [*rows, *sampled])


async def test_keys_are_split_at_commas(run: Run) -> None:
    with pytest.warns(AiowandbWarning, match=r"did you mean \['train/loss', '_step'\]\?"):
        run.scan_history(keys=["train/loss,_step"])


async def test_a_key_that_none_of_many_runs_has_is_a_warning(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    runs, said = api.runs(sample.path), NO_KEY.format("any of the runs")
    with pytest.warns(AiowandbWarning, match=said):
        result = await runs.export(tmp_path / "out", keys=["train/los"])
    assert (result.unknown_keys, result.rows) == (("train/los",), 0)
    with pytest.warns(AiowandbWarning, match=said):
        assert await runs.histories(keys=["train/los"]) == []
    with pytest.warns(AiowandbWarning, match=said):
        async for _ in api.scan_histories(runs, keys=["train/los"]):
            pass
    await runs.export(tmp_path / "other", keys=["train/loss"], exclude=["val*"])


async def test_keys_may_be_all_or_any_of_them_in_a_scan_and_in_an_export(
    tmp_path: Path,
) -> None:
    async with AsyncApi.local(tmp_path / "wandb") as api:
        run = await api.create_run("r", project="p")
        async with run.append(state="finished") as log:
            for row in ({"a": 1}, {"b": 1}, {"a": 2, "b": 2}):
                await log(row)
        runs = api.runs("local/p")
        for any_key, rows in ((False, 1), (True, 3)):
            scan = run.scan_history(keys=["a", "b"], any_key=any_key)
            assert len([row async for row in scan]) == rows
            folder = tmp_path / str(any_key)
            result = await runs.export(folder, keys=["a", "b"], any_key=any_key)
            assert result.rows == rows
        assert (await runs.export(tmp_path / "True", keys=["a", "b"])).rows == 3


async def test_an_empty_range_of_steps_is_refused(run: Run) -> None:
    with pytest.raises(UsageError, match="No step is at least 5 and below 5"):
        run.scan_history(min_step=5, max_step=5)
