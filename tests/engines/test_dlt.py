"""dlt for real, into duckdb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import PATH, Project

pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("default")]


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import dlt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    return dlt.pipeline(
        "wandb",
        destination=dlt.destinations.duckdb(str(tmp_path / "out.duckdb")),
        dataset_name="wandb",
        pipelines_dir=str(tmp_path / "pipelines"),
    )


def steps(pipeline: Any) -> list[tuple[str, int]]:
    with pipeline.sql_client() as client:
        return sorted(map(tuple, client.execute_sql("SELECT run_id, _step FROM history")))


def exported_steps(project: Project, name: str) -> list[tuple[str, int]]:
    table = project.export(name)
    return sorted((row["run_id"], row["_step"]) for row in table.to_pylist())


def test_a_pipeline_brings_what_is_new_and_makes_no_doubles(
    project: Project, pipeline: Any, tmp_path: Path
) -> None:
    from aiowandb.engines.dlt import wandb_source

    pipeline.run(wandb_source(PATH))
    assert steps(pipeline) == exported_steps(project, "before")
    project.asked.clear()
    pipeline.run(wandb_source(PATH))
    assert project.asked["download"] == project.asked["HistoryPlans"] == 0
    project.world.add_run("later", ({"_step": i, "epoch": i} for i in range(5)))
    pipeline.run(wandb_source(PATH))
    assert steps(pipeline) == exported_steps(project, "after")
    with pipeline.sql_client() as client:
        assert client.execute_sql("SELECT count(DISTINCT run_id) FROM runs") == [(9,)]
    kept = [path for path in (tmp_path / "pipelines").rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        assert project.secrets_in(path.read_bytes()) == []


def test_rows_that_were_loaded_before_a_state_was_lost_make_no_doubles(
    project: Project, pipeline: Any
) -> None:
    from aiowandb.engines.dlt import wandb_source

    pipeline.run(wandb_source(PATH, ["history"]))
    before = steps(pipeline)
    with pipeline.managed_state() as state:
        state["sources"].clear()
    pipeline.run(wandb_source(PATH, ["history"]))
    assert steps(pipeline) == before
