"""An export with a bit of everything, made once, and copied for each test that damages it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, get_args

import anyio
import httpx
import pytest

from aiowandb import AsyncApi, ExportResult, Verification, What, verify
from aiowandb.export import pipeline
from aiowandb_server import RunChanges, Store, create_app
from aiowandb_server.store.stream import Chunk, StreamUpdate
from tests.export.conftest import Project, steps
from tests.support.artifacts import log_artifact

WHAT: tuple[What, ...] = get_args(What)


class Archive:
    """A project with three runs, and the folder of its export."""

    def __init__(self, store: Store, pristine: Path) -> None:
        self.store = store
        self.project = Project(store)
        self.pristine = pristine

    def client(self) -> AsyncApi:
        return AsyncApi(
            self.store.local_key,
            base_url="http://wandb.in-process",
            entity="local",
            transport=httpx.ASGITransport(create_app(self.store)),
        )

    async def export(self, **options: Any) -> ExportResult:
        """Export all runs, in the order in which they were made."""
        async with self.client() as api:
            runs = api.runs(self.project.path, order="+created_at")
            return await runs.export(self.pristine, **{"what": WHAT, **options})

    async def verify(self) -> Verification:
        async with self.client() as api:
            return await verify(self.pristine, api=api)


def fill(project: Project) -> None:
    """Three runs with rows, system metrics, files, and artifacts of both kinds of checksums."""
    for number, name in enumerate("abc"):
        project.log(name, steps(0, 60, key=f"value {number}"), finish=False)
        project.configure(name, {"lr": 0.1 * (number + 1)})
        summary = json.dumps({"loss": 1 / 60, "best": number})
        project.store.runs.upsert(project._project, name, RunChanges(summary=summary))
        project.log_system(name, [{"_timestamp": 1.0 + i, "system.cpu": i} for i in range(4)])
        run = project.run(name)
        lines = Chunk(0, [f"line {i} of {name}" for i in range(5)])
        project.store.stream.apply(run, StreamUpdate({"console": lines}))
        project.store.finish(run)
        project.store.files.add(run, "output.log", f"log of {name}".encode())
        project.store.files.add(run, "media/x.txt", f"media of {name}".encode())
        files = {"weights.bin": f"weights of {name}".encode() * 50}
        log_artifact(project.store, run, f"model-{name}", files, kind="model", xxh128=name == "b")


@contextmanager
def filled_store(folder: Path) -> Iterator[Store]:
    seconds = count(1_760_000_000)
    clock = lambda: float(next(seconds))  # noqa: E731
    with Store.open(folder, clock=clock, crash_after=math.inf) as store:
        fill(Project(store))
        yield store


@pytest.fixture(scope="module")
def archive(
    tmp_path_factory: pytest.TempPathFactory, new_folder: Callable[[Path], Path]
) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("archive")
    with (
        pytest.MonkeyPatch.context() as patch,
        filled_store(new_folder(folder / "wandb")) as store,
    ):
        patch.setattr(pipeline, "PART_ROWS", 100)
        made = Archive(store, folder / "out")
        anyio.run(made.export)
        yield made


@pytest.fixture
def live(tmp_path: Path, new_folder: Callable[[Path], Path]) -> Iterator[Archive]:
    """The same project in a store of its own, which may be changed, without an export."""
    with filled_store(new_folder(tmp_path / "wandb")) as store:
        yield Archive(store, tmp_path / "out")


@pytest.fixture
def out(archive: Archive, tmp_path: Path) -> Path:
    """A copy of the export, to be damaged."""
    return Path(shutil.copytree(archive.pristine, tmp_path / "out"))
