"""Where our client differs from the official one: what the page lists is so, on both sides.

Each expression is evaluated with both clients; a difference that has gone fails here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from aiowandb.choices import HistoryMode
from tests.sdk import worlds

pytestmark = pytest.mark.sdk

PAGE = Path(__file__).parents[2] / "docs" / "differences.md"

PRELUDE = """
import wandb
api = wandb.Api()
adam, file, live = (api.run(f"local/{run}") for run in ("vision/adam", "odd/file", "odd/live"))
weights = api.artifact("local/vision/weights")

def rows(run, keys=None):
    return list(run.scan_history(keys))

def error(call, *arguments, **more):
    try:
        call(*arguments, **more)
    except Exception as error:
        return type(error).__name__

def beneath(call, *arguments):
    try:
        call(*arguments)
    except wandb.CommError as error:
        return type(error.exc).__name__

def kept_by_load():
    adam.config["kept"] = True
    adam.load()
    return "kept" in adam.config

def kept_by_loop():
    runs = api.runs("local/vision")
    for run in runs:
        run.config["kept"] = True
    return all("kept" in run.config for run in runs)

def two_at_once():
    one, other = wandb.Api().run("local/past/done"), wandb.Api().run("local/past/done")
    one.config["one"] = other.config["other"] = 1
    one.update()
    other.update()

"""

# How the page calls it, what is asked, what the official client says, and what ours does.
DIFFERENCES = [
    ("Nested keys", "rows(live)[0].get('val')", {"acc": 0.1}, None),
    ("Nested keys", "rows(live)[0].get('val.acc')", None, 0.1),
    ("Nested keys", "'val.acc' in live.history()", False, True),
    ("Absent keys", "'rare' in rows(file)[0]", True, False),
    ("Mixed values", "[row['mixed'] for row in rows(file)[:2]]", ["[0]", '"text"'], [[0], "text"]),
    (
        "Numbers",
        "type(file.history(keys=['nan'], pandas=False)[1]['nan']).__name__",
        "str",
        "float",
    ),
    ("`keys=`", "len(rows(file, ['rare']))", 8, 2),
    (
        "`keys=`",
        "[*live.history(keys=['val'], pandas=False)[0]]",
        ["_step", "val"],
        ["_step", "val.acc"],
    ),
    ("`keys=`", "[*rows(file, ['val'])[0]]", ["_step"], ["_step", "val.acc"]),
    ("Times", "type(adam.created_at).__name__", "str", "datetime"),
    ("Order", "next(iter(api.runs('local/vision'))).id", "adam", "other"),
    ("Lists", "error(api.runs, 'local/vision', fresh=True)", "TypeError", None),
    ("Runs of a list", "kept_by_loop()", True, False),
    ("Updates", "error(two_at_once)", None, "ConflictError"),
    ("Updates", "kept_by_load()", True, False),
    ("Downloads", "isinstance(adam.file('data/table.csv').download(), os.PathLike)", False, True),
    ("Downloads", "type(weights.download()).__name__", "str", "ArtifactDownload"),
    ("Errors", "error(api.run, 'a/b/c/d')", "CommError", "InvalidPathError"),
    ("Errors", "error(adam.history, keys='loss')", None, "UsageError"),
    ("Errors", "error(api.project, 'nothing', 'local')", None, "NotFoundError"),
    ("Errors", "beneath(api.run, 'odd/nothing')", "RunNotFoundError", "NoneType"),
    ("Arguments", "error(wandb.Api, overrides={'entity': 'local'})", None, "TypeError"),
    (
        "New runs and projects",
        "error(api.create_run, run_id='adam', project='vision', entity='local')",
        None,
        "ConflictError",
    ),
]


def evaluated(
    client: str, expressions: Sequence[str], folder: Path, history: HistoryMode = "parquet"
) -> list[object]:
    worlds.build(folder / "beginning")
    script = folder / "differences.py"
    lines = [f"print(repr({expression}))" for expression in expressions]
    script.write_text("import os\n" + PRELUDE + "\n".join(lines))
    said = worlds.said_by(client, [script], folder / "beginning", folder, history)
    assert "Traceback" not in said["differences"], said["differences"]
    return [eval(line) for line in said["differences"].splitlines()]


@pytest.mark.slow
def test_the_clients_differ_as_the_page_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    asked = [expression for _, expression, _, _ in DIFFERENCES]
    theirs = evaluated("wandb", asked, tmp_path_factory.mktemp("official"))
    ours = evaluated("aiowandb", asked, tmp_path_factory.mktemp("ours"))
    assert theirs == [official for _, _, official, _ in DIFFERENCES]
    assert ours == [own for _, _, _, own in DIFFERENCES]


def test_no_row_comes_twice(tmp_path_factory: pytest.TempPathFactory) -> None:
    asked = ["[row['_step'] for row in rows(file)]"]
    ours = evaluated("aiowandb", asked, tmp_path_factory.mktemp("ours"), history="mixed")
    assert ours == [[*range(8)]]


def test_the_page_lists_every_difference() -> None:
    listed = re.findall(r"^- \*\*(.+?)\.\*\*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    # What only asynchronous code can do, and what is compared elsewhere.
    others = {"Forgotten `async`", "Rows", "Not supported"}
    assert {*listed} == {name for name, *_ in DIFFERENCES} | others
