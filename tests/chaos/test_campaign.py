"""Whole exports in bad weather: equal to undisturbed ones, or clear about what is missing.

On asyncio aiohttp moves the bytes and on trio httpcore; there are scenarios of both.

Each scenario comes from its seed alone: `pytest tests/chaos -m "" -k "[17]"` replays seed 17,
and CAMPAIGN=1000 in the environment asks for so many of them.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product, repeat
from pathlib import Path
from random import Random
from typing import Any, get_args

import anyio
import pytest
import trio

from aiowandb import AiowandbError, AsyncApi
from aiowandb.api import runs as runs_module
from aiowandb.export import ExportResult, pipeline
from aiowandb.net.retry import RetryPolicy
from tests.chaos.faults import API_FAULTS, DOWNLOAD_FAULTS, Weather
from tests.chaos.wire_faults import WIRE_FAULTS
from tests.chaos.world import PATH, World, leftovers, opened_world, rows
from tests.support.proxy import Fate, What, Where

_ALL = int(os.environ.get("CAMPAIGN", "160"))
_DEADLINE_S = 200
_NAMES_WHAT_IS_MISSING = "|".join(
    [
        r"Runs: ",
        r"History\w*: ",
        r"Download of ",
        r"W&B \w+ .* of local/sample",
        r"Could not connect to ",
        r"Could not find project local/sample",
    ]
)


@dataclass(frozen=True)
class Scenario:
    """What a seed amounts to; or one fault by itself."""

    seed: int = 0
    backend: str = "asyncio"
    history: str = "mixed"
    format: str = "parquet"
    faults: tuple[str, ...] = ()
    rate: float = 0.5
    budget: float = 3
    breaks: float = 0.0
    fate: Fate | None = None
    elsewhere: bool = False

    @classmethod
    def of(cls, seed: int) -> Scenario:
        chance = Random(seed)
        known = sorted({*API_FAULTS, *DOWNLOAD_FAULTS, *WIRE_FAULTS})
        is_endless = chance.random() < 0.15
        return cls(
            seed=seed,
            backend=chance.choice(["asyncio", "trio"]),
            history=chance.choice(["parquet", "json", "mixed"]),
            format=chance.choice(["parquet", "csv"]),
            faults=tuple(chance.sample(known, 1 if is_endless else chance.randint(1, 5))),
            rate=1.0 if is_endless else chance.choice([0.1, 0.3, 0.6]),
            budget=math.inf if is_endless else chance.choice([2, 5, 20]),
            breaks=chance.choice([0.0, 0.0, 0.1, 0.4]),
            elsewhere=chance.random() < 0.3,
        )

    @classmethod
    def alone(cls) -> Iterator[tuple[str, Scenario]]:
        """Every fault that there is by itself, and what it is called; on each event loop, as what
        moves the bytes is another on each."""
        for backend in ("asyncio", "trio"):
            alone = partial(cls, backend=backend)
            for fault in {**API_FAULTS, **DOWNLOAD_FAULTS, **WIRE_FAULTS}:
                yield f"{fault} {backend}", alone(faults=(fault,))
            for what, where in product(get_args(What), get_args(Where)):
                yield f"{what} {where} {backend}", alone(fate=Fate(where, what))
            yield f"elsewhere {backend}", alone(elsewhere=True)

    def fates(self) -> Iterator[Fate | None]:
        """What becomes of each connection."""
        if self.fate:
            yield from repeat(self.fate, 3)
        chance = Random(self.seed)
        while True:
            yield Fate.drawn(chance) if chance.random() < self.breaks else None


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    with (
        opened_world(tmp_path_factory.mktemp("parquet"), "parquet") as parquet,
        opened_world(tmp_path_factory.mktemp("json"), "json") as json,
        opened_world(tmp_path_factory.mktemp("mixed"), "mixed") as mixed,
    ):
        yield {"parquet": parquet, "json": json, "mixed": mixed}


@pytest.fixture(scope="module")
def undisturbed(
    worlds: dict[str, World], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Path]:
    """An export in good weather, by how history is handed out and by format."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        _make_small(patch)
        for history, world in worlds.items():
            for kind in ("parquet", "csv"):
                found[history, kind] = tmp_path_factory.mktemp("undisturbed")
                result = anyio.run(_export, world, found[history, kind], kind)
                assert isinstance(result, ExportResult)
                assert not result.failed
    return found


def _make_small(patch: pytest.MonkeyPatch) -> None:
    """Several pages of runs, and several parts."""
    patch.setattr(runs_module, "RUNS_PER_PAGE", 3)
    patch.setattr(pipeline, "PART_ROWS", 300)


