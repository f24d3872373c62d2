"""What runs in processes that tests kill. `processes.start` forks them from one that has imported
all of this: to import it costs more than most of what they do until they are killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp  # noqa: F401
import anyio
import anyio._backends._asyncio
import httpx
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet

import aiowandb.cli.append
import aiowandb.ingest  # noqa: F401
from aiowandb import Api
from aiowandb.__main__ import main
from aiowandb.choices import Format
from aiowandb.config.settings import Settings
from aiowandb.errors import ServerError
from aiowandb.export import pipeline
from aiowandb.history.ownership import FileCheck
from aiowandb.history.row_facts import KeyFact, RowFacts
from aiowandb.history.segments import describe_segment, read_segment
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.net.retry import RetryPolicy
from aiowandb.paths import RunRef
from aiowandb.redaction import Link
from aiowandb_server import Store, create_app, serve
from aiowandb_server.store.charting import ChartRequest
from aiowandb_server.store.history import Sampled
from tests.support.shelf import Shelf


def run(environ: Mapping[str, str], function: Callable[..., None], *arguments: Any) -> None:
    """Call the function in the environment of the test, without what it says when it fails."""
    os.environ.clear()
    os.environ.update(environ)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    function(*arguments)


def serve_store(data: Path, port: int, ready: Connection) -> None:
    """An embedded W&B, which sends its address when it listens."""
    with Store.open(data, crash_after=float("inf")) as store:
        serve(create_app(store), port=port, on_ready=ready.send)


def export(url: str, key: str, path: str, folder: Path, format: Format = "parquet") -> None:
    """Export a project in small parts."""
    with patch.object(pipeline, "PART_ROWS", 300), Api(key, base_url=url) as api:
        result = api.runs(path, order="+created_at").export(folder, format=format)
        assert not result.failed, result.failed


def export_with_events(
    url: str,
    key: str,
    path: str,
    folder: Path,
    options: dict[str, Any],
    part_rows: int,
    events: Connection,
) -> None:
    """Export a project, and send each event; a server that is gone is soon given up."""
    # After so many failures, not seconds: a slow machine is no server that is gone.
    hasty = RetryPolicy(first_wait=0.01, max_wait=0.1, max_failures=3)
    with patch.object(pipeline, "PART_ROWS", part_rows), Api(key, base_url=url, retry=hasty) as api:
        api.runs(path, order="+created_at").export(folder, on_event=events.send, **options)


def copy(source: tuple[str, str], target: tuple[str, str], path: str, into: str) -> None:
    """Copy a project from one W&B to another: the address and the key of each."""
    with Api(source[1], base_url=source[0]) as here, Api(target[1], base_url=target[0]) as there:
        report = here.runs(path, order="+created_at").copy_to(into, api=there)
        assert not report.failed, report.failed


def command(*arguments: str) -> None:
    """Run `aiowandb` with these arguments."""
    sys.argv = ["aiowandb", *arguments]
    main()


def read_files(files: Mapping[str, bytes], outcomes: Connection) -> None:
    """Read Parquet files of a run in all ways, and send what came of each."""
    for name, content in files.items():
        outcomes.send((name, anyio.run(_outcomes, content)))


def read_history(data: Path) -> None:
    """Read the history of the only run of a data folder in all ways, whatever comes of each."""
    with Store.open(data) as store:
        project = store.projects.get("local", "p")
        assert project
        (run,) = store.runs.page(project).items
        for read in (
            lambda: store.history.window(run, 0, 9, 5),
            lambda: store.history.window(run, 0, 9, 500),
            lambda: store.history.sampled(run, Sampled(("loss",), 5)),
            lambda: store.charts.series(run, ChartRequest(("loss",))),
            lambda: store.history.rewind(run, 5),
        ):
            with suppress(pyarrow.ArrowException, OSError):
                read()


async def _outcomes(content: bytes) -> set[str]:
    settings = Settings.load(api_key="0" * 40, base_url="http://wandb.test", environ={})
    ref, link = RunRef("e", "p", "r"), Link("http://store.test/x")
    facts = RowFacts((KeyFact("loss", 1 / 41),), last_step=39)
    found = set[str]()
    async with Session(settings, transport=httpx.ASGITransport(Shelf(content))) as session:
        for selection in (Selection(), Selection(min_step=25), Selection(keys=("text", "list"))):
            for is_large in (False, True):
                check = FileCheck(ref, facts, 1)
                with _noted(found):
                    async for _ in read_segment(session, link, selection, check, is_large=is_large):
                        pass
        with _noted(found):
            await describe_segment(session, link, FileCheck(ref, facts, 1))
    return found


@contextmanager
def _noted(found: set[str]) -> Iterator[None]:
    """Add whether a file is read or refused."""
    try:
        yield
    except ServerError:
        found.add("refused")
    else:
        found.add("read")
