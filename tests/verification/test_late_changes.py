"""What people change of runs that have ended: verified, exported again, and the same as new."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aiowandb.export.originals import OriginalArtifact, read_artifact
from tests.export.conftest import contents
from tests.support.artifacts import log_artifact
from tests.verification.conftest import Archive
from tests.verification.damages import JOURNAL, STATE
from tests.verification.test_source import reasons

pytestmark = pytest.mark.anyio


def described(archive: Archive, name: str) -> OriginalArtifact:
    return read_artifact((archive.pristine / STATE / "artifacts" / f"{name}.json").read_bytes())


def change_model_of_b(archive: Archive, **changes: object) -> None:
    project, store = archive.project._project, archive.store
    collection = store.collections.ensure(project, "model-b", "model")
    version = store.artifacts.latest(collection.id)
    assert version
    if alias := changes.pop("alias", None):
        store.collections.add_alias(collection, version.id, str(alias))
    store.artifacts.change(version, **changes)  # type: ignore[arg-type]


async def assert_as_new(archive: Archive, tmp_path: Path) -> None:
    """The export is complete, and the same as one that is made now."""
    found = await archive.verify()
    assert found.is_complete, [*found.problems, *found.short, *map(str, found.runs)]
    fresh = Archive(archive.store, tmp_path / "fresh")
    await fresh.export()
    # The state is that of the same files; only their history is another one.
    assert contents(fresh.pristine) == contents(archive.pristine)
    of_artifacts = sorted((fresh.pristine / STATE / "artifacts").iterdir())
    assert of_artifacts
    for path in of_artifacts:
        there = archive.pristine / STATE / "artifacts" / path.name
        assert there.read_bytes() == path.read_bytes()


@pytest.mark.slow
async def test_what_is_written_about_an_artifact_later_is_exported_without_a_download(
    live: Archive, tmp_path: Path
) -> None:
    await live.export()
    change_model_of_b(live, alias="production", metadata='{"score": 0.5}', description="the best")
    change_model_of_b(live, add_tags=["chosen"])
    found = await live.verify()
    assert found.may_be_deleted == ["a", "c"]
    assert reasons(found, "b") == (
        "artifacts: model-b-v0 has other aliases and tags and description and metadata at W&B."
    )
    again = await live.export()
    # The runs, sweeps and reports, what was changed of files, and of artifacts.
    assert (again.requests, again.downloads) == (5, 0)
    assert described(live, "model-b-v0").description == "the best"
    change_model_of_b(live, remove_tags=["chosen"])
    await live.export()
    assert described(live, "model-b-v0").tags == []
    await assert_as_new(live, tmp_path)


@pytest.mark.parametrize("gone", ["deleted", pytest.param("renamed", marks=pytest.mark.slow)])
async def test_an_artifact_with_the_name_of_a_former_one_leaves_its_files_alone(
    live: Archive, gone: str
) -> None:
    await live.export()
    former = live.store.collections.ensure(live.project._project, "model-b", "model")
    if gone == "deleted":
        live.store.collections.delete(former.id)
    else:
        live.store.collections.change(former.id, name="former")
    new = {"weights.bin": b"of another one"}
    log_artifact(live.store, live.project.run("c"), "model-b", new, kind="model")
    assert not (await live.export()).failed
    found = await live.verify()
    assert found.is_complete
    assert found.may_be_deleted == ["a", "b", "c"]
    artifacts = live.pristine / "artifacts"
    assert (artifacts / "model-b-v0/weights.bin").read_bytes() == b"weights of b" * 50
    [folder] = artifacts.glob("model-b-v0~*")
    assert (folder / "weights.bin").read_bytes() == b"of another one"
    version = live.store.collections.ensure(live.project._project, "model-b", "model")
    latest = live.store.artifacts.latest(version.id)
    assert latest
    live.store.artifacts.change(latest, description="said later")
    assert (await live.export()).downloads == 0
    assert described(live, folder.name).description == "said later"


async def test_another_type_of_an_artifact_is_noticed_and_exported(live: Archive) -> None:
    await live.export()
    collection = live.store.collections.ensure(live.project._project, "model-b", "model")
    live.store.collections.change(collection.id, type_name="checkpoint")
    assert reasons(await live.verify(), "b") == "artifacts: model-b-v0 has other type at W&B."
    assert (await live.export()).downloads == 0
    assert described(live, "model-b-v0").type == "checkpoint"
    assert (await live.verify()).is_complete


@pytest.mark.slow
async def test_files_and_versions_that_come_later_are_exported_and_no_others_are_read(
    live: Archive, tmp_path: Path
) -> None:
    await live.export()
    store, project = live.store, live.project
    store.files.add(project.run("a"), "more.txt", b"more")
    store.files.add(project.run("b"), "output.log", b"another log")
    log_artifact(store, project.run("c"), "model-c", {"weights.bin": b"new"}, kind="model")
    version = store.artifacts.latest(
        store.collections.ensure(project._project, "model-a", "model").id
    )
    assert version
    store.artifacts.use(project.run("b"), version)
    found = await live.verify()
    assert "files: more.txt is not there." in reasons(found, "a")
    assert "files: output.log has another content at W&B." in reasons(found, "b")
    assert "artifacts: the run has used others since." in reasons(found, "b")
    assert "artifacts: 1 of 2 artifacts." in reasons(found, "c")
    again = await live.export()
    # Two files, the manifest of the new version, and its file; and, because it may have tables,
    # the history of its run and its manifest.
    assert again.downloads == 6
    assert described(live, "model-c-v0").aliases == []  # `latest` is the new one's
    await assert_as_new(live, tmp_path)
    assert (await live.export()).requests == 5


@pytest.mark.slow
async def test_what_an_earlier_version_did_not_note_is_compared_and_nothing_fetched(
    live: Archive, tmp_path: Path
) -> None:
    await live.export()
    lines = [json.loads(line) for line in (live.pristine / JOURNAL).read_text().splitlines()]
    for line in lines:
        line.pop("described", None)
    (live.pristine / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))
    change_model_of_b(live, alias="production")
    again = await live.export()
    assert (again.requests, again.downloads) == (5, 0)
    assert "production" in described(live, "model-b-v0").aliases
    await assert_as_new(live, tmp_path)


@pytest.mark.slow
async def test_a_kill_after_an_artifact_was_described_again_leaves_nothing_damaged(
    live: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiowandb.export import pipeline

    def killed(*_: object) -> None:
        raise RuntimeError("killed")

    await live.export()
    change_model_of_b(live, alias="production")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "seal_folder", killed)
        with pytest.raises(RuntimeError, match="killed"):
            await live.export()
    await live.export()
    await assert_as_new(live, tmp_path)


def add_report(archive: Archive) -> None:
    archive.project.add_report("Late", '{"blocks": [3]}')


def add_sweep(archive: Archive) -> None:
    archive.project.make_sweep("{method: grid, parameters: {lr: {values: [1]}}}")


def edit_report(archive: Archive) -> None:
    with archive.store._database.write() as connection:
        connection.execute("UPDATE report SET spec = ?", ('{"blocks": [4]}',))


def stop_sweep(archive: Archive) -> None:
    with archive.store._database.write() as connection:
        connection.execute("UPDATE sweep SET state = 'CANCELED'")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(add_report, "reports: Late are not there.", marks=pytest.mark.slow),
        (edit_report, "reports: Early differ at W&B."),
        pytest.param(add_sweep, "are not in the table.", marks=pytest.mark.slow),
        (stop_sweep, "differ at W&B."),
    ],
)
async def test_sweeps_and_reports_that_differ_at_wandb_are_named(
    live: Archive, change: Callable[[Archive], None], said: str
) -> None:
    live.project.add_report("Early", '{"blocks": [2]}')
    live.project.make_sweep("{method: random}")
    await live.export(what=["sweeps", "reports"])
    assert (await live.verify()).is_complete
    change(live)
    found = await live.verify()
    assert not found.is_complete
    assert [text for text in found.short if said in text] == found.short
    assert found.short
    await live.export(what=["sweeps", "reports"])
    assert (await live.verify()).is_complete
