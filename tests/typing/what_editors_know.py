"""The types of both clients that checkers and editors infer. Checked, not run."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

import msgspec
import pandas as pd
import polars as pl
import pyarrow as pa

from aiowandb import Api, AsyncApi, api, sync
from aiowandb.export import ExportPlan, ExportResult, ProjectExport
from aiowandb.files.artifacts import ArtifactDownload
from aiowandb.wire.server import Viewer
from aiowandb.wire.summary import Summary


class Row(msgspec.Struct):
    loss: float


def of_the_facade(door: Api) -> None:
    run = door.run("entity/project/run_id")
    assert_type(run, sync.Run)
    assert_type(run.name, str | None)
    assert_type(run.tags, list[str])
    assert_type(run.created_at, datetime | None)
    assert_type(run.config, dict[str, Any])
    assert_type(run.summary, Summary[None])
    assert_type(run.summary.update({"loss": 0.1}), None)
    assert_type(run.history(), pd.DataFrame)
    assert_type(run.history(10, ["loss"], pandas=True), pd.DataFrame)
    assert_type(run.history(pandas=False), list[dict[str, Any]])
    assert_type(run.metadata, dict[str, Any] | None)
    assert_type(run.sweep, sync.Sweep | None)
    assert_type(run.scan_history(), Iterator[dict[str, Any]])
    assert_type(run.scan_history(type=Row), Iterator[Row])
    assert_type(run.scan_history_batches(), Iterator[pa.RecordBatch])
    assert_type(run.update(), None)
    assert_type(run.file("model.h5"), sync.File)
    assert_type(run.file("model.h5").download("models"), Path)
    assert_type([file.size for file in run.files()], list[int])
    assert_type([artifact.name for artifact in run.logged_artifacts()], list[str])
    with run.append() as log:
        assert_type(log, sync.Append)
        assert_type(log({"loss": 0.1}, step=1), None)

    runs = door.runs("entity/project")
    assert_type(runs, sync.Runs)
    assert_type(runs[0], sync.Run)
    assert_type(runs[:2], list[sync.Run])
    assert_type([run.id for run in runs], list[str])
    assert_type(len(runs), int)
    assert_type(runs.to_list(), list[sync.Run])
    assert_type(runs.to_pandas(), pd.DataFrame)
    assert_type(runs.histories(), list[dict[str, Any]])
    assert_type(runs.histories(10, ["loss"], "_step", "default"), list[dict[str, Any]])
    assert_type(runs.histories(format="pandas"), pd.DataFrame)
    assert_type(runs.histories(format="polars"), pl.DataFrame)
    assert_type(runs.export("out"), ExportResult)
    assert_type(runs.plan_export("out"), ExportPlan)
    assert_type(door.export_projects("e/*", "out"), list[ProjectExport])
    for run, batch in door.scan_histories(runs):
        assert_type(run, sync.Run)
        assert_type(batch, pa.RecordBatch)

    assert_type(door.viewer, Viewer)
    assert_type(door.default_entity, str)
    assert_type(door.artifact("name:latest"), sync.Artifact)
    assert_type(door.artifact("name:latest").download(), ArtifactDownload)
    assert_type(door.artifact("name:latest").logged_by(), sync.Run | None)
    assert_type(door.sweep("sweep_id").best_run(), sync.Run | None)
    assert_type([sweep.runs for sweep in door.project("name").sweeps()], list[sync.Runs])
    assert_type([project.name for project in door.projects()], list[str])


async def of_the_original(door: AsyncApi) -> None:
    run = await door.run("entity/project/run_id")
    assert_type(run, api.Run)
    assert_type(run.name, str | None)
    assert_type(await run.metadata(), dict[str, Any] | None)
    assert_type(run.summary, Summary[Awaitable[None]])
    assert_type(await run.summary.update({"loss": 0.1}), None)
    assert_type(await run.history(), pd.DataFrame)
    assert_type(await run.history(10, ["loss"], pandas=True), pd.DataFrame)
    assert_type(await run.history(pandas=False), list[dict[str, Any]])
    assert_type(await run.sweep(), api.Sweep | None)
    assert_type([row async for row in run.scan_history()], list[dict[str, Any]])
    assert_type([row async for row in run.scan_history(type=Row)], list[Row])
    assert_type([batch async for batch in run.scan_history_batches()], list[pa.RecordBatch])
    assert_type(await (await run.file("model.h5")).download("models"), Path)
    async with run.append() as log:
        assert_type(await log({"loss": 0.1}), None)

    runs = door.runs("entity/project")
    assert_type(runs, api.Runs)
    assert_type(await runs[0], api.Run)
    assert_type(await runs[:2], list[api.Run])
    assert_type([run.id async for run in runs], list[str])
    assert_type(await runs.count(), int)
    assert_type(await runs.to_pandas(), pd.DataFrame)
    assert_type(await runs.histories(), list[dict[str, Any]])
    assert_type(await runs.histories(format="pandas"), pd.DataFrame)
    assert_type(await runs.histories(format="polars"), pl.DataFrame)
    assert_type(await runs.export("out"), ExportResult)
    assert_type(await runs.plan_export("out"), ExportPlan)
    assert_type(await door.export_projects("e/*", "out"), list[ProjectExport])
    async for run, batch in door.scan_histories(runs):
        assert_type(run, api.Run)
        assert_type(batch, pa.RecordBatch)

    assert_type(await door.viewer(), Viewer)
    assert_type(await (await door.artifact("name:latest")).download(), ArtifactDownload)
    assert_type(await (await door.sweep("sweep_id")).best_run(), api.Run | None)
    assert_type([project.name async for project in door.projects()], list[str])
