"""Rules for the whole project: layers, light imports, documents that are up to date."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aiowandb

ROOT = Path(__file__).parent.parent
HEAVY = {"pyarrow", "starlette", "uvicorn", "graphql", "rich", "click", "httpx", "wandb"}


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_imports_go_in_one_direction() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_no_export_is_part_of_the_repository() -> None:
    git = ["git", "ls-files", "--", ".aiowandb-export", "history", "*.parquet", "*journal.jsonl"]
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    tracked = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True)
    assert tracked.stdout == ""


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = json.loads(python("import aiowandb, json, sys; print(json.dumps(list(sys.modules)))"))
    assert HEAVY.isdisjoint(loaded)


def test_using_the_client_loads_no_server_and_no_arrow() -> None:
    loaded = json.loads(
        python("import json, sys; from aiowandb import Api; print(json.dumps(list(sys.modules)))")
    )
    assert {"pyarrow", "starlette", "uvicorn", "graphql"}.isdisjoint(loaded)


def test_importing_the_package_takes_less_than_150_ms_of_cpu() -> None:
    cost = "import time; t = time.process_time(); import aiowandb; print(time.process_time() - t)"
    assert min(float(python(cost)) for _ in range(5)) < 0.150


def test_every_public_name_is_there() -> None:
    assert all(getattr(aiowandb, name) is not None for name in aiowandb.__all__)
    assert set(aiowandb.__all__) <= set(dir(aiowandb))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(aiowandb, "Nothing")


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"^\$ (python3 .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [command for command in commands if "pytest" in command][0] in (
        ROOT / ".ci" / "run"
    ).read_text().splitlines()


def test_no_test_sets_what_a_path_in_a_string_names() -> None:
    named = re.compile(r"""setattr\(\s*["']aiowandb""")
    found = [file for file in (ROOT / "tests").rglob("*.py") if named.search(file.read_text())]
    assert found == []


def test_no_class_name_stands_for_two_things() -> None:
    # The synchronous classes have the names of the async ones that they wrap.
    places: dict[str, set[str]] = {}
    for file in (ROOT / "src").rglob("*.py"):
        if file.parent.name != "sync":
            for name in re.findall(r"^ *class (\w+)", file.read_text(), re.MULTILINE):
                places.setdefault(name, set()).add(str(file.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_no_module_is_very_small_or_very_large() -> None:
    lines = {
        str(file.relative_to(ROOT)): len(file.read_text().splitlines())
        for file in (ROOT / "src").rglob("*.py")
        if file.name not in ("__init__.py", "__main__.py")
    }
    assert {name: count for name, count in lines.items() if not 40 <= count <= 400} == {}
