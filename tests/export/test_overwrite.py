"""With `overwrite`, the files of the last export are removed, in any format, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiowandb.api.runs import Runs
from aiowandb.export import What
from aiowandb.export.folders.local import LocalFolder
from tests.export.bucket import Bucket
from tests.export.conftest import Project, contents, steps
from tests.support.artifacts import log_artifact

pytestmark = pytest.mark.anyio

ALL: list[What] = ["runs", "history", "system", "files", "artifacts"]
FORMS: list[dict[str, Any]] = [
    {},
    {"split": "run"},
    {"format": "csv"},
    {"format": "jsonl", "split": "run"},
    {"format": "arrow", "layout": "long"},
    {"format": "delta"},
]
MINE = ["mine.txt", "runs/notes.md", "history/mine.parquet", "files/a/mine.txt", "history.txt"]


@pytest.fixture
def with_everything(project: Project) -> Project:
    for name in ("a", "b", "_c"):
        project.log(name, steps(0, 3))
        project.log_system(name, [{"_timestamp": 1.0, "system.cpu": 1}])
        run = project.run(name)
        project.store.files.add(run, "output.log", name.encode())
        log_artifact(project.store, run, "model", {"deep/weights.bin": name.encode()}, kind="model")
    return project


def write_mine(folder: Path) -> dict[str, bytes]:
    for name in MINE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"precious")
    return dict.fromkeys(MINE, b"precious")


@pytest.mark.parametrize(
    "form", [*FORMS[:2], *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS[2:])]
)
async def test_every_format_goes_and_what_is_not_ours_stays(
    with_everything: Project, runs: Runs, out: Path, tmp_path: Path, form: dict[str, Any]
) -> None:
    await runs.export(out, what=ALL, **form)
    mine = write_mine(out)
    await runs.export(out, what=["runs"], format="jsonl", overwrite=True)
    await runs.export(tmp_path / "fresh", what=["runs"], format="jsonl")
    assert contents(out) == mine | contents(tmp_path / "fresh")
    assert not (out / "artifacts").exists()
    await runs.export(out, what=["runs"], format="jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
async def test_every_format_goes_from_an_object_store(
    with_everything: Project, runs: Runs, bucket: Bucket, out: Path, form: dict[str, Any]
) -> None:
    await runs.export(bucket.url, what=ALL, **form)
    await runs.export(bucket.url, what=["runs"], format="jsonl", overwrite=True)
    await runs.export(out, what=["runs"], format="jsonl")
    assert bucket.contents() == contents(out)
    assert (await runs.export(bucket.url, what=["runs"], format="jsonl")).runs == 3


async def test_tables_go_that_an_earlier_version_has_left_behind(
    with_everything: Project, runs: Runs, out: Path, tmp_path: Path
) -> None:
    await runs.export(out, what=ALL, format="delta")
    (out / ".aiowandb-export" / "journal.jsonl").unlink()
    left = contents(out)
    await runs.export(tmp_path / "parquet")
    for place in (out, tmp_path / "parquet"):
        for name, content in left.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        await runs.export(place, what=["runs"], overwrite=True)
        tables = [name for name in contents(place) if not name.startswith(("files/", "artifacts/"))]
        assert tables == ["runs.parquet"]


async def test_a_table_without_a_journal_is_not_exported_into(
    with_everything: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, format="delta")
    (out / ".aiowandb-export" / "journal.jsonl").unlink()
    with pytest.raises(Exception, match=r"has (runs|history)/.*, but no journal"):
        await runs.export(out, what=["system"])


async def test_an_export_that_was_killed_while_it_discards_can_be_repeated(
    with_everything: Project,
    runs: Runs,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await runs.export(out, what=ALL)
    mine = write_mine(out)
    removed: list[str] = []
    remove = LocalFolder.remove

    def killed(self: LocalFolder, name: str) -> None:
        if len(removed) >= 4:
            raise ZeroDivisionError
        remove(self, name)
        removed.append(name)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "remove", killed)
        with pytest.raises(ZeroDivisionError):
            await runs.export(out, what=["runs"], overwrite=True)
    await runs.export(out, what=["runs"], overwrite=True)
    await runs.export(tmp_path / "fresh", what=["runs"])
    assert contents(out) == mine | contents(tmp_path / "fresh")
