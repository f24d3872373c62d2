"""`aiowandb export` as people and scripts run it."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
from rich.console import Console

from aiowandb.cli.progress import ExportProgress, ProgressLines, TimeEstimate
from aiowandb.export import Progress, RowsWanted, RunFailed, RunFinished, RunsFound, Waiting
from aiowandb_server import Store, create_app, serve_in_thread
from tests.conftest import MEASURING
from tests.export.conftest import Project, history, steps
from tests.support.shell import Completed, aiowandb, aiowandb_process, complaints


class Poison:
    """The embedded W&B, in which the history of one run cannot be read."""

    def __init__(self, app: Any, run: str) -> None:
        self._app = app
        self._run = run.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        body = message.get("body", b"")
        if b"HistoryPages" in body and b'"%s"' % self._run in body:
            answer = b'{"errors": [{"message": "the run is poisoned"}]}'
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": answer})
            return

        async def replay() -> Any:
            nonlocal message
            first, message = message, None
            return first or await receive()

        await self._app(scope, replay, send)


@pytest.fixture
def url(store: Store, project: Project) -> Iterator[str]:
    for name in ("a", "b", "poisoned"):
        project.log(name, steps(0, 50), finish=False)
    with serve_in_thread(Poison(create_app(store, latency=0.05), "poisoned")) as url:
        yield url


class Command:
    """`aiowandb export` of the project."""

    def __init__(self, url: str, key: str) -> None:
        self._line = ["export", Project.path, "--base-url", url]
        self._environment = {"WANDB_API_KEY": key, "COLUMNS": "120"}

    def run(self, *arguments: str | Path) -> Completed:
        return aiowandb(*self._line, *arguments, **self._environment)

    def run_process(self, *arguments: str | Path) -> Completed:
        return aiowandb_process(*self._line, *arguments, **self._environment)

    def start(self, *arguments: str | Path, **settings: Any) -> subprocess.Popen[Any]:
        return subprocess.Popen(
            [sys.executable, "-m", "aiowandb", *self._line, *map(str, arguments)],
            env=os.environ | MEASURING | self._environment,
            **settings,
        )


@pytest.fixture
def command(url: str, store: Store) -> Command:
    return Command(url, store.local_key)


WHOLE = ("--run", "a", "--run", "b")


def test_the_summary_of_an_export_is_printed(command: Command, out: Path) -> None:
    done = command.run(out, *WHOLE)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert re.search(r"2 +100 ", done.stdout)
    assert f"{out}/history/part-00000.parquet" in done.stdout


def test_runs_that_fail_are_named_and_the_exit_code_is_three(command: Command, out: Path) -> None:
    done = command.run_process(out)
    assert done.returncode == 3
    assert complaints(done.stderr) == "aiowandb: run poisoned: HistoryPages: the run is poisoned\n"
    assert set(history(out)["run_id"].to_pylist()) == {"a", "b"}


def test_keys_that_no_run_has_logged_are_reported(command: Command, out: Path) -> None:
    done = command.run(out, *WHOLE, "--keys", "lsos,acc*")
    assert (done.returncode, complaints(done.stderr)) == (
        0,
        "aiowandb: warning: No key named 'lsos' in any of the runs; did you mean 'loss'?\n"
        "aiowandb: warning: No key named 'acc*' in any of the runs.\n",
    )
    done = command.run(out, *WHOLE, "--keys", "lsos,acc*", "--quiet")
    assert (done.returncode, complaints(done.stderr)) == (0, "")


@pytest.mark.parametrize(
    "keys",
    [
        ("--keys", "loss", "--keys", "acc"),
        *(
            pytest.param(keys, marks=pytest.mark.slow)
            for keys in (("--keys", "loss,acc"), ("--key", "loss, acc"))
        ),
    ],
)
def test_keys_are_repeated_or_have_commas_between_them(
    command: Command, project: Project, out: Path, keys: tuple[str, ...]
) -> None:
    project.log("both", [{"_step": 0, "loss": 1, "acc": 2}, {"_step": 1, "acc": 3}])
    done = command.run(out, "--run", "both", *keys)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert history(out)["acc"].to_pylist() == [2, 3]
    done = command.run(out, "--run", "both", *keys, "--all-keys", "--overwrite")
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert history(out)["acc"].to_pylist() == [2]


def test_the_old_spelling_of_keys_is_not_offered(command: Command, out: Path) -> None:
    said = command.run("--help").stdout
    assert "--keys KEY" in said
    assert "--key " not in said
    assert "--key," not in said


@pytest.mark.parametrize("what", ["runs", "files"])
def test_keys_of_rows_that_are_not_exported_are_refused(
    command: Command, out: Path, what: str
) -> None:
    done = command.run(out, *WHOLE, "--what", what, "--keys", "loss")
    said = f"--keys requires history in --what, which is {what}: leave --keys out."
    assert (done.returncode, done.stderr) == (2, f"aiowandb: {said}\n")


def test_quiet_says_nothing(command: Command, out: Path) -> None:
    done = command.run(out, *WHOLE, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_json_reports_each_event_in_a_line(command: Command, out: Path) -> None:
    events = [json.loads(line) for line in command.run(out, "--json").stdout.splitlines()]
    assert events[-1]["event"] == "finished"
    assert events[-1]["rows"] == 100
    assert events[-1]["failed"][0]["run"] == "poisoned"
    assert {event["event"] for event in events} >= {"runs_found", "run_finished", "run_failed"}


def test_the_standard_output_is_for_pipes(command: Command) -> None:
    done = command.run_process("-", "--format", "csv", "--keys", "loss", *WHOLE)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert done.stdout.splitlines()[0] == '"run_id","_step","loss"'
    assert len(done.stdout.splitlines()) == 101


@pytest.mark.parametrize("chosen", ['state == "running"', '{"state": "running"}'])
def test_runs_are_chosen_by_an_expression_or_json(
    command: Command, project: Project, out: Path, chosen: str
) -> None:
    project.log("done", steps(0, 3))
    done = command.run(out, "--filter", chosen, "--since", "2020-01-01", *WHOLE, "--run", "done")
    assert done.returncode == 0
    assert complaints(done.stderr) == "aiowandb: Found 2 of the 3 runs given with --run.\n"
    assert set(history(out)["run_id"].to_pylist()) == {"a", "b"}


def test_a_reader_that_closes_the_pipe_ends_the_export_silently(
    command: Command, project: Project
) -> None:
    project.log("long", steps(0, 20_000))
    with command.start(
        "-", "--format=csv", "--run=long", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith(b'"run_id"')
        process.stdout.close()
        assert complaints(process.stderr.read().decode()) == ""
        assert process.wait(120) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "code", "background"),
    [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, False), (signal.SIGTERM, 143, True)],
)
def test_an_interrupted_export_stops_within_a_second_and_says_how_to_resume(
    command: Command, project: Project, out: Path, stop: int, code: int, background: bool
) -> None:
    project.log("slow", steps(0, 30_000), finish=False)
    with command.start(
        out,
        "--json",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # So shells start what scripts have in the background.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_IGN) if background else None,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if json.loads(line)["event"] == "run_started":
                break
        if background:
            process.send_signal(signal.SIGINT)
            assert "event" in json.loads(process.stdout.readline())
        # The second is one of work: how long that takes depends on who else is at work.
        worked = psutil.Process(process.pid).cpu_times()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process.send_signal(stop)
        _, complaint = process.communicate(timeout=120)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert total - worked.user - worked.system < 2
        assert process.returncode == code
    assert complaint == (
        "aiowandb: Interrupted. Finished runs are kept; run the same command to resume.\n"
    )
    assert command.run(out, "--run", "slow").returncode == 1  # another selection
    assert command.run(out).returncode == 3
    assert set(history(out)["run_id"].to_pylist()) == {"a", "b", "slow"}


STUCK = """
import sys, threading
from aiowandb.cli.termination import terminable
waiting = threading.Event()
threading.Thread(target=waiting.wait).start()
with terminable():
    sys.exit(130)
