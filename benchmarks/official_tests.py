"""Runs the system tests of the `wandb` SDK against the embedded W&B, and counts them by file.

    python -m benchmarks.official_tests SOURCES --python PYTHON
    python -m benchmarks.conformance            # writes the page with the score

Nothing is fetched. SOURCES is a checkout of the sources of wandb, and PYTHON the interpreter of an
environment with the SDK of the same version and with what the tests import; without them this
prints how to get both. The tests are copied and run as they are: in place of the container that
they usually talk to, they are given an embedded W&B, and users and teams that are made in it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aiowandb_server import Store, create_app, serve_in_thread

SCORE = Path(__file__).with_name("official_tests.json")
_TESTS = Path("tests", "system_tests")
# What the server supports. The other folders are about what it leaves out (automations, launch
# queues, registries, sandboxes), or about other programs (notebooks, frameworks).
AREAS = (
    "test_api",
    "test_artifacts",
    "test_core",
    "test_plot.py",
    "test_sweep",
    "test_system_metrics",
)
_BAD = ("failure", "error", "skipped")
_HOW = """\
This needs the sources of the official client, and an environment for their tests:

    git clone --depth 1 --branch v0.28.2 https://github.com/wandb/wandb wandb-sources
    python -m venv wandb-tests
    wandb-tests/bin/pip install wandb==0.28.2 -r wandb-sources/requirements/requirements_test.txt \\
        pillow polars matplotlib soundfile plotly tqdm tenacity tensorboard tensorboardX pyarrow
    python -m benchmarks.official_tests wandb-sources --python wandb-tests/bin/python

The version of the sources and of the SDK should be the same."""
# In place of the tool that starts the container: says where the servers listen.
_TOOL = "import os; print(os.environ['EMBEDDED_WANDB_PORTS'])\n"


class FileScore(msgspec.Struct, frozen=True):
    """The tests of a file: how many passed, how many were skipped, and which failed and why."""

    file: str
    passed: int
    skipped: int
    failed: dict[str, str]


class Score(msgspec.Struct, frozen=True):
    """What the tests of a version of the SDK say."""

    version: str
    files: list[FileScore]

    @property
    def passed(self) -> int:
        return sum(file.passed for file in self.files)

    @property
    def ran(self) -> int:
        return self.passed + sum(len(file.failed) for file in self.files)


def read_score() -> Score:
    return msgspec.json.decode(SCORE.read_bytes(), type=Score)


def updated(before: Score, after: Score) -> Score:
    """The score with the files that were run again."""
    if before.version != after.version:
        raise SystemExit(f"The score is of wandb {before.version}: run all tests first.")
    files = {file.file: file for file in [*before.files, *after.files]}
    return Score(after.version, sorted(files.values(), key=lambda file: file.file))


def run_tests(sources: Path, python: Path, areas: list[str], options: list[str]) -> Score:
    """Run the tests of these files and folders."""
    version = subprocess.run(
        [python, "-c", "import wandb; print(wandb.__version__)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    with TemporaryDirectory(prefix="official-tests-") as home, _served(Path(home, "store")) as env:
        checkout = Path(home, "sources")
        shutil.copytree(sources / "tests", checkout / "tests")
        shutil.copy(sources / "pyproject.toml", checkout)
        (checkout / "tools").mkdir()
        (checkout / "tools" / "local_wandb_server.py").write_text(_TOOL)
        report = Path(home, "report.xml")
        command = [str(python.absolute()), "-m", "pytest", "-q", "--continue-on-collection-errors"]
        command += [f"--junitxml={report}", *options]
        command += [str(_TESTS / area) for area in areas]
        # The tool above is called as `python`.
        env |= {"PATH": f"{python.absolute().parent}:/usr/local/bin:/usr/bin:/bin", "HOME": home}
        subprocess.run(command, cwd=checkout, env=env)
        return Score(version, sorted(_by_file(report), key=lambda file: file.file))


@contextmanager
def _served(folder: Path) -> Iterator[dict[str, str]]:
    with (
        Store.open(folder) as store,
        serve_in_thread(create_app(store)) as url,
        serve_in_thread(_accounts(store)) as accounts,
    ):
        ports = {"base_port": url.rpartition(":")[2], "fixture_port": accounts.rpartition(":")[2]}
        yield {"EMBEDDED_WANDB_PORTS": json.dumps(ports)}


def _accounts(store: Store) -> Starlette:
    """Makes the users and teams that the tests ask for. There are no organizations."""

    async def user(request: Request) -> Response:
        asked = await request.json()
        if asked["command"] == "up":
            made = store.accounts.ensure_user(asked["username"], is_admin=asked["admin"])
            store.accounts.add_key(made.id, asked["username"])
        return Response()

    async def team(request: Request) -> Response:
        asked = await request.json()
        name, username = asked["fixtureData"]["team"]["name"], asked["username"]
        made = store.accounts.ensure_entity(name, is_team=True)
        store.accounts.add_member(made.id, store.accounts.ensure_user(username).id, is_admin=True)
        return Response()

    posts = {"/db/user": user, "/db/team": team}
    return Starlette(routes=[Route(path, post, methods=["POST"]) for path, post in posts.items()])


def _by_file(report: Path) -> Iterator[FileScore]:
    outcomes: dict[str, Counter[str]] = {}
    failed: dict[str, dict[str, str]] = {}
    for case in ET.parse(report).iter("testcase"):
        module, name = case.get("classname", ""), case.get("name", "")
        # A file that cannot be collected has no class, and its module as a name.
        path = (module or name).split(".")
        last = next(n for n, part in reversed(list(enumerate(path))) if part.startswith("test_"))
        file = "/".join(path[2 : last + 1]) + ".py"
        outcome = next((part.tag for part in case if part.tag in _BAD), "passed")
        outcomes.setdefault(file, Counter())[outcome] += 1
        if outcome in ("failure", "error"):
            failed.setdefault(file, {})[name.rpartition("tests.")[2]] = _reason(case)
    for file, counts in outcomes.items():
        yield FileScore(file, counts["passed"], counts["skipped"], failed.get(file, {}))


def _reason(case: ET.Element) -> str:
    bad = next(part for part in case if part.tag in _BAD)
    text = f"{bad.get('message', '')}\n{bad.text or ''}"
    if "NameResolutionError" in text:
        return "needs the internet"
    if "Unable to find organization" in text:
        return "no organizations"
    if missing := re.search("No module named '(.*?)'", text):
        return f"needs {missing[1]}"
    return (bad.get("message") or "an error").splitlines()[0].replace("|", "/")[:100]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="?", type=Path, help="A checkout of wandb's sources.")
    parser.add_argument("--python", type=Path, help="The interpreter that runs the tests.")
    parser.add_argument("--only", action="append", help="Run only this file or folder again.")
    arguments, options = parser.parse_known_args()
    sources, python = arguments.sources, arguments.python
    if sources is None or python is None or not (sources / _TESTS).is_dir():
        print(_HOW)
        return 2
    areas = arguments.only or [area for area in AREAS if (sources / _TESTS / area).exists()]
    score = run_tests(sources, python, areas, options)
    for file in score.files:
        print(f"{file.file}: {file.passed} passed, {len(file.failed)} failed", *file.failed)
    print(f"wandb {score.version}: {score.passed} of {score.ran} passed")
    if arguments.only:
        score = updated(read_score(), score)
    SCORE.write_bytes(msgspec.json.format(msgspec.json.encode(score)) + b"\n")
    print(f"Written: {SCORE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
