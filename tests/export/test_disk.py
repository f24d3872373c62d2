"""Full disks: the error is one line, and finished runs stay finished."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiowandb import ExportError
from aiowandb.api.runs import Runs
from aiowandb.export import ExportEvent, FileFinished, Format
from aiowandb_server import Store, create_app, serve_in_thread
from tests.export.conftest import Project, contents, steps
from tests.export.disks import filled, small_disk

LIMIT = 50_000
FULL = f"""
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
FORBIDDEN = """
import ctypes, os, sys
if os.geteuid() == 0:  # no permission stops root, unless this capability is gone
    PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
    assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")


class Exporter:
    """Exports a file a run, in processes of their own."""

    def __init__(self, url: str, key: str, out: Path) -> None:
        self._command = ["-m", "aiowandb", "export", Project.path, str(out)]
        self._command += ["--split", "run", "--order", "+created_at"]
        # Whoever measures coverage would write as well, and find no room either.
        unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
        # Nor are compiled modules cut short at the limit: Python would fail to read them later.
        unmeasured["PYTHONDONTWRITEBYTECODE"] = "1"
        self._environment = unmeasured | {"WANDB_API_KEY": key, "WANDB_BASE_URL": url}

    def run(self, *limits: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *limits, *self._command],
            env=self._environment,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def exporter(store: Store, project: Project, out: Path) -> Iterator[Exporter]:
    project.log("small", steps(0, 100))
    project.log("large", steps(0, 20_000))
    with serve_in_thread(create_app(store)) as url:
        yield Exporter(url, store.local_key, out)


@pytest.mark.slow
def test_a_file_that_finds_no_room_leaves_the_others(exporter: Exporter, out: Path) -> None:
    done = exporter.run("-c", FULL)
    assert done.returncode == 1
    assert done.stderr.startswith("aiowandb: Cannot write ")
    assert done.stderr.endswith(": File too large.\n")
    assert done.stderr.count("\n") == 1
    finished = contents(out)
    assert finished.keys() == {"history/small.parquet"}
    assert exporter.run().returncode == 0
    assert finished.items() < contents(out).items()
    assert (out / "history" / "large.parquet").stat().st_size > LIMIT


@pytest.mark.slow
def test_a_permission_that_was_lost_leaves_what_is_there(
    exporter: Exporter, project: Project, out: Path
) -> None:
    assert exporter.run().returncode == 0
    before = contents(out)
    project.log("new", steps(0, 10))
    (out / "history").chmod(0o555)
    done = exporter.run("-c", FORBIDDEN)
    assert done.returncode == 1
    assert done.stderr == f"aiowandb: Cannot write {out}/history/new.parquet: Permission denied.\n"
    assert before.items() - contents(out).items() <= {("runs.parquet", before["runs.parquet"])}
    (out / "history").chmod(0o755)
    assert exporter.run().returncode == 0
    assert "history/new.parquet" in contents(out)


@pytest.mark.parametrize("locked", ["", pytest.param(".aiowandb-export", marks=pytest.mark.slow)])
def test_a_folder_that_may_not_be_written_is_named(
    exporter: Exporter, out: Path, locked: str
) -> None:
    (out / ".aiowandb-export").mkdir(parents=True)
    (out / locked).chmod(0o555)
    done = exporter.run("-c", FORBIDDEN)
    (out / locked).chmod(0o755)
    assert done.returncode == 1
    assert done.stderr.startswith(f"aiowandb: Cannot write {out}")
    assert done.stderr.endswith(": Permission denied.\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("format", ["parquet", "csv"])
async def test_a_disk_that_was_full_three_times_costs_nothing_once_there_is_room(
    small_parts: None,
    project: Project,
    runs: Runs,
    tmp_path: Path,
    format: Format,
) -> None:
    for number in range(300):  # a record of a hundred runs is longer than a page of the disk
        project.log(f"run-{number:03}", steps(0, 1))
    complaints = []
    with small_disk(tmp_path / "disk", "1m") as disk:
        out = disk / "out"
        # The journal finds no room, then a draft, a part, and the journal in the end.
        for room in range(1, 22):
            with filled(disk, room=room * 4096) as make_room:

                def others_make_room(event: ExportEvent, then: Any = make_room) -> None:
                    if isinstance(event, FileFinished):
                        then()  # what follows a record that was torn follows it directly

                try:
                    await runs.export(out, format=format, on_event=others_make_room)
                except ExportError as error:
                    complaints.append(str(error))
        await runs.export(out, format=format)
        await runs.export(tmp_path / "undisturbed", format=format)
        assert contents(out) == contents(tmp_path / "undisturbed")
    assert len(complaints) >= 3
    assert all("No space left on device. Make room" in complaint for complaint in complaints)
    assert any("journal" in complaint for complaint in complaints)
