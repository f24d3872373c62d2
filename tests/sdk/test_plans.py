"""A plan reads what an export has: of odd runs, and of what the real SDK has logged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiowandb import Api
from tests.readplan.world import of_batches, values
from tests.sdk.conftest import Sdk, served
from tests.sdk.odd_runs import OddRun, odd_runs, write
from tests.sdk.test_histories import LOG

pytestmark = [pytest.mark.sdk, pytest.mark.filterwarnings("ignore::aiowandb.AiowandbWarning")]
SELECTIONS: list[dict[str, Any]] = [
    {},
    {"keys": ["train/loss", "val"], "any_key": False},
    {"keys": ["val.*", "x"], "min_step": 2, "max_step": 61_013},
    {"exclude": ["val.acc", "two*"]},
]


class Both:
    """A plan and an export of the same runs."""

    def __init__(self, sdk: Sdk, api: Api) -> None:
        self.sdk = sdk
        self._api = api
        self._projects = 0

    def agree_on(self, runs: Sequence[OddRun], selection: dict[str, Any]) -> None:
        self._projects += 1
        write(self.sdk.store, f"odd-{self._projects}", runs)
        self.agree_on_project(f"local/odd-{self._projects}", selection)

    def agree_on_project(self, path: str, selection: dict[str, Any]) -> None:
        runs = self._api.runs(path)
        with TemporaryDirectory(dir=self.sdk.folder) as folder:
            result = runs.export(folder, what=["history"], **selection)
            assert not result.failed
            files = sorted(Path(folder, "history").glob("*.parquet"))
            expected = [pq.read_table(file) for file in files]
        plan = runs.plan(**selection)
        found = of_batches(plan.schema, [row for part in plan.parts(3) for row in part.read()])
        assert found.num_rows == result.rows
        if expected:
            table = pa.concat_tables(expected)
            assert plan.schema.equals(table.schema)
            assert values(found) == values(table)
        for name in plan.schema.names[2:5]:
            assert values(of_batches(one := plan.reader([name]).schema, plan.read([name]))) == (
                values(found.select([name]).cast(one))
            )


@pytest.fixture(
    scope="module",
    params=["mixed", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("parquet", "json"))],
)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    with (
        served(tmp_path_factory.mktemp("sdk"), history=request.param) as sdk,
        Api(sdk.store.local_key, base_url=sdk.url) as api,
    ):
        yield Both(sdk, api)


some_runs = st.lists(odd_runs, min_size=1, max_size=6)


@settings(max_examples=5, derandomize=True)
@given(some_runs, st.sampled_from(SELECTIONS))
def test_a_plan_has_the_rows_of_an_export(
    both: Both, runs: Sequence[OddRun], selection: dict[str, Any]
) -> None:
    both.agree_on(runs, selection)


@pytest.mark.slow
@settings(max_examples=100)
@given(some_runs, st.sampled_from(SELECTIONS))
def test_many_plans_have_the_rows_of_exports(
    both: Both, runs: Sequence[OddRun], selection: dict[str, Any]
) -> None:
    both.agree_on(runs, selection)


@pytest.mark.slow
@pytest.mark.parametrize("selection", [{}, {"keys": ["loss", "nest.*"]}, {"exclude": ["h", "t"]}])
def test_a_plan_of_what_the_sdk_logged_has_the_rows_of_an_export(
    both: Both, selection: dict[str, Any]
) -> None:
    if not any(project.name == "values" for project in both._api.projects("local")):
        both.sdk.run(LOG)
    both.agree_on_project("local/values", selection)
