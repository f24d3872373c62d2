"""What W&B has and the export has not is named, and such runs may not be deleted there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

import aiowandb.sync
from aiowandb import AiowandbWarning, AsyncApi, UsageError, Verification, verify
from aiowandb.export.folders.local import LocalFolder
from aiowandb.export.manifest import digest_of, read_manifest, write_manifest
from aiowandb_server import RunChanges
from tests.export.conftest import steps
from tests.support.artifacts import log_artifact
from tests.verification.conftest import Archive
from tests.verification.damages import JOURNAL, SECOND, STATE

pytestmark = pytest.mark.anyio
COPY = f"{STATE}/journal-copy.jsonl"
LOGS = "logs/part-00000.parquet"
HISTOGRAM = {"_type": "histogram", "values": [1, 2], "bins": [0, 1, 2]}


def reasons(found: Verification, run: str) -> str:
    return " ".join(next(each for each in found.runs if each.run == run).reasons)


async def test_what_was_logged_since_the_export_is_named(live: Archive) -> None:
    await live.export()
    project, store = live.project, live.store
    project.log("a", steps(60, 70))
    project.log_system("a", [{"_timestamp": 9.0, "system.cpu": 1}])
    store.files.add(project.run("b"), "more.txt", b"more")
    store.files.add(project.run("b"), "output.log", b"another log")
    summary = json.dumps({"loss": 0.5, "best": 1})
    store.runs.upsert(project._project, "b", RunChanges(summary=summary))
    log_artifact(store, project.run("c"), "late", {"x": b"x"})
    project.log("d", steps(0, 5))
    found = await live.verify()
    assert not found.is_complete
    assert found.may_be_deleted == []
    assert "history: 60 of 70 rows." in reasons(found, "a")
    assert "files: more.txt is not there." in reasons(found, "b")
    assert "files: output.log has another content at W&B." in reasons(found, "b")
    assert "summary: loss differ" in reasons(found, "b")
    assert "artifacts: 1 of 2 artifacts." in reasons(found, "c")
    assert "history: none of 5 rows." in reasons(found, "d")
    assert "not in the table of runs" in reasons(found, "d")


async def test_a_table_that_could_not_be_read_keeps_a_run_from_deletion(live: Archive) -> None:
    lost = "wandb-client-artifact://lost/t.table.json"
    table = {"_type": "table-file", "artifact_path": lost, "nrows": 1, "size": 1}
    live.project.log("d", [{"_step": 0, "t": table}])
    done = await live.export()
    assert [failure.run for failure in done.failed] == ["d"]
    found = await live.verify()
    assert not found.is_complete
    assert found.may_be_deleted == ["a", "b", "c"]
    assert "tables: the export could not read all of it." in reasons(found, "d")
    assert "tables: 0 of 1 tables, without t." in reasons(found, "d")


@pytest.mark.parametrize(
    ("table", "said"),
    [(SECOND, "history: 59 of 60 rows."), (LOGS, "logs: 4 of 5 console lines.")],
)
async def test_rows_that_were_removed_everywhere_in_the_folder_are_missed_by_wandb(
    archive: Archive, out: Path, table: str, said: str
) -> None:
    rows = pq.read_table(out / table, partitioning=None)
    pq.write_table(rows.slice(0, rows.num_rows - 1), out / table)
    for name in (JOURNAL, COPY):
        lines = [json.loads(line) for line in (out / name).read_text().splitlines()]
        for line in lines:
            if (
                line["record"] == "committed"
                and f"{line['dataset']}/{line['part']['file']}" == table
            ):
                line["part"]["size"] = (out / table).stat().st_size
                line["part"]["runs"][-1]["rows"] -= 1
        (out / name).write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    folder = LocalFolder(out)
    files = read_manifest(folder) or {}
    for name in (table, COPY):
        with folder.open(name) as file:
            files[name] = digest_of(file)
    write_manifest(folder, files)
    assert (await verify(out, offline=True)).is_complete  # there is no secret in the folder
    async with archive.client() as api:
        found = await verify(out, api=api)
    assert found.may_be_deleted == ["a", "b"]
    assert reasons(found, "c") == said


async def test_media_logged_to_a_run_that_was_exported_without_its_history_are_noticed(
    live: Archive,
) -> None:
    live.project.log("d", [{"_step": 0, "h": HISTOGRAM}], finish=False)
    await live.export(what=["media", "histograms"])
    live.project.log("d", [{"_step": 1, "h": HISTOGRAM}])
    told = reasons(await live.verify(), "d")
    assert "media: 1 of 2 values." in told
    assert "histograms: 1 of 2 histograms." in told


@pytest.mark.parametrize("format", ["parquet", pytest.param("csv", marks=pytest.mark.slow)])
async def test_what_people_change_of_a_run_that_has_ended_is_noticed(
    live: Archive, format: str
) -> None:
    await live.export(format=format)
    assert (await live.verify()).is_complete
    changes = RunChanges(
        tags=["keep"],
        display_name="the best",
        notes="see the paper",
        description="the last one",
        state="killed",
        git_commit="c0ffee",
        group="chosen",
        job_type="eval",
        summary=json.dumps({"loss": 0.5, "best": 1}),
        config=json.dumps({"lr": {"value": 7}}),
    )
    live.store.runs.upsert(live.project._project, "b", changes)
    live.project.join_sweep("b", live.project.make_sweep("{method: grid}"))
    found = await live.verify()
    assert found.may_be_deleted == ["a", "c"]
    assert reasons(found, "b") == (
        "config: lr differ at W&B. summary: loss differ at W&B. runs: name, state, tags, group,"
        " job_type, notes, description, sweep, commit differ at W&B."
    )
    await live.export(format=format)
    assert (await live.verify()).is_complete


async def test_a_config_that_is_no_json_keeps_its_run_from_deletion_and_hides_no_other(
    live: Archive,
) -> None:
    live.project.damage("b", "config")
    await live.export()
    found = await live.verify()
    assert found.may_be_deleted == ["a", "c"]
    assert reasons(found, "b") == "runs: the export could not read all of it."
    live.project.configure("b", {"lr": 7})
    found = await live.verify()
    assert found.may_be_deleted == ["a", "c"]
    assert reasons(found, "b").endswith("config: it differs at W&B.")
    await live.export()
    assert (await live.verify()).is_complete


@pytest.mark.slow
async def test_integers_that_no_float_has_keep_a_run_from_deletion_unless_they_are_in_rows(
    live: Archive, tmp_path: Path
) -> None:
    large = [2**53 + 1, 2**62 + 3, -(2**63), 2**63 - 1]
    live.project.log("d", [{"_step": step, "ns": value} for step, value in enumerate(large)])
    live.project.log("e", [{"_step": 0, "ns": 2**60}])
    with pytest.warns(AiowandbWarning, match=r"history of d: integers beyond 2\^53 were rounded"):
        await live.export()
    found = await live.verify()
    assert found.is_complete
    assert sorted(found.may_be_deleted) == ["a", "b", "c", "e"]
    assert "integers beyond 2^53 were rounded" in reasons(found, "d")
    live.project.log("d", [{"_step": 9, "ns": 1}])
    with pytest.warns(AiowandbWarning, match="history of d"):
        await live.export()
    assert "integers beyond 2^53 were rounded" in reasons(await live.verify(), "d")
    exact = Archive(live.store, tmp_path / "long")
    await exact.export(layout="long", format="jsonl")
    assert "d" in (await exact.verify()).may_be_deleted
    rows = map(json.loads, (tmp_path / "long" / "history.jsonl").read_text().splitlines())
    values = [row["value"] for row in rows if (row["run_id"], row["key"]) == ("d", "ns")]
    assert values == [*large, 1]


async def test_what_was_not_to_be_exported_keeps_a_run_from_deletion_and_is_no_damage(
    live: Archive,
) -> None:
    await live.export(what=["runs", "history"], keys=["loss"])
    found = await live.verify()
    assert found.is_complete
    assert found.may_be_deleted == []
    told = reasons(found, "a")
    assert "system: 4 system metrics were not to be exported." in told
    assert "files: 2 files were not to be exported." in told
    assert "artifacts: 1 artifact was not to be exported." in told
    assert "history: only what keys selects was to be exported." in told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_step": 5}, "only what max_step selects"),
        ({"min_step": 1000}, "only what min_step selects"),
        ({"exclude": ["loss"]}, "only what exclude selects"),
        ({"samples": 5}, "only a sample"),
    ],
)
async def test_rows_that_were_not_to_be_exported_are_no_damage_and_later_ones_are_noticed(
    live: Archive, options: dict[str, Any], said: str
) -> None:
    await live.export(what=["runs", "history"], **options)
    found = await live.verify()
    assert found.is_complete
    assert f"history: {said}" in reasons(found, "a")
    live.project.log("a", steps(60, 61))
    later = await live.verify()
    assert [run.run for run in later.runs if run.short] == ["a"]


async def test_a_run_that_may_still_log_may_not_be_deleted(live: Archive) -> None:
    live.project.log("e", steps(0, 3), finish=False)
    await live.export()
    found = await live.verify()
    assert found.is_complete
    assert found.may_be_deleted == ["a", "b", "c"]
    assert "it is running, and may still log." in reasons(found, "e")


async def test_a_run_that_was_deleted_at_wandb_is_kept_and_said_to_be_gone(live: Archive) -> None:
    await live.export()
    live.project.delete("b")
    await live.export()
    found = await live.verify()
    assert found.is_complete
    assert found.may_be_deleted == ["a", "c"]
    assert "Run b no longer exists at W&B." in found.notes


async def test_the_files_of_a_project_that_is_gone_are_verified_all_the_same(live: Archive) -> None:
    await live.export()
    live.store.projects.delete(live.project._project.id)
    found = await live.verify()
    assert found.is_complete
    assert not found.is_compared
    assert found.may_be_deleted == []
    assert any("Could not find project local/demo" in note for note in found.notes)


@pytest.mark.parametrize(
    "format", ["csv", *(pytest.param(name, marks=pytest.mark.slow) for name in ("jsonl", "arrow"))]
)
async def test_other_formats_are_verified_too(live: Archive, format: str) -> None:
    await live.export(format=format)
    found = await live.verify()
    assert found.is_complete, found.problems
    assert found.may_be_deleted == ["a", "b", "c"]
    table = live.pristine / f"history.{format}"
    table.write_bytes(table.read_bytes()[:-40])
    (live.pristine / ".aiowandb-export" / "manifest.jsonl").unlink()
    told = [str(problem) for problem in (await live.verify()).problems]
    assert any(f"history.{format}: it has" in text for text in told)
    if format != "arrow":
        assert any("rows instead of 180" in text for text in told)


async def test_a_client_of_another_host_is_refused(live: Archive) -> None:
    await live.export()
    async with AsyncApi("k" * 40, base_url="https://elsewhere.example") as api:
        with pytest.raises(UsageError, match="is of wandb.in-process, and this client is one of"):
            await verify(live.pristine, api=api)


async def test_a_key_is_never_sent_to_a_host_that_only_the_folder_names(
    live: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live.export()
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    found = await verify(live.pristine)
    assert not found.is_compared
    assert any("it is of wandb.in-process" in note for note in found.notes)


async def test_a_folder_without_an_export_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(aiowandb.ExportError, match="has no export"):
        await verify(tmp_path)


def test_the_synchronous_function_verifies_with_and_without_a_client(
    archive: Archive, out: Path
) -> None:
    found = aiowandb.sync.verify(out, offline=True)
    assert found.is_complete
    assert found.may_be_deleted == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"folder": 5}, "folder must be"),
        ({"folder": "x", "api": "key"}, "api must be"),
        ({"folder": "x", "offline": 1}, "offline must be"),
        ({"folder": "x", "filesystem": "s3"}, "filesystem must be"),
        ({"folder": "x", "on_progress": 1}, "on_progress must be"),
    ],
)
async def test_wrong_arguments_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        await verify(**arguments)


async def test_the_client_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(UsageError, match=r"an AsyncApi, .*: `aiowandb.sync.verify` takes")
    with aiowandb.sync.Api.local(tmp_path) as api, refused:
        await verify(tmp_path, api=api)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="api must be an Api"):
        aiowandb.sync.verify(tmp_path, api=AsyncApi.local(tmp_path))  # type: ignore[arg-type]
