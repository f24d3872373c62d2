"""The error for a missing package names the extra to install."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import aiowandb
from aiowandb.errors import MissingExtraError, UsageError, extra_needed

SOURCE = Path(aiowandb.__file__).parents[1]
# What is called, without which package, and the extra that is to be named.
CALLS = [
    ("Api.local('.').runs('local/p').to_pandas()", "pandas", "pandas"),
    ("Api.local('.').runs('local/p').to_polars()", "polars", "polars"),
    ("Api.local('.').runs('local/p').histories(format='pandas')", "pandas", "pandas"),
    ("Api.local('.').runs('local/p').histories(format='polars')", "polars", "polars"),
    ("Api.local('.').runs('local/p').export('o', format='delta')", "deltalake", "delta"),
    ("Api.local('.').viewer", "starlette", "local"),
    ("Api.local('.').viewer", "graphql", "local"),
    ("Api.local('.').viewer", "yaml", "local"),
    ("Api.local('.').viewer", "uvicorn", "local"),
    ("import aiowandb.engines.spark", "pyspark", "spark"),
    ("import aiowandb.engines.daft", "daft", "daft"),
    ("import aiowandb.engines.dlt", "dlt", "dlt"),
    ("from aiowandb import MlflowSource; MlflowSource('.')", "mlflow", "mlflow"),
    ("Api.local('.').import_runs('sqlite:///x.db', 'local/p')", "mlflow", "mlflow"),
    ("from aiowandb import DatabaseSink as S; S('sqlite:///x')", "adbc_driver_sqlite", "database"),
    ("from aiowandb import IcebergSink; IcebergSink('a.b')", "pyiceberg", "iceberg"),
    ("from aiowandb.readplan import frames; frames.to_duckdb(None, None)", "duckdb", "duckdb"),
    ("from aiowandb.readplan import frames; frames.to_lazy(None)", "polars", "polars"),
    ("import aiowandb_server", "starlette", "local"),
    ("import aiowandb_server.server", "uvicorn", "local"),
    ("SweepRecord(storage_id='x', id='x').config", "yaml", "sweeps"),
    ("SweepRecord(storage_id='x', id='x').name", "yaml", "sweeps"),
    ("render_curves([], 80, color=False)", "uniplot", "plot"),
    ("save_plot([], 't', Path('x.png'))", "matplotlib", "plot"),
]
# Each call is made in a fork of a process that has imported none of the packages.
SCRIPT = """
import json, os, sys, traceback
from pathlib import Path
from aiowandb import Api, UsageError
from aiowandb.wire.sweeps import SweepRecord
from aiowandb.cli.curves import render_curves, save_plot

CALLS = json.loads(sys.argv[1])
assert {package for _, package, _ in CALLS}.isdisjoint(sys.modules)

def make(call, package):
    sys.modules[package] = None
    try:
        exec(call)
    except ModuleNotFoundError as error:
        assert isinstance(error, UsageError) or call.startswith("import aiowandb_server")
        assert error.name.partition(".")[0] == package, error.name
        return str(error)
    return "nothing was missing"

for number, (call, package, _) in enumerate(CALLS):
    if not os.fork():
        try:
            said = make(call, package)
        except BaseException:
            said = traceback.format_exc()
        Path(str(number)).write_text(said)
        os._exit(0)
    os.wait()
"""
# Those that the package cannot do without are in none, and an extra has its own files.
REQUIRED = {
    "aiofiles",
    "aiohttp",
    "anyio",
    "httpx",
    "msgspec",
    "orjson",
    "pyarrow",
    "xxhash",
    "yarl",
}
OWN = {"aiowandb", "aiowandb_server"}
# `trio` is only asked for where its loop is running, and who asks for `obstore` does without.
HOMES = {
    "concurrency": {"trio"},
    "cli": {"click", "rich"},
    "export": {"obstore"},
    "aiowandb_server": {"graphql", "starlette", "uvicorn", "yaml"},
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What came of each call."""
    folder = tmp_path_factory.mktemp("calls")
    subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(CALLS)], cwd=folder, check=True)
    return [(folder / str(number)).read_text() for number in range(len(CALLS))]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks as POSIX has them")
@pytest.mark.parametrize("number", range(len(CALLS)), ids=lambda number: CALLS[number][0])
def test_a_missing_package_is_named_with_its_extra(said: list[str], number: int) -> None:
    _, package, extra = CALLS[number]
    assert package in said[number]
    assert said[number].endswith(f"which is not installed: pip install 'aiowandb[{extra}]'")


def test_a_bug_of_ours_is_not_reported_as_a_missing_package() -> None:
    with pytest.raises(ModuleNotFoundError) as caught, extra_needed("x", "It"):
        import aiowandb.nothing  # type: ignore[import-not-found] # noqa: F401
    assert not isinstance(caught.value, UsageError)


def test_the_innermost_extra_is_the_one_that_is_named() -> None:
    with (
        pytest.raises(MissingExtraError, match=r"aiowandb\[in\]"),
        extra_needed("out", "It"),
        extra_needed("in", "This"),
    ):
        import nothing_of_that_name  # type: ignore[import-not-found] # noqa: F401


@pytest.mark.slow
def test_every_import_of_an_extra_says_what_to_install() -> None:
    for file in SOURCE.rglob("*.py"):
        package, *folders = file.relative_to(SOURCE).parts
        folder = folders[0] if package == "aiowandb" else package
        tree = ast.parse(file.read_text())
        guarded = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.With | ast.Try)
            or (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING")
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in guarded or not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = [each.name for each in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [] if node.level else [node.module or ""]
            for name in {name.partition(".")[0] for name in names}:
                known = name in sys.stdlib_module_names or name in REQUIRED | OWN
                assert known or name in HOMES.get(folder, ()), (file, name)
