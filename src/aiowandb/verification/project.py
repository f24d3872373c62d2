"""Compares what an export has of the project, and of none of its runs: sweeps and reports."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from hashlib import blake2b
from typing import Any

import msgspec
import pyarrow as pa

from aiowandb.concurrency.threads import run_sync, until_cancelled
from aiowandb.errors import CommError
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.manifest import read_whole
from aiowandb.export.names import SWEEPS_FILE
from aiowandb.export.options import ExportOptions
from aiowandb.export.parquet import bounded_rows
from aiowandb.export.tables.reports import report_pages, report_path, report_text
from aiowandb.export.tables.sweeps import sweep_pages, sweep_row
from aiowandb.net import Session
from aiowandb.suggestions import listed

# What is no fact of its runs: those are compared one by one, and may have been deleted since.
_OF_SWEEPS = (
    *("sweep", "name", "description", "method", "state", "expected_run_count"),
    *("metric", "goal", "config"),
)
_NAMED = 5

# Only digests are kept in memory: configurations are long, and hardly differ.
_Sweeps = Mapping[str, bytes]


async def compare_project(
    session: Session, project: str, options: ExportOptions, folder: Folder
) -> list[str]:
    """What the export lacks of the sweeps and the reports of `entity/project`."""
    found: list[str] = []
    try:
        if "sweeps" in options.what:
            found += await _compare_sweeps(session, project, options, folder)
        if "reports" in options.what:
            found += await _compare_reports(session, project, folder)
    except CommError as error:
        found.append(f"W&B could not be asked: {error}")
    return found


async def _compare_sweeps(
    session: Session, project: str, options: ExportOptions, folder: Folder
) -> list[str]:
    name = "sweeps.parquet" if options.format == "parquet" else f"{STATE_DIR}/{SWEEPS_FILE}"
    here = await run_sync(_sweeps_in, folder, name)
    if here is None:
        return []  # reported as a file that is lost or damaged
    async with aclosing(sweep_pages(session, project)) as pages:
        there = {sweep.id: _digest(sweep_row(sweep)) async for page in pages for sweep in page}
    missing = [sweep for sweep in there if sweep not in here]
    unlike = [sweep for sweep in there if sweep in here and here[sweep] != there[sweep]]
    return [
        *([f"sweeps: {listed(missing, _NAMED)} are not in the table."] if missing else []),
        *([f"sweeps: {listed(unlike, _NAMED)} differ at W&B."] if unlike else []),
    ]


def _sweeps_in(folder: Folder, name: str) -> _Sweeps | None:
    try:
        return {
            row["sweep"]: _digest(row)
            for batch in until_cancelled(bounded_rows(folder, name, list(_OF_SWEEPS)))
            for row in batch.to_pylist()
        }
    except (pa.ArrowException, OSError, KeyError):
        return None


def _digest(row: Mapping[str, Any]) -> bytes:
    return blake2b(msgspec.json.encode([row[name] for name in _OF_SWEEPS]), digest_size=16).digest()


async def _compare_reports(session: Session, project: str, folder: Folder) -> list[str]:
    missing: list[str] = []
    unlike: list[str] = []
    async with aclosing(report_pages(session, project)) as pages:
        async for report in (report async for page in pages for report in page):
            text = await run_sync(read_whole, folder, report_path(report))
            if text is None:
                missing.append(report.display_name or report.name)
            elif text != report_text(report):
                unlike.append(report.display_name or report.name)
    return [
        *([f"reports: {listed(missing, _NAMED)} are not there."] if missing else []),
        *([f"reports: {listed(unlike, _NAMED)} differ at W&B."] if unlike else []),
    ]
