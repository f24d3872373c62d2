"""What runs in processes that tests kill. `processes.start` forks them from one that has imported
all of this: to import it costs more than most of what they do until they are killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp  # noqa: F401
import anyio._backends._asyncio  # noqa: F401
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401

import aiowandb.cli.append
import aiowandb.ingest  # noqa: F401
from aiowandb import Api
from aiowandb.__main__ import main
from aiowandb.choices import Format
from aiowandb.export import pipeline
from aiowandb.net.retry import RetryPolicy
from aiowandb_server import Store, create_app, serve


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
