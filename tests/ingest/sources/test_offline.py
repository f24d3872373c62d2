"""Runs from `.wandb` files: everything in them, as far as it can be read."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aiowandb import AsyncApi, ContentError, OfflineSource, Run, UsageError
from aiowandb.ingest.sources.offline_records import metrics_line
from aiowandb.ingest.sources.protobuf import Message
from aiowandb.ingest.sources.wandb_log import LogReader
from tests.ingest.sources import wandb_files as files

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
TARGET = "local/imported"
START = 1_700_000_000.25
# Files that an import makes as wandb does.
MADE = {"wandb-metadata.json", "wandb-summary.json"}


async def imported(api: AsyncApi, source: Any, run_id: str = "r", **options: Any) -> Run:
    report = await api.import_runs(source, TARGET, verify=True, **options)
    assert (report.failed, report.differences) == ([], [])
    return await api.run(f"{TARGET}/{run_id}", fresh=True)


async def test_everything_of_a_log_is_in_the_run(target: AsyncApi, tmp_path: Path) -> None:
    config = {"lr": 0.1, "net": {"depth": 3}, "gone": 1, "none": None}
    words = {"f6": "g", "f7": "train", "f8": "A run", "f9": "notes", "f10": ["b", "a"]}
    git = files.message(f1="https://example.com/x.git", f2="abc123")
    defined = files.message(f3=1)
    machine = files.message(f12="box", f7="train.py", f3=files.moment(START), f199="w", f16=8)
    telemetry = files.message(f3=files.message(f2=1, f7=1), f4="3.11.7", f5="0.31.0")
    records = [
        files.message(f21=files.message(f1=files.message(f1="0.31.0"))),
        files.run("r", config, **words, f21=git),
        files.message(f26=machine),
        files.message(f11=telemetry),
        files.message(f12=files.message(f1="loss", f6=defined, f7=files.message(f1=1))),
        files.message(f12=files.message(f2="val/*", f4="epoch", f6=files.message(f1=1, f3=1))),
        files.config({"net>width": 8}, removed=["gone"]),
        files.stats(START + 1.5, cpu=12.5),
        files.history(0, **{"loss": "NaN", "nest>x": 1, "dot.key": 1, "none": None}),
        files.history(5, loss=0.5, big=2**60 + 1, one="1.0", text='"é\\n"'),
        files.summary({"loss": {"min": 0.5}, "dot.key": 1, "extra": 1}),
        files.summary({"_step": 5, "loss>max": 1}, removed=["extra"]),
        files.output("progress 1", START + 1),
        files.output("\rprogress 2\nnext", START + 2),
        files.output("oh\n", START + 3, stderr=True),
        files.exit_record(3),
    ]
    log = files.write_run(tmp_path, "r", records)
    (log.parent / "files" / "media").mkdir(parents=True)
    (log.parent / "files" / "media" / "a.png").write_bytes(b"png")
    run = await imported(target, tmp_path)
    assert (run.name, run.notes, run.tags, run.group, run.job_type) == (
        *("A run", "notes", ["b", "a"], "g", "train"),
    )
    assert (run.state, run.commit) == ("failed", "abc123")
    assert run.created_at == datetime.fromtimestamp(int(START), UTC)
    assert run.heartbeat_at == datetime.fromtimestamp(int(START) + 7, UTC)
    net = {"depth": 3, "width": 8}
    assert {name: run.config[name] for name in ("lr", "net", "none")} == {
        "lr": 0.1,
        "net": net,
        "none": None,
    }
    assert "gone" not in run.config
    own = run.raw_config["_wandb"]["value"]
    assert own["m"] == [
        {"1": "loss", "6": [3], "7": [1]},
        {"2": "val/*", "5": 3, "6": [1], "7": []},
        {"1": "epoch", "6": [], "7": []},
    ]
    assert own["t"] == {"3": [2, 7], "4": "3.11.7", "5": "0.31.0"}
    assert own["e"]["w"] == {
        "host": "box",
        "codePath": "train.py",
        "startedAt": "2023-11-14T22:13:20.250Z",
        "writerId": "w",
        "cpu_count": 8,
    }
    assert run.summary_metrics == {"loss": {"min": 0.5, "max": 1}, "dot.key": 1, "_step": 5}
    rows = [row async for row in run.scan_history()]
    assert rows[0]["loss"] != rows[0]["loss"]
    assert (rows[0]["nest.x"], rows[0]["dot.key"]) == (1, 1)
    assert (rows[1]["big"], rows[1]["text"], rows[1]["_step"]) == (2**60 + 1, "é\n", 5)
    (metrics,) = [row async for row in run.scan_history(stream="system")]
    assert metrics == {
        "_wandb": True,
        "_timestamp": START + 1.5,
        "_runtime": 1.5,
        "system.cpu": 12.5,
    }
    lines = [(line.content, line.level) async for line in run.console_logs()]
    assert lines == [("progress 2", ""), ("oh", "error"), ("next", "")]
    first = [line.timestamp async for line in run.console_logs()][0]
    assert first == datetime.fromtimestamp(START + 1, UTC)
    names = {file.name async for file in run.files()}
    assert names == {"media/a.png", "wandb-metadata.json", "wandb-summary.json"}


async def test_runtimes_have_the_digits_that_wandb_computes() -> None:
    stats = Message(files.message(f2=files.message(f1=1, f2=550_811_217)))
    assert '"_runtime":1.5508112170000001' in metrics_line(stats, started=0)


async def test_a_log_is_imported_once_and_then_only_what_is_new(
    target: AsyncApi, tmp_path: Path
) -> None:
    records = [files.run("r"), *(files.history(n, x=n) for n in range(50))]
    files.write_run(tmp_path, "r", records)
    run = await imported(target, tmp_path)
    assert (run.state, run.summary["x"]) == ("crashed", 49)
    again = await target.import_runs(tmp_path, TARGET)
    assert (again.counts, again.carried) == ({"unchanged": 1}, {})
    # The script was still running.
    files.write_run(tmp_path, "r", [*records, files.history(60, x=60), files.exit_record()])
    (tmp_path / "moved").mkdir()
    next(tmp_path.glob("offline*")).rename(tmp_path / "moved" / "offline-run-20260102_030405-r")
    report = await target.import_runs(tmp_path / "moved", TARGET)
    assert report.counts == {"updated": 1}
    assert report.carried["rows"] == 1
    run = await target.run(f"{TARGET}/r", fresh=True)
    assert (run.state, run.summary["x"], run.history_line_count) == ("finished", 60, 51)


async def test_a_log_that_is_cut_anywhere_is_read_as_far_as_it_goes(
    target: AsyncApi, tmp_path: Path
) -> None:
    rows = [files.history(n, x="[" + ",".join(["1"] * 3000) + "]") for n in range(12)]
    whole = files.log([files.run("r"), *rows, files.exit_record()])
    ends = [len(files.log([files.run("r"), *rows[:n]])) for n in range(13)]
    path = tmp_path / "run-r.wandb"
    for size in [*range(0, len(whole), 997), len(whole) - 1]:
        path.write_bytes(whole[:size])
        reader = LogReader(path)
        found = len(list(reader))
        assert found == sum(end <= size for end in ends), size
        # At the end of a record, nobody can tell; within one, it is said.
        assert reader.is_cut or size in ends, size
    for size in (3, ends[3] + 100):
        path.write_bytes(whole[:size])
        run = await imported(target, path, ids="keep", on_existing="update")
        assert run.state == "crashed"
    assert [row["_step"] async for row in run.scan_history()] == [0, 1, 2]
    report = await target.import_runs(path, TARGET, plan=True)
    assert report.plan
    dropped = (await target.import_runs(path, "local/again")).runs[0].dropped
    assert dropped == [
        "the end of run-r.wandb, which is cut off within a record",
        "how the run ended, which its log does not say: it was killed, or is still running",
    ]


async def test_after_damage_reading_continues_at_the_next_block(
    target: AsyncApi, tmp_path: Path
) -> None:
    records = [files.run("r"), *(files.history(n, x=n) for n in range(3000)), files.exit_record()]
    path = files.write_run(tmp_path, "r", records)
    data = bytearray(path.read_bytes())
    assert len(data) > 3 * files.BLOCK
    data[files.BLOCK + 5000] ^= 0xFF
    path.write_bytes(data)
    report = await target.import_runs(path, TARGET)
    assert report.runs[0].dropped == ["1 damaged blocks of run-r.wandb"]
    run = await target.run(f"{TARGET}/r")
    steps = [row["_step"] async for row in run.scan_history()]
    assert steps[0] == 0
    assert steps[-1] == 2999
    assert 2000 < len(steps) < 3000
    assert run.state == "finished"


async def test_a_file_that_is_not_a_log_is_an_error(target: AsyncApi, tmp_path: Path) -> None:
    path = tmp_path / "run-r.wandb"
    path.write_bytes(b"something else")
    with pytest.raises(ContentError, match="is not a log of wandb"):
        await target.import_runs(path, TARGET)
    path.write_bytes(files.HEADER[:-1] + b"\x09")
    with pytest.raises(ContentError, match="has version 9"):
        await target.import_runs(path, TARGET)
    with pytest.raises(UsageError, match=r"has no \.wandb file"):
        await target.import_runs(OfflineSource(tmp_path / "nothing"), TARGET)


async def test_a_run_that_was_logged_again_is_one_run(target: AsyncApi, tmp_path: Path) -> None:
    for day, steps in (("01", range(5)), ("02", range(3, 8))):
        folder = tmp_path / "wandb" / f"offline-run-202601{day}_000000-r"
        folder.mkdir(parents=True)
        records = [files.run("r", {"day": int(day)}), *(files.history(n, x=n) for n in steps)]
        (folder / "run-r.wandb").write_bytes(files.log([*records, files.exit_record()]))
    (tmp_path / "wandb" / "latest-run").symlink_to(folder)
    report = await target.import_runs(tmp_path, TARGET)
    assert report.runs[0].dropped == ["2 rows of steps that were logged before"]
    run = await target.run(f"{TARGET}/r")
    assert [row["_step"] async for row in run.scan_history()] == list(range(8))
    assert run.config["day"] == 2


async def test_files_in_linked_folders_are_imported_and_broken_links_are_reported(
    target: AsyncApi, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "w").write_bytes(b"weights")
    (outside / "unsaved").write_bytes(b"")
    names = ["linked/deep/w", "linked/gone", "../../outside/unsaved", "broken"]
    saved = files.message(f6=files.message(f1=[files.message(f1=name) for name in names]))
    log = files.write_run(tmp_path, "r", [files.run("r"), saved, files.exit_record()])
    folder = log.parent / "files"
    folder.mkdir()
    (folder / "linked").symlink_to(outside, target_is_directory=True)
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    report = await target.import_runs(tmp_path, TARGET, verify=True)
    assert (report.failed, report.differences) == ([], [])
    run = await target.run(f"{TARGET}/r")
    assert {file.name async for file in run.files()} - MADE == {"linked/deep/w"}
    (dropped,) = report.runs[0].dropped
    assert dropped == "file broken, which was deleted since it was saved"


async def test_artifacts_of_a_log_keep_the_ids_that_rows_refer_to(
    target: AsyncApi, tmp_path: Path
) -> None:
    (tmp_path / "staged").write_bytes(b"weights")
    md5 = base64.b64encode(hashlib.md5(b"weights").digest()).decode()
    many = [{"path": "listed", "digest": md5, "local_path": str(tmp_path / "staged"), "size": 7}]
    with gzip.open(tmp_path / "manifest.jl.gz", "wt") as lines:
        lines.writelines(json.dumps(entry) + "\n" for entry in many)
    entries = [
        files.message(f1="deep/w", f2=md5, f4=7, f6=str(tmp_path / "staged")),
        files.message(f1="far", f2="s3://b/x", f3="s3://b/x"),
    ]
    named = {"f4": "model", "f5": "weights", "f11": ["best", "latest"]}
    artifacts = [
        files.message(**named, f6="d1", f8='{"n":1}', f12=files.message(f4=entries), f15="mine"),
        files.message(**named, f6="d2", f12=files.message(f5=str(tmp_path / "manifest.jl.gz"))),
    ]
    records = [files.run("r"), *(files.message(f8=each) for each in artifacts)]
    files.write_run(tmp_path, "r", [*records, files.exit_record()])
    report = await target.import_runs(tmp_path, TARGET, verify=True)
    assert (report.failed, report.differences) == ([], [])
    first = await target.artifact(f"{TARGET}/weights:v0")
    assert (first.type, first.metadata, first.digest) == ("model", {"n": 1}, "d1")
    assert (await target.artifact(f"{TARGET}/weights:best")).version == "v1"
    down = await first.download(tmp_path / "down")
    assert (down.folder / "deep/w").read_bytes() == b"weights"
    # In another project of the server, that id is taken.
    report = await target.import_runs(tmp_path, "local/again")
    assert report.failed == []
    (tmp_path / "staged").unlink()
    report = await target.import_runs(tmp_path, "local/third")
    assert "staged cannot be read" in (report.failed[0].error or "")


async def test_an_artifact_that_was_logged_again_is_no_new_version_as_when_wandb_syncs(
    target: AsyncApi, tmp_path: Path
) -> None:
    entries = [files.message(f1="far", f2="s3://b/x", f3="s3://b/x")]
    artifacts = [
        files.message(
            f4="model",
            f5="set",
            f6="d1",
            f8=f'{{"n":{n}}}',
            f11=[alias],
            f12=files.message(f4=entries),
        )
        for n, alias in enumerate(["one", "two"])
    ]
    records = [files.run("r"), *(files.message(f8=each) for each in artifacts)]
    files.write_run(tmp_path, "r", [*records, files.exit_record()])
    report = await target.import_runs(tmp_path, TARGET, verify=True)
    assert (report.failed, report.differences) == ([], [])
    run = await target.run(f"{TARGET}/r")
    (made,) = [each async for each in run.logged_artifacts()]
    assert (made.name, made.metadata, sorted(made.aliases)) == (
        "set:v0",
        {"n": 0},
        ["latest", "one", "two"],
    )
