"""Spark for real, with two executors: the rows of an export, even after kills, and no secrets."""

from __future__ import annotations

import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any

import psutil
import pyarrow as pa
import pytest

from .conftest import PATH, Project, rows

pytestmark = [
    pytest.mark.engines,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not (which("java") or os.environ.get("JAVA_HOME")), reason="needs Java 17"),
]
PAGES = ["environment/", "jobs/", "stages/", "executors/", "SQL/"]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="module")
def netrc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("netrc") / "netrc"


@pytest.fixture(scope="module")
def spark(events: Path, netrc: Path) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    from aiowandb.engines.spark import WandbDataSource

    # What the JVM has in its environment, it has for all tests.
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "NETRC": str(netrc)}
    session = (
        SparkSession.builder.master("local-cluster[2,1,1024]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.python.filterPushdown.enabled", "true")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.eventLog.enabled", "true")
        .config("spark.eventLog.dir", str(events))
        .config("spark.eventLog.compress", "false")
        .config("spark.task.maxFailures", "8")
        # A machine that is busy with other tests starts Python slowly.
        .config("spark.python.authenticate.socketTimeout", "300s")
        .getOrCreate()
    )
    session.dataSource.register(WandbDataSource)
    yield session
    session.stop()


def load(spark: Any, project: Project, **options: str) -> Any:
    reader = spark.read.format("wandb").options(path=PATH, base_url=project.url, parts="3")
    return reader.options(**options).load()


def table(frame: Any) -> pa.Table:
    found: pa.Table = frame.toArrow()
    return found


def patiently(action: Callable[[], pa.Table]) -> pa.Table:
    """What the action gives. Spark grants Python ten seconds to start, on busy machines too."""
    for _ in range(5):
        try:
            return action()
        except Exception as error:
            if "failed to connect back" not in str(error):
                raise
    return action()


@pytest.fixture
def spark_key(project: Project, netrc: Path) -> None:
    """The key of the project, where Spark's driver finds it."""
    host = project.url.partition("://")[2]
    netrc.write_text(f"machine {host} login user password {project.world.key}\n")
    netrc.chmod(0o600)


@pytest.mark.usefixtures("spark_key")
def test_rows_are_those_of_an_export_and_planned_once(
    spark: Any, project: Project, events: Path
) -> None:
    import pyspark

    expected = project.export("all")
    project.asked.clear()
    frame = load(spark, project)
    assert rows(table(frame)) == rows(expected)
    assert project.asked["HistoryPlans"] == 1
    some = load(spark, project, keys="loss,val.*", exclude="val.deep")
    assert rows(table(some)) == rows(
        project.export("some", keys=["loss", "val.*"], exclude=["val.deep"])
    )
    filtered = frame.filter("run_id = 'plain' AND _step >= 40 AND _step < 45")
    project.asked.clear()
    assert table(filtered)["_step"].to_pylist() == [40, 41, 42, 43, 44]
    assert project.asked["download"] == 1  # of seven runs
    assert table(frame.filter("_step < 0")).num_rows == 0
    assert table(frame.filter("run_id IN ('', NULL)")).num_rows == 0
    shown = "".join(read(f"{spark.sparkContext.uiWebUrl}/{page}") for page in PAGES)
    assert "Executors" in shown
    shown += "".join(path.read_text() for path in events.rglob("*") if path.is_file())
    assert "SparkListenerTaskEnd" in shown
    work = Path(pyspark.__file__).parent / "work" / spark.sparkContext.applicationId
    logs = [path.read_text() for path in work.glob("*/std*")]
    assert "".join(logs)
    shown += "".join(logs)
    assert project.secrets_in(shown) == []


def read(url: str) -> str:
    with urllib.request.urlopen(url) as response:
        found: str = response.read().decode()
        return found


@pytest.mark.usefixtures("spark_key")
def test_an_executor_that_is_killed_changes_nothing(spark: Any, project: Project) -> None:
    expected = project.export("all")
    frame = load(spark, project)
    frame.schema  # noqa: B018 - planned before downloads are held up
    project.hold_up()
    found: list[pa.Table] = []
    reading = threading.Thread(target=lambda: found.append(table(frame)))
    reading.start()
    assert project.reached.wait(120)
    executor = next(
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE
        and "CoarseGrainedExecutorBackend" in " ".join(process.cmdline())
    )
    executor.send_signal(signal.SIGKILL)
    executor.wait(60)
    project.go_on()
    reading.join(240)
    assert rows(found[0]) == rows(expected)


@pytest.mark.usefixtures("spark_key")
def test_a_stream_brings_each_new_row_once_also_after_a_restart(
    spark: Any, project: Project, tmp_path: Path
) -> None:
    def stream() -> pa.Table:
        frame = spark.readStream.format("wandb").options(path=PATH, base_url=project.url).load()
        writer = frame.writeStream.option("checkpointLocation", str(tmp_path / "check"))
        query = writer.format("parquet").start(str(tmp_path / "out"))
        try:
            query.processAllAvailable()
        finally:
            query.stop()
        return table(spark.read.parquet(str(tmp_path / "out")))

    def advance() -> pa.Table:
        return patiently(stream)

    before = rows(project.export("before"))
    assert rows(advance()) == before
    project.world.add_run("later", ({"_step": i, "epoch": i} for i in range(5)))
    live = project.world.store.runs.get(project.world.project, "live")
    assert live is not None
    project.world.store.history.append(live, ['{"_step": 30, "epoch": 7}'])
    after = advance()
    assert rows(after) == rows(project.export("after"))
    assert len(rows(after)) == len(before) + 6


@pytest.mark.usefixtures("spark_key")
def test_wrong_options_are_reported_in_a_sentence(spark: Any, project: Project) -> None:
    with pytest.raises(Exception, match="did you mean 'keys'"):
        load(spark, project, kyes="loss")
    with pytest.raises(Exception, match="No runs found in local/demo"):
        load(spark, project, filters='{"state": "crashed"}')
