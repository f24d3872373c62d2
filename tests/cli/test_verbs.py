"""The commands that manage runs: sweeps, artifacts, logs, compare, stop, delete, follow."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiowandb import Api
from aiowandb.cli import cli, following, waits
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from aiowandb_server.store.records import RunRow
from aiowandb_server.store.stream import Chunk, StreamUpdate
from aiowandb_server.store.sweeps import SweepChanges
from tests.conftest import MEASURING
from tests.support.artifacts import log_artifact
from tests.support.shell import Heard, aiowandb, aiowandb_heard, complaints

CONFIG = """
method: grid
name: search
metric: {name: loss, goal: minimize}
parameters: {lr: {values: [0.1, 0.2]}}
"""


class World:
    """An embedded W&B on a port: a sweep with two runs, one of them live."""

    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        self.url = url
        project = store.projects.ensure("local", "demo")[0]
        self.sweep = store.sweeps.create(project, SweepChanges(config=CONFIG)).name
        self.done = self._run("done", lr=0.1, loss=0.5)
        self.live = self._run("live", lr=0.2, loss=0.4)
        log_artifact(store, self.done, "digits", {"train/a.txt": b"aa", "b.txt": b"b"})
        self.log(self.done, 0, "one", "two \x1b[31m", "three")
        store.finish(self.done)

    def _run(self, name: str, *, lr: float, loss: float) -> RunRow:
        project = self.store.projects.ensure("local", "demo")[0]
        changes = RunChanges(
            config=json.dumps({"lr": {"value": lr}, "seed": {"value": 7}}),
            summary=json.dumps({"loss": loss, "val": {"acc": 1}}),
            sweep=self.sweep,
        )
        run = self.store.runs.upsert(project, name, changes)[0]
        self.store.history.append(
            run, [json.dumps({"_step": step, "loss": step, "acc": 1}) for step in range(3)]
        )
        return run

    def log(self, run: RunRow, first: int, *lines: str) -> None:
        texts = [f"2026-01-31T12:00:00.5 {line}" for line in lines]
        self.store.stream.apply(run, StreamUpdate({"console": Chunk(first, texts)}))

    @property
    def _environment(self) -> dict[str, str]:
        return {"WANDB_API_KEY": self.store.local_key, "WANDB_BASE_URL": self.url}

    def run(
        self, *arguments: object, stdin: str = "", heard: Heard = lambda said: None
    ) -> subprocess.CompletedProcess[str]:
        return aiowandb_heard(heard, *arguments, stdin=stdin, **self._environment)

    def out(self, *arguments: object) -> str:
        done = self.run(*arguments)
        assert (done.returncode, complaints(done.stderr)) == (0, "")
        return done.stdout

    def records(self, *arguments: object) -> list[dict[str, Any]]:
        lines = self.out(*arguments, "--format", "json").splitlines()
        return [json.loads(line) for line in lines]

    def start(self, *arguments: object, **settings: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "aiowandb", *map(str, arguments)],
            text=True,
            env=os.environ
            | MEASURING
            | self._environment
            | {"COLUMNS": "120", "PYTHONUNBUFFERED": "1"},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings,
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Store.open(tmp_path / "wandb") as store, serve_in_thread(create_app(store)) as url:
        yield World(store, url)


def test_sweeps_are_listed_and_one_is_shown_with_its_best_run(world: World) -> None:
    (sweep,) = world.records("sweeps", "local/demo")
    assert (sweep["id"], sweep["method"], sweep["runs"]) == (world.sweep, "grid", 2)
    (one,) = world.records("sweeps", f"local/demo/{world.sweep}")
    assert (one["best run"], one["metric"], one["best value"]) == ("live", "loss", 0.4)
    page = f"https://forge.coreweave.com/wandb/local/demo/sweeps/{world.sweep}"
    assert "live" in world.out("sweeps", page)
    (row,) = csv.DictReader(io.StringIO(world.out("sweeps", "local/demo", "--format", "csv")))
    assert row["id"] == world.sweep


def test_artifacts_are_listed_and_downloaded(world: World, tmp_path: Path) -> None:
    (of_run,) = world.records("artifacts", "list", "local/demo/done")
    (version,) = world.records("artifacts", "list", "local/demo/digits", "--type", "dataset")
    assert of_run["name"] == "digits:v0"
    assert (version["version"], version["aliases"], version["files"]) == ("v0", ["latest"], 2)
    done = world.run("artifacts", "list", "local/demo/done", "--used")
    assert (done.returncode, complaints(done.stderr)) == (0, "aiowandb: No artifacts found.\n")
    out = tmp_path / "out"
    records = world.records("artifacts", "download", "local/demo/digits:latest", out)
    assert str(out / "train" / "a.txt") in {record["path"] for record in records}
    assert (out / "b.txt").read_bytes() == b"b"
    some = ("artifacts", "download", "local/demo/digits", tmp_path / "some", "--prefix", "train/")
    assert [Path(file["path"]).name for file in world.records(*some)] == ["a.txt"]


def test_logs_are_printed_for_people_and_for_programs(world: World) -> None:
    assert world.out("logs", "local/demo/done") == "one\ntwo \N{REPLACEMENT CHARACTER}[31m\nthree\n"
    (last,) = world.records("logs", "local/demo/done", "--last", 1)
    assert (last["number"], last["line"]) == (2, "three")
    rows = list(csv.DictReader(io.StringIO(world.out("logs", "local/demo/done", "--format=csv"))))
    assert [row["line"] for row in rows] == ["one", "two \x1b[31m", "three"]


@pytest.fixture
def polls_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_S", 0.01)


def after_lines(steps: dict[int, Callable[[], None]]) -> Callable[[str], None]:
    """Takes each step once so many lines were printed."""

    def heard(said: str) -> None:
        if step := steps.pop(said.count("\n"), None):
            step()

    return heard


def test_logs_are_followed_to_the_end_of_the_run(world: World, polls_often: None) -> None:
    def end() -> None:
        world.log(world.live, 3, "last")
        world.store.finish(world.live)

    world.log(world.live, 0, "first")
    heard = after_lines({1: lambda: world.log(world.live, 1, "second", "third"), 3: end})
    done = world.run("logs", "local/demo/live", "--follow", heard=heard)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert done.stdout == "first\nsecond\nthird\nlast\n"


@pytest.mark.parametrize("format", ["table", "json", "csv"])
def test_rows_are_followed_to_the_end_of_the_run(
    world: World, format: str, polls_often: None
) -> None:
    head = ["_step,loss"] if format == "csv" else []

    def add(row: str) -> None:
        world.store.history.append(world.live, [row])

    def end() -> None:
        add('{"_step": 9, "loss": 0.25}')
        world.store.finish(world.live)

    done = world.run(
        *("history", "local/demo/live", "--follow", "--all", "--keys", "loss"),
        *("--format", format),
        heard=after_lines(
            {len(head) + 3: lambda: add('{"_step": 7, "loss": 0.5}'), len(head) + 4: end}
        ),
    )
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[: len(head)] == head
    assert [line.split() if format == "table" else line for line in lines[len(head) :]] == [
        {
            "table": [str(step), f"loss={loss}"],
            "json": f'{{"_step":{step},"loss":{loss}}}',
            "csv": f"{step},{loss}",
        }[format]
        for step, loss in ((0, 0), (1, 1), (2, 2), (7, 0.5), (9, 0.25))
    ]


def test_only_new_rows_are_followed_unless_all_are_wanted(world: World) -> None:
    assert world.out("history", "local/demo/done", "--follow") == ""


def test_following_is_ended_by_ctrl_c(world: World) -> None:
    world.log(world.live, 0, "first")
    with world.start("logs", "local/demo/live", "--follow") as process:
        assert process.stdout
        assert process.stdout.readline() == "first\n"
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate()
        assert process.returncode == 130
        assert complaints(complaint).strip() == "aiowandb: interrupted"


class Host:
    """Answers that it is overloaded while it is set to."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.is_overloaded = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not self.is_overloaded:
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body"})


