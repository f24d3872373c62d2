"""dlt for real, into duckdb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aiowandb_server import RunChanges

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


def test_keys_that_dlt_spells_alike_have_columns_of_their_own(
    project: Project, pipeline: Any
) -> None:
    from aiowandb.engines.dlt import wandb_source

    def add(name: str, row: dict[str, Any]) -> None:
        project.world.add_run(name, [row])
        summary = RunChanges(summary=json.dumps(row))
        project.world.store.runs.upsert(project.world.project, name, summary)

    add("odd", {"a/b": 1, "слово": 2, "Loss": 3.5})
    pipeline.run(wandb_source(PATH))
    add("odder", {"a": {"b": 4}, "a/b": 5, "日本語": 6, "LOSS": 7.5, "слово": 8})
    pipeline.run(wandb_source(PATH))
    with pipeline.sql_client() as client:
        for table in ("history", "runs"):
            with client.execute_query(f"SELECT * FROM {table}") as found:
                frame = found.df().set_index("run_id")
            numbers = frame.select_dtypes("number")
            assert {*numbers.loc["odd"]} >= {1, 2, 3.5}
            assert {*numbers.loc["odder"]} >= {4, 5, 6, 7.5, 8}
            (column,) = [name for name in frame if name.endswith("a_b")]
            assert [frame[column][name] for name in ("odd", "odder")] == [1, 5]
