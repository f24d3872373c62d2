"""What every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from aiowandb import AsyncApi
from aiowandb_server import Store, build_sample, create_app, serve_in_thread
from tests.support.sample import ROWS, RUNS, Sample

# Time says nothing about the code where others use the machine too. The same examples each
# time: a change is judged by what it changes. `--hypothesis-profile=search` looks for new ones.
settings.register_profile(
    "same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile(
    "search", settings.get_profile("same"), derandomize=False, max_examples=1_000, print_blob=True
)
settings.load_profile("same")

# Who starts the tests in the background has them ignore Ctrl-C, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)

KEY = "0123456789" * 4
ROOT = Path(__file__).parent.parent
CACHES = {".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes ten minutes by itself comes first, so that nobody waits for it in the end."""
    items.sort(key=lambda item: item.path.name != "test_soak.py")


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
def _nobodys_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees the keys, files or environment of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
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
