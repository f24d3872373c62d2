"""Stores that MLflow and TensorBoard have written themselves: all of it is in W&B afterwards."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from aiowandb import AsyncApi, MlflowSource, TensorBoardSource, UsageError

pytestmark = [
    pytest.mark.trackers,
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    # Of the packages that write.
    pytest.mark.filterwarnings("ignore"),
]
TARGET = "local/tracked"


def write_mlflow(folder: Path) -> str:
    """A store in SQLite with two experiments, and its URI."""
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client: Any = MlflowClient(tracking_uri=uri)
    for name in ("first", "second"):
        experiment = client.create_experiment(name, artifact_location=str(folder / name))
        run = client.create_run(experiment, run_name=f"run of {name}", tags={"stage": "dev"})
        run_id = run.info.run_id
        client.log_param(run_id, "lr", 0.1)
        client.log_param(run_id, "deep.key", "x")
        client.set_tag(run_id, "mlflow.note.content", "a note")
        client.set_tag(run_id, "long", "x" * 100)
        for step in range(20):
            client.log_metric(run_id, "loss", 1 / (step + 1), timestamp=1000 * step, step=step)
            if step % 5 == 0:
                client.log_metric(run_id, "val/acc.top", step, timestamp=1000 * step + 1, step=step)
        client.log_metric(run_id, "odd", math.nan, timestamp=5, step=3)
        client.log_text(run_id, "some text", "deep/notes.txt")
        client.set_terminated(run_id, "FAILED" if name == "second" else "FINISHED")
    return uri


async def test_an_mlflow_store_is_imported(target: AsyncApi, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = write_mlflow(tmp_path)
    planned = (await target.import_runs(uri, TARGET, plan=True)).plan
    assert planned
    assert (planned.runs, planned.rows) == (2, 40)
    assert planned.bytes > 40 * 3 * 20
    report = await target.import_runs(uri, TARGET, verify=True)
    assert report.carried["rows"] == planned.rows
    assert (report.failed, report.differences) == ([], [])
    assert report.counts == {"created": 2}
    (run,) = [run async for run in target.runs(TARGET, {"group": "first"})]
    assert (run.name, run.state, run.notes, run.tags) == (
        *("run of first", "finished", "a note", ["stage: dev"]),
    )
    assert (run.config["lr"], run.config["deep.key"]) == ("0.1", "x")
    assert run.config["mlflow.tags"] == {"stage": "dev", "long": "x" * 100}
    rows = [row async for row in run.scan_history()]
    assert [row["_step"] for row in rows] == list(range(20))
    assert [row["loss"] for row in rows] == [1 / (step + 1) for step in range(20)]
    assert {row["_step"]: row["val/acc.top"] for row in rows if "val/acc.top" in row} == {
        0: 0,
        5: 5,
        10: 10,
        15: 15,
    }
    assert math.isnan(rows[3]["odd"])
    assert rows[2]["_timestamp"] == 2
    assert run.summary["loss"] == 1 / 20
    (file,) = [file async for file in run.files()]
    assert (file.name, (await file.download(tmp_path / "down")).read_text()) == (
        *("deep/notes.txt", "some text"),
    )
    (other,) = [run async for run in target.runs(TARGET, {"group": "second"})]
    assert other.state == "failed"
    # By the database's path, and with nothing new.
    again = await target.import_runs(tmp_path / "mlflow.db", TARGET)
    assert (again.counts, again.carried) == ({"unchanged": 2}, {})
    client: Any = MlflowClient(tracking_uri=uri)
    client.log_text(run.id, "more", "more.txt")
    client.log_metric(run.id, "loss", 0.0, step=20)
    again = await target.import_runs(MlflowSource(uri, experiments=["first"]), TARGET)
    assert again.counts == {"updated": 1}
    assert again.carried["rows"] == 1
    with pytest.raises(UsageError, match="did you mean 'first'"):
        await target.import_runs(MlflowSource(uri, experiments=["frist"]), TARGET)


async def test_steps_that_w_and_b_does_not_take_are_numbered(
    target: AsyncApi, tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    client: Any = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'm.db'}")
    run_id = client.create_run("0").info.run_id
    for number, step in enumerate([-1, 0, 0, 0, 5]):
        client.log_metric(run_id, "x", number, timestamp=number, step=step)
    await target.import_runs(tmp_path / "m.db", TARGET)
    rows = [row async for row in (await target.run(f"{TARGET}/{run_id}")).scan_history()]
    assert [(row["_step"], row["mlflow.step"], row["x"]) for row in rows] == [
        (0, -1, 0),
        (1, 0, 1),
        (2, 0, 2),
        (3, 0, 3),
        (4, 5, 4),
    ]


async def test_an_artifact_that_is_gone_is_an_error_of_its_run(
    target: AsyncApi, tmp_path: Path
) -> None:
    uri = write_mlflow(tmp_path)
    source = MlflowSource(uri)

    class Late(MlflowSource):
        async def prepare(self, runs: Any) -> None:
            (tmp_path / "first").rename(tmp_path / "away")

    source = Late(uri)
    report = await target.import_runs(source, TARGET)
    (failed,) = report.failed
    assert "deep/notes.txt of MLflow's run" in (failed.error or "")


def write_tensorboard(folder: Path) -> None:
    import numpy as np
    import tensorboardX
    from tensorboard.summary import Writer

    with tensorboardX.SummaryWriter(str(folder / "train")) as writer:
        for step in range(50):
            writer.add_scalar("loss", 1 / (step + 1), step)
            writer.add_scalar("acc/top.1", step / 3, step * 2)
            writer.add_histogram("weights", np.arange(100) * step, step)
        writer.add_text("note", "hello *world*", 3)
        writer.add_image("img", np.zeros((3, 4, 5), dtype=np.uint8), 2)
        writer.add_hparams({"lr": 0.5, "opt": "adam", "on": True}, {"hp": 0.5}, name="tried")
    modern = Writer(str(folder / "val"))
    for step in range(5):
        modern.add_scalar("loss", step / 4, step)
    modern.close()


async def test_what_tensorboards_writers_wrote_is_imported(
    target: AsyncApi, tmp_path: Path
) -> None:
    write_tensorboard(tmp_path / "logs")
    report = await target.import_runs(tmp_path / "logs", TARGET, verify=True)
    assert (report.failed, report.differences) == ([], [])
    assert [run.dropped for run in report.runs] == [[], [], []]
    runs = {run.name: run async for run in target.runs(TARGET)}
    assert set(runs) == {"train", "train/tried", "val"}
    rows = [row async for row in runs["train"].scan_history()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses == pytest.approx([1 / (step + 1) for step in range(50)])
    assert [row["_step"] for row in rows if "acc/top.1" in row] == list(range(0, 100, 2))
    assert rows[3]["note/text_summary"] == "hello *world*"
    assert (rows[2]["img"]["width"], rows[2]["img"]["height"]) == (5, 4)
    assert sum(rows[9]["weights"]["values"]) == 100
    assert rows[9]["weights"]["bins"][-1] == 99 * 9
    assert len(rows[9]["weights"]["bins"]) <= 513
    (image,) = [file async for file in runs["train"].files()]
    content = await image.download(tmp_path / "down")
    assert content.read_bytes().startswith(b"\x89PNG")
    config = runs["train/tried"].config
    assert (config["lr"], config["opt"], config["on"]) == (0.5, "adam", True)
    assert [row["loss"] async for row in runs["val"].scan_history()] == [0, 0.25, 0.5, 0.75, 1]
    again = await target.import_runs(TensorBoardSource(tmp_path / "logs"), TARGET)
    assert again.counts == {"unchanged": 3}


async def test_a_store_given_by_its_path_has_artifacts_next_to_it(
    target: AsyncApi, tmp_path: Path
) -> None:
    """Who has made the store may have named any folder of the machine as that of a run's."""
    write_mlflow(tmp_path)
    (tmp_path / "others").mkdir()
    store = (tmp_path / "mlflow.db").rename(tmp_path / "others" / "mlflow.db")
    report = await target.import_runs(store, TARGET)
    assert report.counts == {"created": 2}
    for run in report.runs:
        assert "and not next to the store: to read them nevertheless" in str(run.dropped)
        copy = await target.run(f"{TARGET}/{run.target}")
        assert not [file async for file in copy.files() if file.name.endswith("notes.txt")]
