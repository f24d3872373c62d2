"""The main job: a sample project to Parquet, the embedded W&B in the same process."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from aiowandb import AsyncApi
from aiowandb.local import Store, build_sample

NAME = "export"


def measure(rounds: int) -> dict[str, list[float]]:
    """Rows a CPU second, server included, and requests for the whole project."""
    speeds, requests = [], []
    with TemporaryDirectory() as folder:
        with Store.open(Path(folder, "wandb")) as store:
            build_sample(store)
        for number in range(rounds):
            started = time.process_time()
            rows, asked = anyio.run(_export, Path(folder), f"out-{number}")
            speeds.append(rows / (time.process_time() - started))
            requests.append(float(asked))
    return {"rows / CPU s": speeds, "requests": requests}


async def _export(folder: Path, name: str) -> tuple[int, int]:
    async with AsyncApi.local(folder / "wandb") as api:
        result = await api.runs("local/sample").export(folder / name)
        return result.rows, result.requests
