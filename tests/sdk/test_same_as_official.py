"""Every read, with our client and the official one, of the same runs: the results are equal.

Where they do not, `expected` below makes of the official answer what ours is meant
to be; docs/differences.md lists these differences with their reasons.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiowandb import Api
from aiowandb.wire.dotted import flattened
from aiowandb_server import build_sample
from tests.sdk.conftest import Sdk, served
from tests.sdk.odd_runs import KEYS, OddRun, odd_runs, write
from tests.sdk.reading import Facts, read_project
from tests.sdk.test_histories import LOG

pytestmark = [pytest.mark.sdk, pytest.mark.filterwarnings("ignore::aiowandb.AiowandbWarning")]


class Both:
    """Both clients, reading from one embedded W&B."""

    def __init__(self, sdk: Sdk, official: subprocess.Popen[str], ours: Api) -> None:
        self.sdk = sdk
        self._official = official
        self._ours = ours
        self._projects = 0

    def agree_on(self, runs: Sequence[OddRun], keys: Sequence[str] = KEYS) -> None:
        self._projects += 1
        write(self.sdk.store, f"odd-{self._projects}", runs)
        self.agree_on_project(f"local/odd-{self._projects}", keys)

    def agree_on_project(self, project: str, keys: Sequence[str] = KEYS) -> None:
        theirs = self._read_officially(project, keys)
        mine = read_project(self._ours, project, keys)
        assert theirs[0] == mine[0]
        assert len(theirs) == len(mine)
        for reported, found in zip(theirs[1:], mine[1:], strict=True):
            for name, value in expected(reported, keys).items():
                own = found[name]
                if name in ("history", "system", "scan"):
                    own = [without_nones(row) for row in own]
                assert same(value, own), (reported["id"], name, value, own)

    def _read_officially(self, project: str, keys: Sequence[str]) -> list[Any]:
        assert self._official.stdin
        assert self._official.stdout
        print(json.dumps([project, keys]), file=self._official.stdin, flush=True)
        answer = self._official.stdout.readline()
        assert answer, "the official client has ended"
        read: list[Any] = json.loads(answer)
        return read


@pytest.fixture(
    scope="module",
    params=["mixed", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("parquet", "json"))],
)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("wandb")
    with (
        served(folder, history=request.param) as sdk,
        Api(sdk.store.local_key, base_url=sdk.url) as ours,
        subprocess.Popen(
            [sys.executable, "-m", "tests.sdk.official_reader"],
            cwd=Path(__file__).parents[2],
            env=sdk.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as official,
    ):
        yield Both(sdk, official, ours)


def expected(reported: Facts, keys: Sequence[str]) -> Facts:
    """The result that our client should have where the official one has this."""
    return reported | {
        # Nested keys come under dotted names, and what was not logged is not there.
        "history": [without_nones(flattened(row)) for row in reported["history"]],
        "system": [without_nones(flattened(row)) for row in reported["system"]],
        "scan": once_a_step([without_nones(flattened(row)) for row in reported["scan"]]),
        # Only rows that have all the keys, whether they came as Parquet or as JSON.
        "scan_keys": once_a_step([row for row in reported["scan_keys"] if has_all(row, keys)]),
        "scan_part": list(dict.fromkeys(reported["scan_part"])),
    }


def has_all(row: Facts, keys: Sequence[str]) -> bool:
    return all(row.get(key) is not None for key in keys)


def once_a_step(rows: list[Facts]) -> list[Facts]:
    """The official client reads rows twice where it goes over from Parquet to live rows."""
    return list({row["_step"]: row for row in rows}.values())


def without_nones(row: Facts) -> Facts:
    return {key: value for key, value in row.items() if value is not None}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    # What JSON has no number for is a word in the samples of the official client, and a column
    # of mixed values is JSON text to it; both are their values to ours.
    if isinstance(one, str) and one != other:
        return is_json(one) and same(json.loads(one), other)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def test_both_clients_read_the_same_of_the_sample(both: Both) -> None:
    build_sample(both.sdk.store, runs=4, rows=80)
    both.agree_on_project("local/sample")


@pytest.mark.slow
@settings(max_examples=4, derandomize=True)
@given(st.lists(odd_runs, min_size=1, max_size=6))
def test_both_clients_read_the_same_of_odd_runs(both: Both, runs: Sequence[OddRun]) -> None:
    both.agree_on(runs)


@pytest.mark.slow
def test_both_clients_read_the_same_of_runs_of_the_sdk(both: Both) -> None:
    both.sdk.run(LOG)
    both.agree_on_project("local/values", ["loss", "nest.x"])


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(odd_runs, min_size=1, max_size=6))
def test_both_clients_read_the_same_of_many_odd_runs(both: Both, runs: Sequence[OddRun]) -> None:
    both.agree_on(runs)


@pytest.mark.parametrize("keys", [0, 1, pytest.param(4000, marks=pytest.mark.slow)])
def test_a_run_may_have_no_rows_and_very_many_keys(both: Both, keys: int) -> None:
    row = {f"layer.{number}/weight": number / 7 for number in range(keys)}
    rows = [{"_step": step, **row} for step in range(3)] if keys else []
    both.agree_on([OddRun({}, row, [], rows, finished=True)], ["layer.0/weight"])
