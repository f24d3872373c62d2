"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from aiowandb import AsyncApi
from aiowandb_server import Store, build_sample, create_app, serve_in_thread
from aiowandb_server.store.database import Database
from tests.support.sample import ROWS, RUNS, Sample

# Time says nothing about the code where others use the machine too. The same examples each
# time: a change is judged by what it changes. `--hypothesis-profile=search` looks for new ones.
settings.register_profile(
    "same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile(
    "search", settings.get_profile("same"), derandomize=False, max_examples=1_000, print_blob=True
)
settings.register_profile("many", settings.get_profile("same"), max_examples=300)
settings.load_profile("same")

# Who starts the tests in the background has them ignore Ctrl-C, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)

KEY = "0123456789" * 4
F = TypeVar("F", bound=Callable[..., Any])
ROOT = Path(__file__).parent.parent
MEMORY = Path("/dev/shm")
# The environment with which Python measures coverage in subprocesses.
MEASURING: dict[str, str] = {}
# Folders and modules of tests about tasks, threads and connections.
ON_BOTH_LOOPS = {
    "concurrency",
    "net",
    "test_atomic",
    "test_concurrent",
    "test_forgotten_async",
    "test_leaving",
    "test_live_runs",
    "test_sessions",
}
# Those that take minutes come first, so that no run waits for one of them at its end.
LONGEST = [
    "test_soak",
    "test_campaign",
    "test_benchmarks",
    "test_resuming",
    "test_same_as_official",
]
# What Hypothesis remembers of the characters that there are.
CHARACTERS = ROOT / ".hypothesis" / "unicode_data"
CACHES = {".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"}


def examples(number: int) -> Callable[[F], F]:
    """So many examples of the test in the quick part; three times as many in CI, where the
    profile `many` runs what has this mark, and as many more in other profiles."""
    share = settings().max_examples / settings.get_profile("same").max_examples

    def marked(test: F) -> F:
        known: F = pytest.mark.examples(settings(max_examples=round(number * share))(test))
        return known

    return marked


@pytest.hookimpl(tryfirst=True)  # before slow tests are deselected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trio is slow, but for tests of what depends on the event loop; CI runs everything on it."""
    for item in items:
        loop = item.callspec.params.get("anyio_backend") if hasattr(item, "callspec") else None
        if loop == "trio" and not ON_BOTH_LOOPS.intersection(
            (item.path.stem, item.path.parent.name)
        ):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: (*LONGEST, item.path.stem).index(item.path.stem))


def pytest_xdist_auto_num_workers() -> int:
    """Many tests wait for a process or a server: one worker more than there are cores."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Workers share the compiling of the tests, most of which is to rewrite their assertions.

    Each imports them all, and begins in another place: it finds what others have compiled.
    """
    gc.disable()
    worker = getattr(session.config, "workerinput", None)
    if worker is None or not _is_complete(session.config):
        return
    sys.dont_write_bytecode = False
    files = sorted(ROOT.glob("tests/**/test_*.py"))
    start = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for file in files[start:] + files[:start]:
        # What cannot be imported is reported, or skipped, when it is collected.
        with suppress(Exception, pytest.skip.Exception):
            import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """The garbage collector need not look through thousands of tests and modules each time."""
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Files of tests lie in memory where there is room: most of them are synced to the disk."""
    room = 4 << 30
    if sys.platform == "linux" and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > room:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    is_worker = hasattr(config, "workerinput")
    if not is_worker and _is_complete(config) and not CHARACTERS.exists():
        _find_characters(config)


def _is_complete(config: pytest.Config) -> bool:
    """Whether tests of all modules are wanted."""
    return bool(config.args == config.getini("testpaths"))


def _find_characters(config: pytest.Config) -> None:
    """Have Hypothesis write down which characters there are while tests are collected.

    Where nobody has tested yet, each worker would find out for itself: 3 seconds if that is
    measured.
    """
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    script = "from hypothesis import strategies; strategies.text().validate()"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=unmeasured)

    def end() -> None:
        process.wait()

    config.add_cleanup(end)


@pytest.fixture(scope="session", autouse=True)
def _measures_only_the_command_line() -> Iterator[None]:
    """Scripts, servers and exporters that tests start run code that is measured in this process
    too; to measure it there as well costs each of them half a second and more. The command line
    is measured: who starts it adds `MEASURING` to its environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("COVERAGE_PROCESS_")]:
            MEASURING[name] = os.environ[name]
            patch.delenv(name)
        # Those processes need not compile what the one before them has compiled.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        yield


@pytest.fixture(scope="session")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Makes an empty data folder of the embedded W&B, whose schema was made once for all."""
    schema = tmp_path_factory.mktemp("schema") / "store.sqlite"
    Database(schema).close()

    def make(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(schema, folder)
        return folder

    return make


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Paths of homes. pytest's own numbered folders read all that there are to find the next."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in count())


@pytest.fixture(scope="session", autouse=True)
def _leaves_the_work_tree_as_it_was() -> Iterator[None]:
    """No test writes beside the code."""
    before = set(os.listdir(ROOT))
    yield
    new = {name for name in os.listdir(ROOT) if name not in before and name not in CACHES}
    assert not {name for name in new if not name.startswith(".coverage")}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every async test runs on both event loops."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _nobodys_settings(_homes: Iterator[Path]) -> Iterator[None]:
    """No test sees the keys, files or environment of the user who runs it."""
    home = next(_homes)
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("WANDB_") or name == "NETRC":
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        yield


@pytest.fixture
def home() -> Path:
    """The empty home folder of this test."""
    return Path(os.environ["HOME"])


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """An embedded W&B with a small sample project, made once."""
    folder = tmp_path_factory.mktemp("wandb")
    with Store.open(folder) as store:
        return Sample(folder, build_sample(store, runs=RUNS, rows=ROWS), store.local_key)


@pytest.fixture(scope="session")
def url(sample: Sample) -> Iterator[str]:
    """The same W&B on a port."""
    with Store.open(sample.folder) as store, serve_in_thread(create_app(store)) as url:
        yield url


@pytest.fixture
async def api(sample: Sample) -> AsyncIterator[AsyncApi]:
    """A client of the sample project."""
    async with AsyncApi.local(sample.folder) as api:
        yield api


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Where a server that speaks S3 listens."""
    from tests.export.bucket import served_s3

    with served_s3() as endpoint:
        yield endpoint
