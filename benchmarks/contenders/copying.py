"""aiowandb copies a project to another server."""

from __future__ import annotations

import os

import anyio

import aiowandb.ingest.pipeline
import aiowandb.ingest.remote  # noqa: F401 - what would be imported at first use
from aiowandb import AsyncApi
from benchmarks.contenders.clock import Job, Outcome, measured

SOURCE, TARGET = "local/source", "local/copied"
anyio.run(anyio.sleep, 0)


def copy(job: Job) -> Outcome:
    async def go() -> int:
        async with (
            AsyncApi(os.environ["SOURCE_KEY"], base_url=job.url) as source,
            AsyncApi(os.environ["TARGET_KEY"], base_url=os.environ["TARGET_URL"]) as target,
        ):
            report = await source.runs(SOURCE).copy_to(TARGET, api=target)
        assert not report.failed, report.failed
        return report.carried["rows"]

    return Outcome(anyio.run(go))


if __name__ == "__main__":
    measured(copy)
