"""An embedded W&B with a small sample project, made once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiowandb import AsyncApi
from aiowandb.local import Store, create_app, serve_in_thread
from aiowandb.local.sample import SampleProject, build_sample

RUNS, ROWS = 7, 230


class Sample:
    """Where the sample project lies and what is in it."""

    def __init__(self, folder: Path, project: SampleProject, key: str) -> None:
        self.folder = folder
        self.path = f"{project.entity}/{project.project}"
        self.project = project
        self.key = key


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
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
    async with AsyncApi.local(sample.folder) as api:
        yield api
