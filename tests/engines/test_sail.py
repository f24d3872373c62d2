"""Sail for real, a Spark without Java in this process: the rows of an export, and no secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import PATH, Project, rows

pytestmark = [pytest.mark.engines_quick, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    from aiowandb.engines.spark import WandbDataSource

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    _, port = server.listening_address
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
    session.dataSource.register(WandbDataSource)
    yield session
    session.stop()
    server.stop()


def load(spark: Any, project: Project, **options: str) -> Any:
    reader = spark.read.format("wandb").options(path=PATH, base_url=project.url, parts="3")
    return reader.options(**options).load()


def test_rows_are_those_of_an_export(spark: Any, project: Project) -> None:
    assert rows(load(spark, project).toArrow()) == rows(project.export("all"))
    some = load(spark, project, keys="loss,val.*", exclude="val.deep")
    assert rows(some.toArrow()) == rows(
        project.export("some", keys=["loss", "val.*"], exclude=["val.deep"])
    )


def test_filters_leave_out_runs_before_they_are_read(
    spark: Any, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    frame = load(spark, project)
    filtered = frame.filter("run_id = 'plain' AND _step >= 40 AND _step < 45")
    assert filtered.toArrow()["_step"].to_pylist() == [40, 41, 42, 43, 44]
    assert project.asked["download"] == 1  # of seven runs
    filtered.explain(extended=True)
    shown = "".join(capfd.readouterr())
    assert "PythonDataSource" in shown
    assert project.secrets_in(shown) == []


def test_wrong_options_are_reported_in_a_sentence(spark: Any, project: Project) -> None:
    with pytest.raises(Exception, match="did you mean 'keys'"):
        load(spark, project, kyes="loss").toArrow()
    with pytest.raises(Exception, match="No runs found in local/demo"):
        load(spark, project, filters='{"state": "crashed"}').toArrow()
