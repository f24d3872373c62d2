"""Exports into a real S3 server, and into file systems of fsspec."""

from __future__ import annotations

import socket
from itertools import count
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from aiowandb import ExportError, UsageError
from aiowandb.api.runs import Runs
from aiowandb.export import RunFinished
from aiowandb.export.folders import locate
from tests.export.bucket import Bucket
from tests.export.conftest import Project, Server, contents, steps

pytestmark = pytest.mark.anyio


async def test_s3_gets_what_a_folder_would_get(
    project: Project, runs: Runs, bucket: Bucket, out: Path
) -> None:
    for name in "ab":
        project.log(name, steps(0, 10))
    await runs.export(out)
    result = await runs.export(bucket.url)
    assert bucket.contents() == contents(out)
    assert result.files == (
        "s3://lake/wandb/runs.parquet",
        "s3://lake/wandb/history/part-00000.parquet",
    )
    assert pq.read_table("lake/wandb/history", filesystem=bucket.fs).num_rows == 20


async def test_s3_is_exported_into_again(
    project: Project, runs: Runs, bucket: Bucket, out: Path
) -> None:
    project.log("a", steps(0, 10), finish=False)
    await runs.export(bucket.url)
    assert (await runs.export(bucket.url)).requests == 1
    project.log("a", steps(10, 20))
    project.log("b", steps(0, 5, note="x"))
    await runs.export(bucket.url)
    await runs.export(out)
    assert bucket.contents() == contents(out)


@pytest.mark.slow
async def test_s3_keeps_what_was_finished_when_the_server_goes(
    small_parts: None, project: Project, runs: Runs, server: Server, bucket: Bucket, out: Path
) -> None:
    for number in range(40):  # more than are read ahead
        project.log(f"run-{number:02}", steps(0, 120))
    server.is_gone = lambda: bucket.has("history/part-00000.parquet")
    with pytest.raises(Exception, match="Could not connect to"):
        await runs.export(bucket.url)
    finished = bucket.contents()
    server.is_gone = lambda: False
    await runs.export(bucket.url)
    await runs.export(out)
    assert finished.items() <= bucket.contents().items()
    assert bucket.contents() == contents(out)


@pytest.mark.slow
async def test_s3_keeps_each_run_that_was_finished_when_the_server_goes(
    project: Project, runs: Runs, server: Server, bucket: Bucket, out: Path
) -> None:
    for number in range(40):  # in one part, which never ends
        project.log(f"run-{number:02}", steps(0, 120))
    finished: set[str] = set()

    def on_event(event: object) -> None:
        if isinstance(event, RunFinished):
            finished.add(event.run)

    answers = count()
    server.is_gone = lambda: next(answers) >= 30
    with pytest.raises(Exception, match="Could not connect to"):
        await runs.export(bucket.url, on_event=on_event)
    assert finished
    server.is_gone = lambda: False
    assert (await runs.export(bucket.url)).downloads <= 40 - len(finished)
    await runs.export(out)
    assert bucket.contents() == contents(out)


async def test_csv_goes_to_s3_too(project: Project, runs: Runs, bucket: Bucket) -> None:
    project.log("a", steps(0, 10))
    await runs.export(bucket.url, format="csv")
    assert bucket.contents().keys() == {"runs.csv", "history.csv"}


async def test_a_google_store_that_does_not_answer_fails_in_time(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locate, "GOOGLE_DEADLINE_SECONDS", 1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        where = f"endpoint_override=127.0.0.1:{unused.getsockname()[1]}&scheme=http"
        with pytest.raises(ExportError, match="Cannot write gs://lake/x.*UNAVAILABLE"):
            await runs.export(f"gs://anonymous@lake/x?{where}")


async def test_a_file_system_of_fsspec_works(project: Project, runs: Runs, out: Path) -> None:
    project.log("a", steps(0, 10))
    memory = fsspec.filesystem("memory")
    await runs.export("/lake", filesystem=memory)
    await runs.export(out)
    for name, content in contents(out).items():
        assert memory.cat(f"/lake/{name}") == content
    memory.rm("/lake", recursive=True)


async def test_a_file_url_is_a_folder(project: Project, runs: Runs, out: Path) -> None:
    await runs.export(out.as_uri())
    assert "runs.parquet" in contents(out)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("xyz://me:secret@lake/x", "^xyz://lake/x cannot be exported into"),
        ("s3:///x", "^s3:///x cannot be exported into: Missing bucket"),
        ("s3://", "^s3:// has no folder"),
        ("s3://me:secret@/", "^s3:/// has no folder|cannot be exported into"),
    ],
)
async def test_a_url_without_a_folder_is_refused(runs: Runs, url: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        await runs.export(url)