def test_a_server_that_fails_is_reported_by_following(
    tmp_path: Path, polls_often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "FIRST_LINE_AFTER_S", 0.0)
    monkeypatch.setattr(waits, "POLL_S", 0.01)
    with Store.open(tmp_path / "wandb") as store:
        host = Host(create_app(store))
        with serve_in_thread(host) as url:
            world = World(store, url)
            world.log(world.live, 0, "first")

            def heard(said: str) -> None:
                host.is_overloaded = "waiting: " not in said
                if not host.is_overloaded:
                    store.finish(world.live)

            done = world.run("logs", "local/demo/live", "--follow", heard=heard)
    assert (done.returncode, done.stdout) == (0, "first\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith("waiting: ")
    assert "503" in line
    assert "giving up at" in line


def test_runs_are_compared(world: World) -> None:
    paths = ("compare", "local/demo/done", "local/demo/live")
    assert world.records(*paths) == [
        {"key": "config.lr", "done": 0.1, "live": 0.2},
        {"key": "summary.loss", "done": 0.5, "live": 0.4},
    ]
    every = [record["key"] for record in world.records(*paths, "--all")]
    assert every == ["config.lr", "config.seed", "summary.loss", "summary.val.acc"]
    drawn = world.out(*paths, "--plot", "loss")
    assert "done" in drawn
    assert "live" in drawn


def test_curves_of_runs_are_saved_together(world: World, tmp_path: Path) -> None:
    file = tmp_path / "loss.svg"
    world.out("compare", "local/demo/done", "local/demo/live", "--plot", "loss", "--save", file)
    assert "<svg" in file.read_text()


def test_columns_of_runs_are_chosen(world: World) -> None:
    columns = ("runs", "local/demo", "--order", "+created_at", "--columns")
    assert world.records(*columns, "id,config.lr,summary.val.acc,last step") == [
        {"id": "done", "config.lr": 0.1, "summary.val.acc": 1, "last step": 2},
        {"id": "live", "config.lr": 0.2, "summary.val.acc": 1, "last step": 2},
    ]
    text = world.out(*columns, "id,config", "--format", "csv")
    first = next(csv.DictReader(io.StringIO(text)))
    assert json.loads(first["config"]) == {"lr": 0.1, "seed": 7}
    full = world.records("runs", "local/demo", "--order", "+created_at")[0]
    assert (full["config"]["lr"], full["summary"]["loss"], full["last step"]) == (0.1, 0.5, 2)
    done = world.run(*columns, "summary.los")
    assert done.returncode == 0
    assert "No run has summary.los; did you mean 'summary.loss'?" in done.stderr


def test_a_csv_of_rows_has_the_columns_that_globs_mean(world: World) -> None:
    rows = ("history", "local/demo/done", "--all", "--format", "csv", "--keys")
    assert world.out(*rows, "l*").splitlines() == ["_step,loss", "0,0", "1,1", "2,2"]
    done = world.run(*rows, "los")
    assert done.stderr.splitlines() == [
        "aiowandb: warning: No key named 'los' in run local/demo/done; did you mean 'loss'?"
    ]
    project = world.store.projects.ensure("local", "demo")[0]
    nested = world.store.runs.upsert(project, "nested", RunChanges())[0]
    world.store.history.append(nested, ['{"val": {"loss": 1}}'])
    done = world.run("history", "local/demo/nested", *rows[2:], "val/*")
    assert "No key named 'val/*' in run local/demo/nested; did you mean 'val.*'?" in done.stderr


def test_any_key_takes_rows_with_one_of_the_keys(world: World) -> None:
    project = world.store.projects.ensure("local", "demo")[0]
    run = world.store.runs.upsert(project, "sparse", RunChanges())[0]
    world.store.history.append(run, ['{"a": 1, "_step": 0}', '{"b": 2, "_step": 1}'])
    command = ("history", "local/demo/sparse", "--all", "--keys", "a,b")
    assert world.records(*command) == []
    rows = world.records(*command, "--any-key")
    assert [(row["_step"], row.get("a"), row.get("b")) for row in rows] == [
        (0, 1, None),
        (1, None, 2),
    ]


def test_a_live_run_is_asked_to_stop(world: World) -> None:
    assert world.out("stop", "local/demo/live") == "Asked run local/demo/live to stop.\n"
    project = world.store.projects.get("local", "demo")
    assert project
    done = world.run("stop", "local/demo/done")
    assert done.returncode == 1
    assert "is finished, not running" in done.stderr


def test_runs_are_deleted_without_confirmation_with_yes(world: World) -> None:
    said = world.out("delete", "local/demo/done", "local/demo/live", "--yes")
    assert said.count("Deleted run") == 2
    with Api(world.store.local_key, base_url=world.url) as api:
        assert api.runs("local/demo").count() == 0


def test_nothing_is_deleted_if_no_one_can_confirm_it(world: World) -> None:
    done = world.run("delete", "local/demo/done", stdin="y\n")
    assert done.returncode == 2
    assert "--yes is required" in done.stderr
    assert world.records("run", "local/demo/done")


def test_if_one_of_the_runs_does_not_exist_none_is_deleted(world: World) -> None:
    done = world.run("delete", "local/demo/done", "local/demo/nope", "--yes")
    assert done.returncode == 1
    assert "Could not find run local/demo/nope" in done.stderr
    assert world.records("run", "local/demo/done")


@pytest.mark.parametrize(
    ("answer", "code", "left"),
    [
        ("\n", 1, 2),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in [("y\n", 0, 1), ("n\n", 1, 2)]),
    ],
)
def test_a_person_is_asked_before_a_run_is_deleted(
    world: World, answer: str, code: int, left: int
) -> None:
    leader, follower = pty.openpty()
    try:
        process = world.start("delete", "local/demo/done", stdin=follower)
        os.write(leader, answer.encode())
        _, asked = process.communicate()
    finally:
        os.close(leader)
        os.close(follower)
    assert process.returncode == code
    assert "Delete run local/demo/done (done, finished, 3 rows)?" in asked
    with Api(world.store.local_key, base_url=world.url) as api:
        assert api.runs("local/demo").count() == left


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("sweeps local/nope", 1, "Could not find project local/nope"),
        ("sweeps local/demo/nope", 1, "Could not find sweep local/demo/nope"),
        ("artifacts lits local/demo/done", 2, "No such command 'lits'; did you mean 'list'?"),
        ("artifacts list local/demo/nope", 1, "Could not find run local/demo/nope"),
        ("artifacts list local/demo/x --used --type y", 2, "use only one of them"),
        ("artifacts download local/demo/nope:v3", 1, "Could not find artifact local/demo/nope:v3"),
        ("logs local/demo/nope", 1, "Could not find run local/demo/nope"),
        ("logs local/demo/done --last 0", 2, "--last: 0 is not a whole number of at least 1"),
        (
            "history local/demo/done --follow --samples 3",
            2,
            "--follow cannot be combined with --samples or --plot",
        ),
        ("history local/demo/done --follow --format csv", 2, "--follow requires --keys for CSV"),
        ("compare local/demo/done", 2, "two or more different runs"),
        ("compare local/demo/done demo/done", 2, "are all the same run"),
        ("compare local/demo/done local/demo/nope", 1, "Could not find run local/demo/nope"),
        ("compare local/demo/done local/demo/live --save x.png", 2, "--save requires --plot"),
        ("compare local/demo/done local/demo/live --plot los", 1, "did you mean 'loss'?"),
        ("runs local/demo --columns confg.lr", 2, "did you mean 'config.lr'?"),
        ("runs local/demo --columns stat", 2, "did you mean 'state'?"),
        ("runs local/demo --columns ,", 2, "--columns: has no column name"),
        ("stop local/demo/nope", 1, "Could not find run local/demo/nope"),
        ("delete --yes", 2, "Missing argument"),
    ],
)
def test_a_mistake_is_one_line(world: World, line: str, code: int, said: str) -> None:
    done = world.run(*line.split())
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert complaints(done.stderr).count("\n") == 1


def test_the_new_commands_are_completed() -> None:
    done = aiowandb(
        _AIOWANDB_COMPLETE="bash_complete", COMP_WORDS="aiowandb artifacts ", COMP_CWORD="2"
    )
    assert [line.partition(",")[2] for line in done.stdout.split()] == ["download", "list"]
    verbs = {"sweeps", "artifacts", "logs", "stop", "delete", "compare"}
    assert verbs <= set(cli.commands)
