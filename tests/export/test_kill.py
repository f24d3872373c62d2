"""After a kill at any time, a repeated export has the same result as an undisturbed one."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from aiowandb_server import Store, create_app, serve_in_thread
from tests.export.conftest import Project, contents, steps
from tests.support import forked
from tests.support.processes import start


class Exporter:
    """Exports of one project in processes of their own."""

    def __init__(self, url: str, key: str) -> None:
        self._begin = partial(start, forked.export, url, key, Project.path)

    def finish(self, folder: Path, format: str) -> float:
        """Export undisturbed; give the seconds that it took."""
        started = time.monotonic()
        process = self._begin(folder, format)
        process.join()
        assert process.exitcode == 0
        return time.monotonic() - started

    def kill(self, folder: Path, format: str, seconds: float) -> None:
        """Export for so long and no longer."""
        process = self._begin(folder, format)
        process.join(seconds)
        process.kill()
        process.join()


@pytest.fixture
def exporter(store: Store, project: Project) -> Iterator[Exporter]:
    for number in range(24):
        values = {"note": "x"} if number == 20 else {}
        project.log(f"run-{number:02}", steps(0, 120, **values), finish=number % 5 > 0)
    with serve_in_thread(create_app(store, latency=0.02)) as url:
        yield Exporter(url, store.local_key)


def kill_often(
    exporter: Exporter, folder: Path, format: str, kills: int, before: Path | None = None
) -> None:
    """Compare exports that were killed with an undisturbed one, all into what was there before."""
    undisturbed = folder / "undisturbed"
    killed = [folder / f"killed-{number}" for number in range(kills // 5)]
    for out in (undisturbed, *killed):
        if before:
            shutil.copytree(before, out)
    seconds = exporter.finish(undisturbed, format)
    chance = random.Random(kills)
    for out in killed * 5:
        # Most of the time it is far enough to have something to lose.
        exporter.kill(out, format, chance.uniform(seconds * 0.1, seconds))
    for out in killed:
        exporter.finish(out, format)
        assert contents(out) == contents(undisturbed)


@pytest.mark.slow
def test_kills_lose_nothing(exporter: Exporter, tmp_path: Path) -> None:
    kill_often(exporter, tmp_path / "out", "parquet", 2)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_fifty_kills_lose_nothing(exporter: Exporter, tmp_path: Path, format: str) -> None:
    kill_often(exporter, tmp_path / "out", format, 50)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_fifty_kills_of_an_incremental_export_lose_nothing(
    exporter: Exporter, project: Project, tmp_path: Path, format: str
) -> None:
    exporter.finish(tmp_path / "before", format)
    project.delete("run-03")
    project.rewind("run-10", 40)
    for number in (5, 15):  # live ones
        project.log(f"run-{number:02}", steps(120, 150))
    for number in range(24, 36):  # with one more column, for which old parts are written anew
        project.log(f"run-{number:02}", steps(0, 120, late=number))
    kill_often(exporter, tmp_path / "out", format, 50, tmp_path / "before")
