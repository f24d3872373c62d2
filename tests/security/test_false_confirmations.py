"""A server that confirms what is not so: another object, nothing done, other content."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiowandb import AiowandbWarning, CommError, RetryPolicy, ServerError
from aiowandb.files import run_files
from aiowandb.paths import RunRef
from aiowandb.wire.artifact_writing import update_artifact, use_artifact
from aiowandb.wire.files import create_files
from aiowandb_server import RunChanges, Store
from tests.support.artifacts import log_artifact
from tests.support.tampering import connected

pytestmark = pytest.mark.anyio
PATH = "local/p/r"
AT_ONCE = RetryPolicy(random=lambda: 0.0, max_same_failures=1)


@pytest.fixture
def store(tmp_path: Path, new_folder: Callable[[Path], Path]) -> Iterator[Store]:
    with Store.open(new_folder(tmp_path / "wandb"), crash_after=float("inf")) as store:
        project, _ = store.projects.ensure("local", "p")
        run, _ = store.runs.upsert(project, "r", RunChanges())
        store.history.append(run, ['{"_step": 0, "loss": 1}'])
        store.files.add(run, "a.txt", b"before")
        store.files.add(run, "b.txt", b"another")
        log_artifact(store, run, "data", {"a.txt": b"a"})
        yield store


def saying(**instead: Any) -> Callable[[str, bytes], bytes]:
    """Puts these values into responses, by the name of the field of `data`, or of `project`."""

    def change(path: str, body: bytes) -> bytes:
        if path != "/graphql":
            return body
        answer = orjson.loads(body)
        for place in (answer["data"], answer["data"].get("project") or {}):
            for name in place.keys() & instead.keys():
                place[name] = merged(place[name], instead[name])
        return orjson.dumps(answer)

    return change


def merged(value: Any, instead: Any) -> Any:
    if isinstance(value, dict) and isinstance(instead, dict):
        return value | {key: merged(value.get(key), each) for key, each in instead.items()}
    return instead


async def test_a_deletion_that_was_not_done_is_an_error(store: Store) -> None:
    async with connected(store, saying(deleteFiles={"success": False}), retry=AT_ONCE) as api:
        file = await (await api.run(PATH)).file("a.txt")
        with pytest.raises(CommError, match="DeleteFiles: W&B did not do it"):
            await file.delete()


async def test_a_change_of_another_artifact_is_an_error(store: Store, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    other = {"artifact": {"id": "other"}}
    async with connected(
        store, saying(useArtifact=other, updateArtifact=other), retry=AT_ONCE
    ) as api:
        artifact = await (await api.run(PATH)).log_artifact("x", "t", tmp_path / "x")
        for change in (
            use_artifact(RunRef("local", "p", "r"), artifact.id),
            update_artifact(artifact.id, "", "{}"),
        ):
            with pytest.raises(ServerError, match="it is about artifact other, not "):
                await api._session.ask(change)


async def test_a_file_of_another_name_is_not_taken(store: Store) -> None:
    def other(path: str, body: bytes) -> bytes:
        return body.replace(b'"a.txt"', b'"b.txt"')

    async with connected(store, other, retry=AT_ONCE) as api:
        run = await api.run(PATH)
        with pytest.raises(ServerError, match=r"it is about file b\.txt, not a\.txt"):
            await run.file("a.txt")
        artifact = await api.artifact("local/p/data:v0")
        with pytest.raises(ServerError, match=r"it is about file b\.txt, not a\.txt"):
            _ = [file async for file in artifact.files(names=["a.txt"])]


async def test_an_upload_that_went_elsewhere_is_noticed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B lists the file that was there before, which has as many bytes."""
    monkeypatch.setattr(run_files, "_LISTED_AFTER_S", (0.0,))
    (tmp_path / "a.txt").write_text("after!")
    async with connected(store) as api:
        places = await api._session.ask(create_files(RunRef("local", "p", "r"), ["b.txt"]))
    other = {"files": [{"name": "a.txt", "uploadUrl": places.files[0].upload_url}]}
    async with connected(store, saying(createRunFiles=other), retry=AT_ONCE) as api:
        with pytest.warns(AiowandbWarning, match=r"a\.txt was uploaded .* of other content"):
            await (await api.run(PATH)).upload_file(tmp_path / "a.txt", root=tmp_path)


async def test_an_upload_of_which_wandb_knows_nothing_yet_is_no_warning(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_files, "_LISTED_AFTER_S", (0.0,))
    (tmp_path / "a.txt").write_text("after!")

    def late(path: str, body: bytes) -> bytes:
        return re.sub(rb'"md5":"[^"]*"', b'"md5":null', body).replace(b'"sizeBytes":6', b'"size":6')

    async with connected(store, late, retry=AT_ONCE) as api:
        file = await (await api.run(PATH)).upload_file(tmp_path / "a.txt", root=tmp_path)
        assert (file.name, file.size, file.md5) == ("a.txt", 0, None)


async def test_console_lines_that_are_missing_are_warned_of(store: Store) -> None:
    lie = saying(run={"logLineCount": 3, "logLines": {"edges": []}})
    async with connected(store, lie, retry=AT_ONCE) as api:
        run = await api.run(PATH)
        with pytest.warns(AiowandbWarning, match="counts 3 console lines of .* but lists only 0"):
            assert [line async for line in run.console_logs()] == []


async def test_a_run_whose_files_wandb_counts_but_does_not_list_is_exported(
    store: Store, tmp_path: Path
) -> None:
    """It says so of some runs that were logged offline. Its counts of files may be too high."""
    async with connected(store, saying(run={"fileCount": 7, "files": None})) as api:
        run = await api.run(PATH)
        with pytest.warns(AiowandbWarning, match="counts 7 files of run local/p/r but lists none"):
            assert [file async for file in run.files()] == []
        assert await run.metadata() is None
        with pytest.warns(AiowandbWarning, match="but lists none"):
            exported = await api.runs("local/p").export(tmp_path / "out", what=["files"])
        assert exported.failed == ()
    async with connected(store, saying(run={"fileCount": 7})) as api:
        run = await api.run(PATH)
        assert len([file async for file in run.files()]) == 2


async def test_rows_are_not_added_because_a_query_was_answered(store: Store) -> None:
    """A late response to a query may be taken for that to the next request of its connection."""

    def mixed(path: str, body: bytes) -> bytes:
        return b'{"data": {"viewer": null}}' if path.endswith("/file_stream") else body

    async with connected(store, mixed, retry=AT_ONCE) as api:
        run = await api.run(PATH)
        log = run.append()
        with pytest.raises(ServerError, match="Rows for local/p/r: W&B sent a response of the"):
            async with log:
                await log({"loss": 2})
        assert log.added == 0
