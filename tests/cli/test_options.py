"""Every command and every option is given wrong values and typos: one line, exit code 2.

The commands and their options are found by walking them: a new one without an entry fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from aiowandb.cli import cli, main
from tests.support.shell import complaints

WRONG = 2
# What is given for the arguments, so that an option can be what is wrong.
ARGUMENTS = {
    "append": ["e/p/r", "-"],
    "artifacts download": ["e/p/a:v0"],
    "artifacts list": ["e/p/r"],
    "compare": ["e/p/r", "e/p/s"],
    "copy": ["e/p", "e/q"],
    "delete": ["e/p/r", "--yes"],
    "demo": [],
    "export": ["e/p", "out"],
    "files": ["e/p/r"],
    "history": ["e/p/r"],
    "import": ["file", "e/p"],
    "login": [],
    "mirror": ["e/p", "out"],
    "open": ["e/p"],
    "logs": ["e/p/r"],
    "projects": [],
    "restore": [".", "e/p"],
    "run": ["e/p/r"],
    "runs": ["e/p"],
    "serve": [],
    "status": [],
    "stop": ["e/p/r"],
    "sweeps": ["e/p"],
    "verify": ["."],
}
# Values of options whose type does not say what is wrong, with what is to be answered.
# None: any text is right, and what it leads to is for W&B to say.
VALUES: dict[str, list[tuple[str, str]] | None] = {
    "--base-url": [("ftp://x", "write it like https://"), ("x", "write it like https://")],
    "--from-base-url": [("ftp://x", "write it like https://")],
    "--to-base-url": [("x", "write it like https://")],
    "--from-local": [("file", "'file' is a file")],
    "--to-local": [("file", "'file' is a file")],
    "--local": [
        ("nowhere", "--local: folder nowhere does not exist"),
        ("file", "'file' is a file"),
    ],
    "--host": [("x", "write it like https://")],
    "--filter": [
        ("config.lr = 3", "expected one of =="),
        ("{", "is not valid JSON"),
        ('{"$foo": 1}', "no operator $foo"),
    ],
    "--columns": [
        ("nmae", "did you mean 'name'?"),
        ("confg.lr", "did you mean 'config.lr'?"),
        ("zzz", "columns are id, name"),
        (",", "has no column name"),
    ],
    "--download": [("file", "'file' is a file")],
    "--save": [("loss.doc", "--save requires --plot"), (".", "is a directory")],
    "--data": [("file", "'file' is a file")],
    "--order": [("+crated_at", "did you mean 'created_at'?"), ("-stat", "did you mean 'state'?")],
    "--token": None,
    "--type": None,
    "--prefix": None,
    "--pattern": None,
    "--run": None,
    "--key": None,
    "--keys": None,
    "--exclude": None,
    "--include-project": None,
    "--job": [("file", "leave ENTITY/PROJECT out, or write it into file"), (".", "directory")],
    "--exclude-project": None,
    "--run-column": None,
    "--step-column": None,
    "--time-column": None,
    "--config-column": None,
    "--plot": None,
    "serve --host": None,
    "serve --allow-host": None,
    "serve --max-memory": [
        ("lots", "is not a size like 500MB"),
        ("-1GB", "is not a size"),
        ("1.GB", "is not a size"),
        ("63MB", "at least 64MB"),
        ("0", "at least 64MB"),
    ],
    "serve --key-file": [("nope", "does not exist"), (".", "is a directory")],
}
ARGUMENT_VALUES: dict[str, list[tuple[list[str], str]] | None] = {
    "append": [(["e/p/r/x"], "is not the path of a run"), (["e/p/r", "nope"], "No such file")],
    "artifacts download": [
        (["a//b"], "is not the path of an artifact"),
        (["e/p/a", "file"], "is a file"),
    ],
    "artifacts list": [(["a//b"], "is not the path of a run")],
    "compare": [
        (["a//b", "e/p/r"], "is not the path of a run"),
        (["e/p/r"], "two or more different runs"),
    ],
    "copy": [(["a//b", "e/q"], "is not the path of a project")],
    "delete": [(["a//b", "--yes"], "is not the path of a run"), (["e/p/r"], "--yes is required")],
    "demo": None,
    "export": [
        (["e/p/r/x", "out"], "is not the path of a project"),
        (["e/p", "s3://"], "has no folder"),
        (["*/p", "out"], "only the name of the project can be a pattern"),
        (["e/p", "e/p/r", "out"], "is not the path of a project"),
    ],
    "files": [(["a//b"], "is not the path of a run")],
    "history": [(["https://wandb.ai/e/p"], "is not the page of a run")],
    "import": [(["nope", "e/p"], "does not exist")],
    "login": None,
    "logs": [(["a//b"], "is not the path of a run")],
    "open": [(["a//b"], "is not the path of a")],
    "mirror": [(["a//b", "out"], "is not the path of a project"), (["e/p", "file"], "is a file")],
    "projects": None,
    "restore": [
        (["nope", "e/p"], "does not exist"),
        ([".", "a//b"], "is not the path of a project"),
    ],
    "run": [(["https://forge.coreweave.com/wandb/acme/proj"], "is not the page of a run")],
    "runs": [
        (["a//b"], "is not the path of a project"),
        (["https://wandb.ai/e"], "is not the page of a project"),
    ],
    "serve": None,
    "status": None,
    "stop": [(["a//b"], "is not the path of a run")],
    "sweeps": [
        (["a//b"], "is not the path of a run"),
        (["https://x.y/e"], "is not the page of a project"),
    ],
    "verify": None,
}


class Found(NamedTuple):
    name: str
    command: click.Command


def walked(group: click.Group, above: str = "") -> Iterator[Found]:
    for name, command in group.commands.items():
        full = f"{above} {name}".strip()
        if isinstance(command, click.Group):
            yield from walked(command, full)
        else:
            yield Found(full, command)


COMMANDS = list(walked(cli))


def options_of(command: click.Command) -> list[click.Option]:
    return [param for param in command.params if isinstance(param, click.Option)]


def long_name(option: click.Option) -> str:
    return next(name for name in option.opts if name.startswith("--"))


def typo(word: str) -> str:
    """The word with two letters that have changed places, or one too much."""
    middle = len(word) // 2
    swapped = word[:middle] + word[middle + 1] + word[middle] + word[middle + 2 :]
    return swapped if swapped != word else f"{word}{word[-1]}"


def wrong_values(command: str, option: click.Option) -> list[tuple[list[str], str]]:
    """What to give for the option, and what has to be answered."""
    name = long_name(option)
    kind = option.type
    if option.is_flag:
        return [([f"{name}=1"], "does not take a value")]
    lacking = [] if option._flag_needs_value else [([name], "requires an argument")]
    if isinstance(kind, click.Choice):
        words = [str(choice) for choice in kind.choices]
        values = [(typo(word), f"did you mean '{word}'?") for word in words if len(word) > 3]
        values += [("", words[0]), ("zzz", words[-1])]
    elif isinstance(kind, click.IntRange | click.FloatRange | click.types.IntParamType):
        values = [("x", "number"), ("", "number")]
        if isinstance(kind, click.IntRange | click.FloatRange):
            assert kind.min is not None
            values.append((str(kind.min - 1), str(kind.min)))
            values += [(str(kind.max + 1), str(kind.max))] if kind.max is not None else []
    elif isinstance(kind, click.DateTime):
        values = [("yesterday", "a date like 2026-01-31"), ("", "a date like")]
    else:
        known = VALUES[f"{command} {name}"] if f"{command} {name}" in VALUES else VALUES[name]
        values = known or []
    return [*lacking, *(([f"{name}={value}"], said) for value, said in values)]


def cases() -> Iterator[Any]:
    for command in COMMANDS:
        given = ARGUMENTS[command.name]
        for option in options_of(command.command):
            name = long_name(option)
            misspelled = typo(name)
            yield pytest.param(
                command.name,
                [misspelled, *given],
                f"did you mean '{name}'?",
                id=f"{command.name} {misspelled}",
            )
            for words, said in wrong_values(command.name, option):
                order = [*given, *words]
                yield pytest.param(
                    command.name, order, (name, said), id=f"{command.name} {' '.join(words)}"
                )
        for words, said in ARGUMENT_VALUES[command.name] or []:
            yield pytest.param(command.name, words, said, id=f"{command.name} {' '.join(words)}")
        if not any(param.nargs == -1 for param in command.command.params):
            yield pytest.param(
                command.name,
                [*given, "e/p/x", "y", "z"],
                "unexpected extra argument",
                id=f"{command.name} with too much",
            )
        required = [param for param in command.command.params if param.required]
        if required:
            yield pytest.param(command.name, [], "Missing argument", id=f"{command.name} alone")
        *above, last = command.name.split()
        yield pytest.param(
            " ".join([*above, typo(last)]),
            given,
            f"did you mean '{last}'?",
            id=" ".join([*above, typo(last)]),
        )


def test_every_command_and_option_has_an_entry() -> None:
    names = {command.name for command in COMMANDS}
    assert set(ARGUMENTS) == set(ARGUMENT_VALUES) == names
    for command in COMMANDS:
        for option in options_of(command.command):
            wrong_values(command.name, option)  # a KeyError names what lacks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("here")
    (folder / "file").write_text("mine")
    return folder


@pytest.mark.parametrize(("command", "words", "said"), list(cases()))
def test_a_wrong_word_is_answered_in_one_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    words: list[str],
    said: str | tuple[str, str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")  # nothing must be sent
    monkeypatch.setattr("sys.argv", ["aiowandb", *command.split(), *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (WRONG, "")
    for part in (said,) if isinstance(said, str) else said:
        assert part in re.sub(r"\s+", " ", err)
    assert complaints(err).count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_an_unknown_command_without_a_similar_one_lists_all_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["aiowandb", "qqq"])
    with pytest.raises(SystemExit):
        main()
    err = capsys.readouterr().err
    assert all(name in err for name in cli.commands)
    assert err.count("\n") == 1
