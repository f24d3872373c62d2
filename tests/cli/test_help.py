"""The examples in `--help`, run unchanged in a project that has what they mention."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import click
import pytest

from aiowandb.cli import cli
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from aiowandb_server.store.stream import Chunk, StreamUpdate
from aiowandb_server.store.sweeps import SweepChanges
from tests.export.bucket import Bucket
from tests.support.artifacts import log_artifact
from tests.support.shell import Completed, aiowandb, complaints

PROGRAMS = Path(sys.executable).parent


def examples(command: click.Command) -> list[str]:
    """The lines below `Examples:`."""
    _, _, below = (command.help or "").partition("Examples:")
    return [line.strip() for line in below.splitlines() if line.strip()]


def every_command(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from every_command(command)


def lines() -> list[Any]:
    found = dict.fromkeys(line for command in every_command(cli) for line in examples(command))
    # The demo makes 128,000 rows, object stores take seconds to begin, and so do two commands.
    slow = ("aiowandb demo", "s3://", "&&")
    return [
        pytest.param(line, marks=pytest.mark.slow if any(x in line for x in slow) else (), id=line)
        for line in found
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The project me/mnist, as the examples speak of it."""
    with Store.open(tmp_path_factory.mktemp("wandb")) as store:
        store.accounts.ensure_user("local", is_admin=True)
        for entity in ("local", "my-team", "me"):
            store.accounts.ensure_entity(entity)
            project, _ = store.projects.ensure(entity, "mnist")
        for number, name in enumerate(("a1b2c3d4", "abc123")):
            made = RunChanges(
                summary='{"loss": 1}',
                config=f'{{"lr": {{"value": {0.15 + number}}}}}',
                tags=["best"],
            )
            run, _ = store.runs.upsert(project, name, made)
            rows = [f'{{"loss": 1, "val/loss": {step}}}' for step in range(20)]
            store.history.append(run, rows)
            store.finish(run)
            for file in ("config.json", "media/images/a.png"):
                store.files.add(run, file, b"{}")
        first = store.runs.get(project, "a1b2c3d4")
        assert first
        log_artifact(store, first, "digits", {"train/a.txt": b"a", "b.txt": b"b"})
        store.stream.apply(first, StreamUpdate({"console": Chunk(0, ["one", "two"])}))
        store.finish(first)
        for name in ("l1v2e3", "o1l2d3"):
            store.runs.upsert(project, name, RunChanges())
        yield store


@pytest.fixture(scope="module")
def url(store: Store) -> Iterator[str]:
    with serve_in_thread(create_app(store)) as url:
        yield url


@pytest.fixture(scope="module")
def lake(s3: str) -> Iterator[str]:
    """Where S3 listens, with a bucket."""
    bucket = Bucket(s3)
    yield s3
    bucket.fs.delete_dir("lake")


@pytest.fixture(scope="module")
def sweep(store: Store) -> str:
    """A sweep of the project."""
    project, _ = store.projects.ensure("me", "mnist")
    text = "{method: random, parameters: {lr: {value: 1}}}"
    return store.sweeps.create(project, SweepChanges(config=text)).name


@pytest.fixture
def shell(tmp_path: Path, store: Store, url: str, lake: str, sweep: str) -> Shell:
    project, _ = store.projects.ensure("me", "mnist")
    live = store.runs.get(project, "l1v2e3")
    assert live
    store.stream.apply(live, StreamUpdate({}))  # a sign of life: it is to be stopped
    (tmp_path / "key-file").write_text(store.local_key)
    (tmp_path / "rows.jsonl").write_text('{"loss": 0.1}\n')
    (tmp_path / "aiowandb-data").mkdir()
    (tmp_path / "aiowandb-data" / "local-key").write_text(store.local_key)
    return Shell(tmp_path, store.local_key, url, lake, {"s1w2e3p4": sweep})


class Shell:
    """Takes lines of a user who has set W&B and S3 up by the environment."""

    def __init__(self, folder: Path, key: str, url: str, s3: str, here: Mapping[str, str]) -> None:
        self._folder = folder
        self._here = {
            "https://wandb.example.com": url,
            "https://wandb.ai": url,
            "/tmp/try-it": str(folder / "try-it"),
            "aiowandb serve": "exec aiowandb serve --port 0",
            **here,
        }
        if not shutil.which("jq"):
            self._here["jq .loss"] = "grep loss"
        self._environment = {
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "COLUMNS": "100",
            "WANDB_API_KEY": key,
            "WANDB_BASE_URL": url,
            "AWS_ENDPOINT_URL": f"http://{s3}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }

    def run(self, line: str) -> Completed:
        """In this process, if it is one command and no more."""
        words = shlex.split(self._localized(line))
        with chdir(self._folder):
            return aiowandb(*words[1:], **self._environment)

    def _localized(self, line: str) -> str:
        for there, here in self._here.items():
            line = line.replace(there, here)
        return line

    def start(self, line: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._localized(line),
            shell=True,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.mark.parametrize("name", cli.commands)
def test_every_command_shows_examples_of_itself(name: str) -> None:
    shown = examples(cli.commands[name])
    assert shown
    assert f"aiowandb {name}" in shown[0]


@pytest.mark.parametrize("line", lines())
def test_an_example_does_what_it_says(shell: Shell, line: str) -> None:
    if line.startswith("aiowandb verify"):
        with shell.start(
            f"aiowandb export me/mnist {line.split()[2]} --overwrite --quiet"
        ) as export:
            assert export.wait(600) == 0
    if is_one_command(line):
        done = shell.run(line)
        check_done(line, done.returncode, done.stdout, complaints(done.stderr))
        return
    with shell.start(line) as process:
        if line.startswith("aiowandb serve"):
            assert process.stdout
            assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
            process.terminate()
        said, complaint = process.communicate(timeout=600)
        complaint = complaints(complaint)
    check_done(line, process.returncode, said, complaint)


def is_one_command(line: str) -> bool:
    """Whether it needs no shell and ends without input. S3 settings are read at process start."""
    needs_more = set(shlex.split(line)) & {"|", ">", "<", "serve"} or "s3://" in line
    return line.startswith("aiowandb ") and not needs_more and not set(line) & set("$`;&")


def check_done(line: str, code: int, said: str, complaint: str) -> None:
    assert code == 0, complaint
    empty = "--used" in line or "summary.accuracy" in line  # there is none
    assert complaint == "" or "unset it to use the new key" in complaint or empty
    quiet = (
        empty
        or ">" in line.partition("--filter")[0]
        or line.startswith(("export", "aiowandb serve"))
    )
    assert quiet or said
