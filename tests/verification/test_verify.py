"""An intact export is complete, and its runs may be deleted at W&B; anything else is named."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from aiowandb import verify
from aiowandb.export.folders.local import LocalFolder
from aiowandb.export.manifest import FileDigest, read_manifest, write_manifest
from tests.verification.conftest import Archive
from tests.verification.damages import DAMAGES, FIRST, NO_MANIFEST, OLD_DAMAGES, endless

pytestmark = pytest.mark.anyio


async def test_an_intact_export_is_complete_and_its_runs_may_be_deleted(
    archive: Archive, out: Path
) -> None:
    async with archive.client() as api:
        found = await verify(out, api=api)
    assert [str(problem) for problem in found.problems] == []
    assert {run.run: run.reasons for run in found.runs} == {"a": (), "b": (), "c": ()}
    assert found.may_be_deleted == ["a", "b", "c"]
    assert found.is_complete
    assert found.requests <= 4


@pytest.mark.parametrize("name", DAMAGES)
async def test_a_damage_is_found_and_named(archive: Archive, out: Path, name: str) -> None:
    damage = DAMAGES[name]
    damage.do(out)
    found = await verify(out, offline=True)
    told = {problem.where: problem for problem in found.problems if damage.what in problem.what}
    assert damage.where in told, found.problems
    assert not found.is_complete
    damaged = {run.run for run in found.runs if run.damaged}
    assert damaged >= set(damage.runs)
    if damage.runs:
        assert damaged == set(damage.runs)


@pytest.mark.parametrize("name", OLD_DAMAGES)
async def test_an_export_without_a_manifest_is_checked_as_far_as_that_goes(
    out: Path, name: str
) -> None:
    NO_MANIFEST(out)
    intact = await verify(out, offline=True)
    assert intact.is_complete
    assert any("has no manifest" in note for note in intact.notes)
    damage = OLD_DAMAGES[name]
    damage.do(out)
    found = await verify(out, offline=True)
    told = {problem.where for problem in found.problems if damage.what in problem.what}
    assert damage.where in told, found.problems
    assert {run.run for run in found.runs if run.damaged} == set(damage.runs)


async def test_what_systems_leave_in_folders_and_other_times_of_files_are_no_damage(
    out: Path,
) -> None:
    for name in ("history/.DS_Store", "files/a/Thumbs.db", "._runs.parquet"):
        (out / name).write_text("x")
    for path in out.rglob("*"):
        os.utime(path, (1, 1))
    found = await verify(out, offline=True)
    assert found.is_complete, found.problems
    assert any(note.startswith("3 files next to the export") for note in found.notes)


async def test_a_verification_is_cancelled_while_it_reads_a_large_file(out: Path) -> None:
    endless(FIRST)(out)
    folder = LocalFolder(out)
    files = read_manifest(folder) or {}
    with folder.lock():
        write_manifest(folder, {**files, FIRST: FileDigest(1 << 40, "0" * 64)})
    with anyio.CancelScope() as scope:
        # Told of the files after it, which are read meanwhile.
        await verify(out, offline=True, on_progress=lambda _: scope.cancel())
    assert scope.cancelled_caught
