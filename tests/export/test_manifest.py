"""Every export ends with a manifest of its files, and hashes only those that it has written."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiowandb import CommError, verify
from aiowandb.api.runs import Runs
from aiowandb.export import sealing
from aiowandb.export.folders import hashing
from aiowandb.export.folders.local import LocalFolder
from aiowandb.export.manifest import MANIFEST, FileDigest, digest_of, read_manifest
from tests.export.bucket import Bucket
from tests.export.conftest import Project, Server, contents, steps
from tests.support.artifacts import log_artifact

pytestmark = pytest.mark.anyio


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all files that are hashed."""
    sizes: list[int] = []

    def counted(file: Any, *others: Any) -> FileDigest:
        found = digest_of(file, *others)
        sizes.append(found.size)
        return found

    monkeypatch.setattr(hashing, "digest_of", counted)
    return sizes


@pytest.mark.parametrize("format", ["parquet", "csv", "delta"])
async def test_the_manifest_has_every_file_of_the_export(
    project: Project, runs: Runs, out: Path, format: Any
) -> None:
    project.log("a", steps(0, 30))
    project.store.files.add(project.run("a"), "output.log", b"log")
    log_artifact(project.store, project.run("a"), "model", {"w.bin": b"w"}, xxh128=True)
    await runs.export(out, what=["runs", "history", "files", "artifacts"], format=format)
    found = read_manifest(LocalFolder(out))
    assert found
    assert found.keys() >= contents(out).keys()
    for name, digest in found.items():
        content = (out / name).read_bytes()
        assert digest == FileDigest(len(content), hashlib.sha256(content).hexdigest())


async def test_a_later_export_hashes_only_what_it_has_written(
    project: Project, runs: Runs, out: Path, hashed: list[int], small_parts: None
) -> None:
    for name in "abc":
        project.log(name, steps(0, 100))
        project.store.files.add(project.run(name), "output.log", b"log")
    what: Any = ["history", "files"]
    await runs.export(out, what=what)
    before = (out / MANIFEST).read_bytes()
    hashed.clear()
    await runs.export(out, what=what)
    assert hashed == []
    assert (out / MANIFEST).read_bytes() == before
    project.log("d", steps(0, 100))
    await runs.export(out, what=what)
    part = (out / "history" / "part-00003.parquet").stat().st_size
    assert part in hashed
    # The part, and of the state of the export what is longer than the seal.
    assert len([size for size in hashed if size > 200]) <= 3


@pytest.mark.slow
async def test_an_artifact_with_xxh128_that_is_there_is_not_fetched_again(
    project: Project, runs: Runs, out: Path, bucket: Bucket
) -> None:
    project.log("a", steps(0, 3))
    log_artifact(project.store, project.run("a"), "model", {"w.bin": b"w" * 99}, xxh128=True)
    for place in (out, bucket.url):
        assert (await runs.export(place, what=["artifacts"])).downloads > 0
    project.log_system("a", [{"_timestamp": 1.0}])  # a sign of life: W&B is asked again
    log_artifact(project.store, project.run("a"), "more", {"v.bin": b"v"}, xxh128=True)
    for place in (out, bucket.url):
        again = await runs.export(place, what=["artifacts"])
        assert again.failed == ()
        # The manifest of the new one, and its file; the other manifest, if it was not cached.
        assert again.downloads <= 3
        assert (await verify(place, offline=True)).is_complete
    assert contents(out)["artifacts/more-v0/v.bin"] == b"v"
    assert bucket.contents()["artifacts/more-v0/v.bin"] == b"v"


@pytest.mark.slow
async def test_an_export_in_an_object_store_is_verified_too(
    project: Project, runs: Runs, bucket: Bucket
) -> None:
    project.log("a", steps(0, 30))
    project.store.files.add(project.run("a"), "output.log", b"log")
    await runs.export(bucket.url, what=["runs", "history", "files"])
    assert (await verify(bucket.url, offline=True)).is_complete
    with bucket.fs.open_output_stream("lake/wandb/files/a/output.log") as file:
        file.write(b"gol")
    found = await verify(bucket.url, offline=True)
    assert [str(each) for each in found.problems] == [
        "files/a/output.log: its content has changed."
    ]
    await runs.export(bucket.url, what=["runs", "history", "files"], repair=True)
    assert (await verify(bucket.url, offline=True)).is_complete


async def test_an_export_that_is_resumed_leaves_a_true_manifest(
    project: Project, runs: Runs, server: Server, out: Path, small_parts: None
) -> None:
    project.log("a", steps(0, 100))
    project.log("b", steps(0, 20), finish=False)
    await runs.export(out)
    project.log("b", steps(20, 100))
    project.log("c", steps(0, 100))

    def breaks_off() -> bool:
        if (out / "history" / "part-00002.parquet").exists() or len(server.pages_asked) > 1:
            raise httpx.ReadError("connection reset")
        return False

    server.is_gone = breaks_off
    with pytest.raises(CommError):
        await runs.export(out)
    server.is_gone = lambda: False
    interrupted = await verify(out, offline=True)
    await runs.export(out)
    found = await verify(out, offline=True)
    assert found.is_complete, (found.problems, interrupted.problems)


async def test_a_damaged_file_is_not_made_official_by_the_next_export(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", steps(0, 30))
    project.store.files.add(project.run("a"), "output.log", b"log")
    await runs.export(out, what=["history", "files"])
    (out / "files" / "a" / "output.log").write_bytes(b"gol")
    project.log("b", steps(0, 30))
    await runs.export(out, what=["history", "files"])
    found = await verify(out, offline=True)
    assert [problem.where for problem in found.problems] == ["files/a/output.log"]


async def test_a_folder_of_an_earlier_version_gets_a_manifest_without_damaged_files(
    project: Project, runs: Runs, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project.log("a", steps(0, 30))
    for name in ("output.log", "other.log"):
        project.store.files.add(project.run("a"), name, b"log")
    await runs.export(out, what=["history", "files"])
    (out / MANIFEST).unlink()
    (out / ".aiowandb-export" / "journal-copy.jsonl").unlink()
    (out / "files" / "a" / "output.log").write_bytes(b"gol")
    with caplog.at_level(logging.WARNING, sealing.__name__):
        await runs.export(out, what=["history", "files"])
    assert "output.log is not the file that was downloaded" in caplog.text
    found = await verify(out, offline=True)
    assert [problem.where for problem in found.problems] == ["files/a/output.log"]


async def test_a_new_export_in_the_place_of_another_has_only_its_own_files(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", steps(0, 30))
    project.store.files.add(project.run("a"), "output.log", b"log")
    await runs.export(out, what=["runs", "history", "files"])
    await runs.export(out, what=["history"], format="csv", overwrite=True)
    assert (await verify(out, offline=True)).is_complete
    found = read_manifest(LocalFolder(out))
    assert found
    assert {name for name in found if not name.startswith(".")} == {"history.csv"}