async def _export(
    world: World, folder: Path, format: Any, silence: float = 60.0
) -> ExportResult | AiowandbError:
    """Export before the deadline, leaving no task and no connection behind."""
    before = _tasks()
    quick = RetryPolicy(first_wait=0.01, max_wait=0.1)
    with anyio.fail_after(_DEADLINE_S):
        async with AsyncApi(world.key, base_url=world.url, timeout=silence, retry=quick) as api:
            api._session.max_response_bytes = 8_000_000  # a bomb is soon too large
            try:
                result: ExportResult | AiowandbError = await api.runs(PATH).export(
                    folder, format=format
                )
            except AiowandbError as error:
                result = error
    assert _tasks() == before
    return result


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return trio.lowlevel.current_statistics().tasks_living


@pytest.mark.filterwarnings("ignore:Async generator 'http(x|core)[.]:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*its rows are read as JSON:aiowandb.AiowandbWarning")
@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=pytest.mark.chaos if seed else (), id=str(seed))
        for seed in range(_ALL)
    ],
)
def test_an_export_is_complete_or_reports_what_is_missing(
    seed: int,
    worlds: dict[str, World],
    undisturbed: dict[tuple[str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _live_through(Scenario.of(seed), worlds, undisturbed, tmp_path, monkeypatch)


@pytest.mark.chaos
@pytest.mark.filterwarnings("ignore:Async generator 'http(x|core)[.]:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*its rows are read as JSON:aiowandb.AiowandbWarning")
@pytest.mark.parametrize(
    "scenario", [pytest.param(scenario, id=name) for name, scenario in Scenario.alone()]
)
def test_every_fault_occurs_and_is_survived(
    scenario: Scenario,
    worlds: dict[str, World],
    undisturbed: dict[tuple[str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = worlds[scenario.history]
    before = world.near.fulfilled.total() + world.far.fulfilled.total()
    happened = _live_through(scenario, worlds, undisturbed, tmp_path, monkeypatch)
    assert happened.keys() == set(scenario.faults)
    if scenario.fate:
        assert world.near.fulfilled.total() + world.far.fulfilled.total() > before
    if scenario.elsewhere:
        assert world.layer.elsewhere


def _live_through(
    scenario: Scenario,
    worlds: dict[str, World],
    undisturbed: dict[tuple[str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Counter[str]:
    print(scenario)
    world = worlds[scenario.history]
    expected = undisturbed[scenario.history, scenario.format]
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    _make_small(monkeypatch)
    export = partial(_export, world, out, scenario.format)

    try:
        _brew(world, scenario)
        with monkeypatch.context() as hasty:
            hasty.setenv("WANDB_HTTP_TIMEOUT", "0.5")
            result = anyio.run(partial(export, silence=4), backend=scenario.backend)
    finally:
        happened = world.layer.weather.happened
        print(happened)
        world.clear_up()
    _check_rows(result, out, expected)
    assert list(scratch.iterdir()) == []
    _check_secrets(world, result, out)
    _wait_until_closed(world)

    healed = anyio.run(export, backend=scenario.backend)
    assert isinstance(healed, ExportResult), healed
    assert not healed.failed
    assert rows(out) == rows(expected)
    assert not [name for name in leftovers(out) if "draft" in name or "staged" in name]
    gc.collect()  # what was left open is warned of, and warnings are errors
    return happened


def _brew(world: World, scenario: Scenario) -> None:
    world.layer.elsewhere.clear()
    world.layer.weather = Weather(
        seed=scenario.seed,
        faults=scenario.faults,
        rate=scenario.rate,
        budget=scenario.budget,
        elsewhere=f"127.0.0.1:{world.far.port}" if scenario.elsewhere else None,
    )
    # Each proxy is a thread, which can share no iterator with another.
    world.near.fate, world.far.fate = (partial(next, scenario.fates()) for _ in range(2))


def _check_rows(result: ExportResult | AiowandbError, out: Path, expected: Path) -> None:
    """No row is wrong or doubled, and everything that is missing is reported."""
    found, all_rows = rows(out), rows(expected)
    if isinstance(result, AiowandbError):
        print(f"{type(result).__name__}: {result}")
        assert re.match(_NAMES_WHAT_IS_MISSING, str(result))
        missing = all_rows.keys() - found.keys()
    else:
        print(f"failed: {[(failure.run, str(failure.error)) for failure in result.failed]}")
        missing = {failure.run for failure in result.failed}
        assert all(str(failure.error) for failure in result.failed)
    assert found == {run: all_rows[run] for run in all_rows.keys() - missing}


def _check_secrets(world: World, result: object, out: Path) -> None:
    for headers in world.layer.elsewhere:
        assert "authorization" not in headers
        assert "cookie" not in headers
    assert world.key not in repr(result) + str(result)
    for file in out.rglob("*"):
        assert file.is_dir() or world.key.encode() not in file.read_bytes()


def _wait_until_closed(world: World) -> None:
    """A connection that its client has closed is gone from the proxies a moment later."""
    for _ in range(3000):
        if world.near.open == world.far.open == 0:
            return
        time.sleep(0.01)
    raise AssertionError(f"connections are still open: {world.near.open}, {world.far.open}")
