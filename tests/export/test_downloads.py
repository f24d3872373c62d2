"""Files and artifacts of runs are exported completely, and again only if they have changed."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from aiowandb import CommError, UsageError
from aiowandb.api.runs import Runs
from aiowandb.export import What
from tests.export.bucket import Bucket
from tests.export.conftest import Project, Server, contents, steps
from tests.support.artifacts import log_artifact

pytestmark = pytest.mark.anyio


@pytest.fixture
def with_files(project: Project) -> Project:
    for name in "ab":
        project.log(name, steps(0, 3))
        run = project.run(name)
        project.store.files.add(run, "output.log", f"log of {name}".encode())
        project.store.files.add(run, "media/x.txt", b"x")
        log_artifact(project.store, run, "model", {"weights.bin": name.encode()}, kind="model")
    return project


async def test_files_are_in_a_folder_per_run(with_files: Project, runs: Runs, out: Path) -> None:
    result = await runs.export(out, what=["files"])
    assert contents(out) == {
        "files/a/media/x.txt": b"x",
        "files/a/output.log": b"log of a",
        "files/b/media/x.txt": b"x",
        "files/b/output.log": b"log of b",
    }
    assert result.files == (out / "files",)


async def test_artifacts_are_in_a_folder_per_version(
    with_files: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, what=["artifacts"])
    assert contents(out) == {
        "artifacts/model-v0/weights.bin": b"a",
        "artifacts/model-v1/weights.bin": b"b",
    }


async def test_runs_that_gave_no_sign_of_life_are_asked_about_in_one_request(
    with_files: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, what=["files", "artifacts"])
    again = await runs.export(out, what=["files", "artifacts"])
    # The runs, then what was changed later of their files, and of their artifacts.
    assert (again.requests, again.downloads) == (3, 0)


async def test_only_files_that_have_changed_travel_again(
    with_files: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, what=["files"])
    with_files.log_system("b", [{"_timestamp": 1.0}])  # a sign of life
    with_files.store.files.add(with_files.run("b"), "output.log", b"more")
    again = await runs.export(out, what=["files"])
    assert again.downloads == 1
    assert contents(out)["files/b/output.log"] == b"more"


async def test_a_file_that_cannot_be_downloaded_is_reported_and_retried(
    with_files: Project, runs: Runs, out: Path
) -> None:
    in_the_way = out / "files" / "a" / "output.log" / "mine"
    in_the_way.mkdir(parents=True)
    for _ in range(2):
        result = await runs.export(out, what=["files"])
        assert [failure.run for failure in result.failed] == ["a"]
        assert "Cannot write" in str(result.failed[0].error)
    assert "files/b/output.log" in contents(out)
    in_the_way.rmdir()
    in_the_way.parent.rmdir()
    assert (await runs.export(out, what=["files"])).failed == ()
    assert contents(out)["files/a/output.log"] == b"log of a"


async def test_a_file_with_a_name_that_is_too_long_fails_alone_each_time(
    with_files: Project, runs: Runs, out: Path
) -> None:
    with_files.store.files.add(with_files.run("a"), "n" * 300, b"x")
    for _ in range(2):
        result = await runs.export(out, what=["files"])
        assert [failure.run for failure in result.failed] == ["a"]
        assert "File name too long" in str(result.failed[0].error)
    assert (out / "files/b/output.log").exists()


async def test_runs_do_not_fail_one_by_one_when_the_server_stops_answering(
    project: Project, runs: Runs, server: Server, out: Path
) -> None:
    for number in range(20):
        project.log(f"run-{number}", steps(0, 1))

    def breaks_off() -> bool:
        if server.pages_asked:  # the runs are known
            raise httpx.ReadError("connection reset")
        return False

    server.is_gone = breaks_off
    with pytest.raises(CommError, match="the connection broke"):
        await runs.export(out, what=["files"])


async def test_files_go_into_an_object_store(
    with_files: Project, runs: Runs, bucket: Bucket
) -> None:
    await runs.export(bucket.url, what=["files"])
    assert bucket.contents()["files/a/media/x.txt"] == b"x"


KINDS: list[What] = ["files", "artifacts"]
LOG_OF_B, WEIGHTS_OF_B = "files/b/output.log", "artifacts/model-v1/weights.bin"


@pytest.mark.slow
async def test_files_in_an_object_store_travel_again_only_if_they_have_changed(
    with_files: Project, runs: Runs, bucket: Bucket
) -> None:
    await runs.export(bucket.url, what=KINDS)
    with_files.log_system("b", [{"_timestamp": 1.0}])  # a sign of life
    assert (await runs.export(bucket.url, what=KINDS)).downloads == 0
    with_files.store.files.add(with_files.run("b"), "output.log", b"more")
    with_files.log_system("b", [{"_timestamp": 2.0}])
    assert (await runs.export(bucket.url, what=KINDS)).downloads == 1
    assert bucket.contents()[LOG_OF_B] == b"more"


@pytest.mark.parametrize("lost", [LOG_OF_B, WEIGHTS_OF_B])
async def test_a_file_that_was_deleted_in_the_folder_is_restored(
    with_files: Project, runs: Runs, out: Path, lost: str
) -> None:
    await runs.export(out, what=KINDS)
    before = contents(out)
    (out / lost).unlink()
    await runs.export(out, what=KINDS)
    assert contents(out) == before
    assert (await runs.export(out, what=KINDS)).requests == 3


@pytest.mark.slow
@pytest.mark.parametrize("lost", [LOG_OF_B, pytest.param(WEIGHTS_OF_B, marks=pytest.mark.slow)])
async def test_a_file_that_was_deleted_or_damaged_in_an_object_store_is_restored(
    with_files: Project, runs: Runs, bucket: Bucket, lost: str
) -> None:
    await runs.export(bucket.url, what=KINDS)
    before = bucket.contents()
    bucket.fs.delete_file(f"lake/wandb/{lost}")
    await runs.export(bucket.url, what=KINDS)
    assert bucket.contents() == before
    with bucket.fs.open_output_stream(f"lake/wandb/{lost}") as file:
        file.write(b"something else")
    await runs.export(bucket.url, what=KINDS)
    assert bucket.contents() == before
    assert (await runs.export(bucket.url, what=KINDS)).requests == 3


async def test_an_export_of_an_earlier_version_asks_again_and_fetches_nothing_again(
    with_files: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, what=["files"])
    journal = out / ".aiowandb-export" / "journal.jsonl"
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    for record in records:
        record.pop("files", None)
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    again = await runs.export(out, what=["files"])
    assert (again.requests, again.downloads) == (3, 0)
    (out / LOG_OF_B).unlink()
    assert (await runs.export(out, what=["files"])).downloads == 1


async def test_files_are_not_a_table_for_a_sink(runs: Runs) -> None:
    with pytest.raises(UsageError, match="histograms, not files"):
        await runs.export("-", what=["files"])


async def test_what_a_killed_export_has_downloaded_in_part_is_removed(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", steps(0, 3))
    project.store.files.add(project.run("a"), "mine.unfinished", b"mine")
    left = [
        out / "files" / "a" / ".00112233445566ff.unfinished",
        out / "files" / ".0123456789abcdef.unfinished",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half of it")
    await runs.export(out, what=["files"])
    assert contents(out) == {"files/a/mine.unfinished": b"mine"}
