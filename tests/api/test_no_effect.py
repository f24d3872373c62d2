"""Options that would have no effect are refused, and warnings name the caller's line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiowandb import AiowandbWarning, Api, AsyncApi, UsageError
from aiowandb.export import ExportOptions, options
from tests.support.sample import Sample


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"what": ["runs"], "keys": ["a"]}, "keys requires history in what"),
        ({"what": ["runs"], "exclude": ["a"]}, "exclude requires history"),
        ({"what": ["files"], "min_step": 1}, "min_step requires history"),
        ({"what": ["system"], "samples": 3}, "samples requires history"),
        ({"what": ["runs"], "layout": "long"}, "layout requires history"),
        ({"what": ["files"], "split": "run"}, "split requires history or system"),
        ({"what": ["files"], "format": "csv"}, "format requires runs or history or system"),
        ({"what": ["artifacts"], "on_deleted": "drop"}, "on_deleted requires runs or history"),
        ({"any_key": False}, "any_key requires keys"),
    ],
)
async def test_an_export_refuses_options_without_effect(
    api: AsyncApi, sample: Sample, tmp_path: Path, options: Any, said: str
) -> None:
    sent = api.traffic.requests
    with pytest.raises(UsageError, match=said):
        await api.runs(sample.path).export(tmp_path, **options)
    assert api.traffic.requests == sent


def test_every_option_says_which_tables_it_applies_to() -> None:
    assert {*ExportOptions.__struct_fields__} - {"what"} == {*options._NEEDS}


def test_warnings_without_await_name_the_line_of_the_caller(sample: Sample, tmp_path: Path) -> None:
    with Api.local(sample.folder) as api:
        runs = api.runs(sample.path)
        run = runs[0]
        calls: list[Any] = [
            lambda: run.history(keys=["train/los"], pandas=False),
            lambda: list(run.scan_history(keys=["train/los"])),
            lambda: list(api.scan_histories(runs, keys=["train/los"])),
            lambda: runs.export(tmp_path, keys=["train/los"]),
        ]
        for call in calls:
            with pytest.warns(AiowandbWarning, match="train/los") as caught:
                call()
            assert caught[0].filename == __file__