"""


@pytest.mark.slow
def test_an_interrupted_command_does_not_wait_for_threads_that_wait_for_ever() -> None:
    assert subprocess.run([sys.executable, "-c", STUCK], timeout=60).returncode == 130


@pytest.mark.slow
def test_a_terminal_shows_the_progress_live(command: Command, project: Project, out: Path) -> None:
    project.log("slow", steps(0, 20_000), finish=False)
    leader, follower = pty.openpty()
    termios.tcsetwinsize(leader, (24, 120))
    with command.start(out, stderr=follower, stdout=subprocess.DEVNULL):
        os.close(follower)
        seen = b""
        while part := _read(leader):
            seen += part
    os.close(leader)
    assert b"rows/s" in seen
    assert b"of 4 runs" in seen


def test_elsewhere_a_line_comes_every_few_seconds() -> None:
    text, now = io.StringIO(), 0.0
    lines = ProgressLines(ExportProgress(), Console(file=text, width=40), clock=lambda: now)
    lines.add(RunsFound(3))
    for now in (1.0, 4.0, 6.0, 7.0, 10.0, 12.0, 13.0):
        lines.add(Progress(now, int(now), 0, 2, 0, 0, 0.0))
    reported = text.getvalue().splitlines()
    assert [line.split(", ")[1] for line in reported] == ["6 rows", "12 rows"]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the other end is closed
        return b""


def test_the_status_line_shows_the_progress_of_the_export() -> None:
    progress = ExportProgress(clock=lambda: 1000.0)
    assert progress.status_line == "listing runs, 0 requests"
    for event in (
        RunsFound(12),
        RowsWanted("history", 10, 1000),
        RunFinished("history", "a", 100),
        RunFailed("history", "b", "no"),
        Progress(1.0, 100, 1_000_000, 3, 1, 0, 0.0),
        Progress(2.0, 300, 2_000_000, 5, 1, 1, 1012.0),
    ):
        progress.add(event)
    assert progress.status_line == (
        "history: 1 of 10 runs, 1 failed, 300 rows, 150 rows/s, 2.0 MB, 5 requests,"
        " W&B asks to wait 12 s"
    )
    assert progress.fraction == 0.3


def test_files_are_counted_by_themselves() -> None:
    progress = ExportProgress()
    progress.add(RunsFound(2))
    for table, rows in (("history", 20), ("files", 0)):
        progress.add(RowsWanted(table, 2, rows))
        for run in "ab":
            progress.add(RunFinished(table, run, 10))
    assert progress.status_line.startswith("files: 2 of 2 runs, ")
    assert progress.fraction == 1
    progress.add(RunFinished("artifacts", "a", 1))
    assert progress.status_line.startswith("files: 2 of 2 runs, ")


def test_a_silent_host_is_in_the_status_line_until_it_answers() -> None:
    now = 1000.0
    progress = ExportProgress(clock=lambda: now)
    progress.add(RunsFound(2))
    progress.add(Waiting("wandb.test", "could not connect", 990.0, 1004.0, 1105.0))
    progress.add(Progress(1.0, 0, 500, 3, 0, 0, 0.0))
    progress.add(Waiting("wandb.test", "could not connect", 990.0, 1004.0, 1105.0))
    progress.add(Progress(2.0, 0, 500, 3, 0, 0, 0.0))
    assert "0 rows/s" in progress.status_line
    assert "wandb.test: could not connect, no success since " in progress.status_line
    assert "next try in 4 s, giving up at " in progress.status_line
    now = 1006.0
    assert "could not connect" in progress.status_line
    progress.add(Progress(7.0, 0, 900, 4, 0, 0, 0.0))
    assert "could not connect" not in progress.status_line


@pytest.mark.parametrize("seed", range(20))
def test_the_time_left_is_shown_late_and_steadily(seed: int) -> None:
    """A course of 52 seconds in bursts."""
    random = Random(seed)
    estimate, share, total = TimeEstimate(0.0), 0.0, 52.0
    reported: list[tuple[float, float]] = []
    for quarter in range(1, int(total * 4)):
        now = quarter / 4
        if random.random() < 0.15:
            share = min(1.0, max(share, now / total + random.uniform(-0.05, 0.05)))
        estimate.add(now, share)
        if estimate.seconds_left is not None:
            reported.append((now, estimate.seconds_left))
    assert reported[0][0] >= 5
    assert len(reported) > 100
    for (before, last), (now, left) in pairwise(reported):
        assert abs(now + left - (before + last)) < 6, "the end jumps"
    for now, left in reported:
        assert left < 2 * (total - now) + 15
    assert all(left < 8 for now, left in reported if now > 51)


def test_no_time_left_is_shown_without_progress() -> None:
    estimate = TimeEstimate(0.0)
    for second in range(1, 100):
        estimate.add(float(second), min(second, 20) / 100)
    assert estimate.seconds_left is None
