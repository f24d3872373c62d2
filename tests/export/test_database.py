"""A table of a database has the rows of all runs, and each export adds what is new."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aiowandb import DatabaseSink, ExportError, UsageError
from aiowandb.api.runs import Runs
from aiowandb.export import RunFinished
from aiowandb.export.commit_pace import CommitPace
from tests.export.conftest import Project, Server, steps
from tests.export.test_resuming import RUNS as ALL
from tests.export.test_resuming import Exports, Options, Stop, exports
from tests.support.sample import ROWS, RUNS, Sample
from tests.support.shell import aiowandb, complaints

pytestmark = pytest.mark.anyio
__all__ = ["exports"]  # a fixture


class Lite:
    """A database in a file."""

    def __init__(self, folder: Path, name: str = "runs.db") -> None:
        self.path = folder / name
        self.url = f"sqlite:///{self.path}"

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()


class Postgres:
    """A database of a server of our own, which listens on a socket."""

    def __init__(self, socket: Path) -> None:
        self.url = f"postgresql:///postgres?host={socket}&user=me"

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        import adbc_driver_postgresql.dbapi as driver

        with driver.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def drop(self) -> None:
        import adbc_driver_postgresql.dbapi as driver

        with driver.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS history, runs, aiowandb_marks")
            connection.commit()


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    pytest.importorskip("adbc_driver_postgresql")
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("pg")
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        folder = Path("/tmp") / f"aiowandb-pg-{os.getpid()}"
        folder.mkdir()
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    init: list[Any] = [programs / "initdb", "-D", data, "-U", "me", "-A", "trust", "--no-sync"]
    subprocess.run(init, check=True, capture_output=True, cwd="/", **as_user)
    options = f"-F -k {folder} -c listen_addresses=''"
    start: list[Any] = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options]
    subprocess.run([*start, "start"], check=True, capture_output=True, cwd="/", **as_user)
    try:
        yield Postgres(folder)
    finally:
        stop: list[Any] = [programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
        subprocess.run(stop, check=True, capture_output=True, cwd="/", **as_user)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.slow])],
)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lite | Postgres]:
    if request.param == "sqlite":
        yield Lite(tmp_path)
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    yield server
    server.drop()


def places(database: Lite | Postgres) -> list[tuple[Any, ...]]:
    return database.query("SELECT run_id, _step FROM history ORDER BY run_id, _step")


async def test_a_table_has_the_rows_of_all_runs_and_later_what_is_new(
    project: Project, runs: Runs, database: Lite | Postgres
) -> None:
    project.log("a", steps(0, 5, key="x", flag=True), finish=False)
    project.log("b", steps(0, 3, parts=[1, 2], empty=""))
    first = await runs.export(DatabaseSink(database.url))
    assert (first.rows, first.failed) == (8, ())
    assert places(database) == [("a", i) for i in range(5)] + [("b", i) for i in range(3)]
    loss, key = database.query("SELECT loss, key FROM history WHERE run_id = 'a' AND _step = 1")[0]
    assert (loss, key) == (0.5, "x")
    assert database.query("SELECT parts FROM history WHERE run_id = 'b'")[0] == ("[1,2]",)
    assert database.query("SELECT empty FROM history WHERE run_id = 'b'")[0] == ("",)

    again = await runs.export(DatabaseSink(database.url))
    assert (again.rows, again.requests) == (0, 1)
    project.log("a", steps(5, 7, new_key=1.5))
    project.log("c", steps(0, 2))
    more = await runs.export(DatabaseSink(database.url))
    assert more.rows == 4
    assert len(places(database)) == len(set(places(database))) == 12
    assert database.query("SELECT COUNT(new_key) FROM history") == [(2,)]


async def test_a_run_that_was_rewound_is_replaced(
    project: Project, runs: Runs, database: Lite | Postgres
) -> None:
    project.log("a", steps(0, 5), finish=False)
    project.log("b", steps(0, 2))
    await runs.export(DatabaseSink(database.url))
    project.rewind("a", 2)
    project.log("a", steps(3, 9, other=1.0))
    result = await runs.export(DatabaseSink(database.url))
    assert (result.rows, result.failed) == (9, ())
    assert [step for run, step in places(database) if run == "a"] == list(range(9))
    assert database.query("SELECT COUNT(other) FROM history") == [(6,)]


async def test_a_column_takes_values_of_a_wider_kind_later(
    project: Project, runs: Runs, database: Lite | Postgres
) -> None:
    project.log("a", [{"_step": 0, "x": 1, "y": 2.5}])
    await runs.export(DatabaseSink(database.url))
    project.log("b", [{"_step": 0, "x": 1.5, "y": "text"}])
    await runs.export(DatabaseSink(database.url))
    found = database.query("SELECT x, y FROM history ORDER BY run_id")
    assert [(float(x), str(y)) for x, y in found] == [(1.0, "2.5"), (1.5, '"text"')]


async def test_a_run_that_cannot_be_read_leaves_nothing_behind_and_is_retried(
    project: Project, runs: Runs, server: Server, database: Lite | Postgres
) -> None:
    project.log("a", steps(0, 5), finish=False)
    project.log("b", steps(0, 5))
    server.poisoned = {"a"}
    first = await runs.export(DatabaseSink(database.url))
    assert [failure.run for failure in first.failed] == ["a"]
    assert {run for run, _ in places(database)} == {"b"}
    server.poisoned = set()
    assert (await runs.export(DatabaseSink(database.url))).rows == 5
    assert len(places(database)) == 10


def test_columns_of_a_run_that_is_taken_back_stay_for_the_next_one(
    database: Lite | Postgres,
) -> None:
    fields: list[pa.Field[Any]] = [
        pa.field("run_id", pa.string()),
        pa.field("_step", pa.int64()),
    ]
    wider = pa.schema([*fields, pa.field("late", pa.float64())])
    sink = DatabaseSink(database.url)
    sink.open()
    sink.begin(pa.schema(fields), "{}")
    for run in ("a", "b"):
        sink.start_run(run, extends=False)
        if run == "a":
            sink.begin(wider, "{}")
        sink.write(pa.RecordBatch.from_pylist([{"run_id": run, "_step": 0, "late": 1.5}], wider))
        if run == "a":
            sink.discard_run()
        else:
            sink.finish_run("{}")
    sink.commit()
    sink.close()
    assert database.query("SELECT run_id, late FROM history") == [("b", 1.5)]


class Stopped(Exception):
    """Somebody has stopped the export."""


async def stop_after(runs: Runs, run: str, target: Any, **options: Any) -> None:
    """Export until this run is finished."""

    def on_event(event: object) -> None:
        if isinstance(event, RunFinished) and event.run == run:
            raise Stopped

    with pytest.raises(Stopped):
        await runs.export(target, on_event=on_event, **options)


async def test_a_stopped_export_keeps_finished_runs_and_ends_as_if_it_had_not_been_stopped(
    project: Project, runs: Runs, server: Server, database: Lite | Postgres
) -> None:
    server.forgets = {"x"}  # W&B does not say before that the values clash
    for name, value in (("a", 1), ("b", "text")):
        project.log(name, steps(0, 5, x=value, y=1))
    await stop_after(runs, "b", DatabaseSink(database.url), exclude=["y"])
    assert len(places(database)) == 10
    with pytest.raises(ExportError, match=r"exclude \('y',\) there, \(\) here"):
        await runs.export(DatabaseSink(database.url))
    project.log("c", steps(0, 5, x=1.5, y=1))
    assert (await runs.export(DatabaseSink(database.url), exclude=["y"])).rows == 5
    values = database.query("SELECT DISTINCT run_id, x FROM history ORDER BY run_id")
    assert [(run, str(x)) for run, x in values] == [("a", "1"), ("b", '"text"'), ("c", "1.5")]


def test_what_was_not_committed_before_the_end_is_finished_runs_and_the_mark_of_the_table(
    database: Lite | Postgres,
) -> None:
    fields: list[pa.Field[Any]] = [
        pa.field("run_id", pa.string()),
        pa.field("_step", pa.int64()),
    ]
    schema = pa.schema(fields)
    sink = DatabaseSink(database.url)
    sink.open()
    sink.begin(schema, '"the table"')
    for run in ("a", "b"):
        sink.start_run(run, extends=False)
        sink.write(pa.RecordBatch.from_pylist([{"run_id": run, "_step": 0}], schema))
        if run == "a":
            sink.finish_run('"a"')
    sink.close()
    assert places(database) == [("a", 0)]
    assert sink.open() == {"": '"the table"', "a": '"a"'}
    sink.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "said"), [("", "no columns without a name"), ("k" * 64, "longer than 63 bytes")]
)
async def test_keys_that_postgresql_cannot_name_are_named(
    project: Project, runs: Runs, postgres_server: Postgres, key: str, said: str
) -> None:
    project.log("a", [{"_step": 0, "loss": 1, key: 1}])
    with pytest.raises(ExportError, match=said):
        await runs.export(DatabaseSink(postgres_server.url))
    await runs.export(DatabaseSink(postgres_server.url), keys=["loss"])
    assert places(postgres_server) == [("a", 0)]
    postgres_server.drop()


def test_commits_are_rarer_if_they_take_long() -> None:
    now = 0.0
    pace = CommitPace(clock=lambda: now)
    assert pace.is_due
    with pace.committing():
        now += 1.0
    assert not pace.is_due
    now += 2.0
    assert pace.is_due
    seldom = CommitPace(seconds=20.0, share=0.1, clock=lambda: now)
    now += 19.0
    assert not seldom.is_due
    now += 1.0
    assert seldom.is_due
    now += 1000.0
    with seldom.committing():
        pass
    now += 100.0
    assert not seldom.is_due
    now += 20.0
    assert seldom.is_due


async def test_a_table_of_rows_is_not_replaced_by_that_of_the_runs(
    project: Project, runs: Runs, tmp_path: Path
) -> None:
    project.log("a", steps(0, 2))
    database = Lite(tmp_path)
    await runs.export(DatabaseSink(database.url))
    with pytest.raises(ExportError, match=r"what \('history',\) there, \('runs',\) here"):
        await runs.export(DatabaseSink(database.url), what=["runs"])
    assert len(places(database)) == 2
    await runs.export(DatabaseSink(database.url, "runs"), what=["runs"])
    with pytest.raises(ExportError, match="use another table"):
        await runs.export(DatabaseSink(database.url, "runs"))


# Each stopped in another way, at about half of the runs.
@pytest.mark.slow
@pytest.mark.parametrize("exports", ["json"], indirect=True)
@pytest.mark.parametrize("stop", ["kill", "server"])
def test_a_table_ends_as_if_no_export_had_been_stopped(
    exports: Exports, tmp_path: Path, stop: Stop
) -> None:
    undisturbed, database = Lite(tmp_path, "undisturbed.db"), Lite(tmp_path)
    options: Options = {"what": ["history"]}
    requests = exports.finish(undisturbed.url, options, 1)
    finished = exports.stopped(database.url, options, 1, stop, 20)
    again = exports.finish(database.url, options, 1)
    if stop != "kill":  # which loses what was not committed
        assert again <= requests * (ALL - len(finished)) / ALL * 1.1 + 3
    statement = "SELECT * FROM history ORDER BY run_id, _step"
    assert database.query(statement) == undisturbed.query(statement)
    assert exports.finish(database.url, options, 1) == 1


async def test_the_table_of_runs_is_replaced(
    project: Project, runs: Runs, database: Lite | Postgres
) -> None:
    project.log("a", steps(0, 2))
    project.configure("a", {"lr": 0.5})
    for _ in range(2):
        await runs.export(DatabaseSink(database.url, "runs"), what=["runs"])
    assert database.query('SELECT run_id, "config.lr" FROM runs') == [("a", 0.5)]


async def test_the_rows_of_another_project_are_refused(
    project: Project, runs: Runs, tmp_path: Path
) -> None:
    project.log("a", steps(0, 2))
    database = Lite(tmp_path)
    await runs.export(DatabaseSink(database.url))
    connection = sqlite3.connect(database.path)
    with connection:
        connection.execute(
            "UPDATE aiowandb_marks SET mark = replace(mark, 'local/demo', 'their/own')"
        )
    connection.close()
    with pytest.raises(ExportError, match="has the rows of .*their/own: use another table"):
        await runs.export(DatabaseSink(database.url))


async def test_other_rows_of_the_runs_that_a_table_has_are_refused(
    project: Project, runs: Runs, tmp_path: Path
) -> None:
    project.log("a", steps(0, 5, key="x"))
    database = Lite(tmp_path)
    await runs.export(DatabaseSink(database.url), keys=["loss"], max_step=3)
    with pytest.raises(ExportError, match=r"keys \('loss',\) there, .*; max_step 3 there, None"):
        await runs.export(DatabaseSink(database.url), keys=["key"])
    with pytest.raises(ExportError, match="layout 'wide' there, 'long' here"):
        await runs.export(DatabaseSink(database.url), keys=["loss"], max_step=3, layout="long")
    project.log("b", steps(0, 2))
    assert (await runs.export(DatabaseSink(database.url), keys=["loss"], max_step=3)).rows == 2


async def test_errors_do_not_show_the_password(project: Project, runs: Runs) -> None:
    pytest.importorskip("adbc_driver_postgresql")
    project.log("a", steps(0, 2))
    sink = DatabaseSink("postgresql://me:hunter2@127.0.0.1:1/x")
    with pytest.raises(ExportError, match="Cannot write table history of") as caught:
        await runs.export(sink)
    assert "hunter2" not in str(caught.value)


def test_what_is_no_database_is_refused() -> None:
    with pytest.raises(UsageError, match="is no URL of a database"):
        DatabaseSink("mysql://x/y")
    with pytest.raises(UsageError, match="names no file"):
        DatabaseSink("sqlite:///")
    with pytest.raises(UsageError, match="must be the name of a table"):
        DatabaseSink("sqlite:///x.db", "aiowandb_marks")


def test_the_command_takes_the_url_of_a_database(sample: Sample, tmp_path: Path) -> None:
    database = Lite(tmp_path)
    command = ("export", sample.path, database.url, "--local", sample.folder)
    planned = aiowandb(*command, "--plan")
    assert (planned.returncode, database.path.exists()) == (0, False), planned.stderr
    for _ in range(2):
        done = aiowandb(*command)
        assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert database.query("SELECT COUNT(*) FROM history") == [(RUNS * ROWS,)]
    refused = aiowandb(*command, "--format", "csv")
    assert refused.returncode == 2
    assert aiowandb(*command, "--what", "runs", "--what", "system").returncode == 2
