"""The examples of the README and of the documentation, as a reader would copy them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import click
import pytest

from aiowandb import AsyncApi
from aiowandb.cli import cli
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from tests.ingest.sources import wandb_files
from tests.support.artifacts import log_artifact
from tests.support.tampering import there

from .pages import PAGES, README, CodeBlock, code_blocks, commands, name_of

RUN = "entity/project/run_id"


@pytest.fixture
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The runs of the examples, in a W&B that the environment leads to."""
    with Store.open(tmp_path / "wandb") as store:
        store.accounts.ensure_entity("entity")
        project, _ = store.projects.ensure("entity", "project")
        for name, lr in (("run_id", 0.1), ("other", 0.01), ("slow", 0.0001)):
            changes = RunChanges(
                display_name=f"the {name}",
                tags=("best",),
                config=f'{{"lr": {{"value": {lr}}}}}',
                summary=f'{{"loss": 0.5, "accuracy": {lr}}}',
            )
            run, _ = store.runs.upsert(project, name, changes)
            lines = [f'{{"_step": {i}, "loss": {i}.5, "val/loss": 1, "x": 2}}' for i in range(3)]
            store.history.append(run, lines)
            store.files.add(run, "media/a.png", b"a picture")
            store.finish(run, exit_code=0)
        log_artifact(store, run, "model", {"weights.bin": b"weights"}, kind="model")
        with serve_in_thread(create_app(store)) as url:
            monkeypatch.setenv("WANDB_BASE_URL", url)
            monkeypatch.setenv("WANDB_API_KEY", store.local_key)
            folder = tmp_path / "work"
            folder.mkdir()
            monkeypatch.chdir(folder)
            records = [wandb_files.run("logged"), wandb_files.history(0, loss=1)]
            wandb_files.write_run(folder / "wandb", "logged", records)
            yield


async def run_blocks(
    page: Path, blocks: list[CodeBlock], capsys: pytest.CaptureFixture[str]
) -> str:
    """Run the blocks like the cells of a notebook in which `api` is open; give what they print."""
    printed = ""
    names: dict[str, Any] = {"__name__": "__main__"}
    async with AsyncApi() as api:
        for block in blocks:
            names |= {"api": api, "run": await api.run(RUN)}
            code = compile(block.code, name_of(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.iscoroutine(result):
                await result
            output = capsys.readouterr().out
            if block.output is not None:
                assert output == block.output, block.code.strip()
            printed += output
    return printed


@pytest.mark.usefixtures("_project")
@pytest.mark.parametrize("page", [page for page in PAGES if code_blocks(page)], ids=name_of)
def test_the_examples_of_a_page_run_as_they_stand(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anyio.run(run_blocks, page, code_blocks(page), capsys)


@pytest.mark.usefixtures("_project")
def test_the_examples_of_the_readme_print_what_their_comments_say(
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = code_blocks(README)
    assert len(blocks) == 5
    printed = anyio.run(run_blocks, README, blocks, capsys)
    assert re.sub(r"^9 \d+ \(\)$", "9 rows", printed, flags=re.MULTILINE).splitlines() == [
        "the run_id 0.1 0.5 ['best']",
        *(f"{i} {i}.5" for i in range(3)),
        "2",
        "the run_id 0.1",
        "the other 0.01",
        "9 rows",
        *(f"the {name} 3" for name in ("slow", "other", "run_id")),
    ]
    assert there(Path("pictures")) == {"media/a.png": b"a picture"}
    assert there(Path("models")) == {"weights.bin": b"weights"}


def test_pages_have_examples_with_their_output() -> None:
    outputs = [block.output for page in PAGES for block in code_blocks(page)]
    assert sum(output is not None for output in outputs) >= 15


COMMANDS = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(
    ("page", "words"),
    COMMANDS,
    ids=[f"{name_of(page)}: {' '.join(words)}" for page, words in COMMANDS],
)
def test_commands_of_a_page_are_right(page: Path, words: list[str]) -> None:
    """The shell's part is left out, and nothing is run: the options and arguments are parsed."""
    parsed(cli, "aiowandb", words)


def parsed(command: click.Command, name: str, words: list[str]) -> None:
    if isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found, f"{name} has no command {words[0]}"
        parsed(found, words[0], words[1:])
        return
    with suppress(click.exceptions.Exit):  # after --help and the like
        command.make_context(name, list(words)).close()
