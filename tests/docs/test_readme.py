"""The README's examples, as a newcomer would copy them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from tests.support.artifacts import log_artifact
from tests.support.tampering import there

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README.partition("## The API in five examples")[2].partition("\n## ")[0]
EXAMPLES = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The runs of the README, in a W&B that the environment leads to."""
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
            yield


@pytest.mark.usefixtures("_project")
def test_the_examples_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(EXAMPLES) == 5
    one_run, *inside, without_await = EXAMPLES
    program = one_run + textwrap.indent("".join(inside), "    ")
    names: dict[str, Any] = {}
    exec(f"async def main():\n{textwrap.indent(program, '    ')}", names)
    anyio.run(names["main"])
    exec(without_await, names)
    printed = capsys.readouterr().out
    assert re.sub(r"^9 \d+ \(\)$", "9 rows", printed, flags=re.MULTILINE).splitlines() == [
        "the run_id 0.1 0.5 ['best']",
        *(f"{i} {i}.5" for i in range(3)),
        "2",
        "the run_id 0.1",
        "the other 0.01",
        "9 rows",
        *(f"the {name} 3" for name in ("slow", "other", "run_id")),
    ]
    assert there(tmp_path / "pictures") == {"media/a.png": b"a picture"}
    assert there(tmp_path / "models") == {"weights.bin": b"weights"}
