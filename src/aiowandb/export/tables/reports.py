"""The reports of a project, a JSON file each. Reports that were deleted at W&B are kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import NotFoundError, ServerError
from aiowandb.export.folders.base import Folder
from aiowandb.export.manifest import put_text, read_whole
from aiowandb.export.names import REPORTS, file_name
from aiowandb.net import Session
from aiowandb.net.paging import pages_of
from aiowandb.wire import lenient
from aiowandb.wire.connection import Connection
from aiowandb.wire.reports import ReportRecord, list_reports

# The content of a report may be large.
_REPORTS_PER_PAGE = 20


async def write_reports(session: Session, project: str, folder: Folder) -> int:
    """Write the reports of the project `entity/project`; returns the bytes that they have."""
    size = 0
    async with aclosing(report_pages(session, project)) as pages:
        async for page in pages:
            for report in page:
                size += await run_sync(_write, report, folder)
    return size


def report_pages(session: Session, project: str) -> AsyncGenerator[list[ReportRecord]]:
    """The reports of the project `entity/project`, page by page."""
    entity, _, name = project.partition("/")

    async def page(cursor: str | None) -> Connection[ReportRecord]:
        found = await session.ask(list_reports(entity, name, _REPORTS_PER_PAGE, cursor))
        if found is None:
            raise NotFoundError(f"Could not find project {project}.", operation="ProjectViews")
        return found

    return pages_of(f"the reports of {project}", page)


def _write(report: ReportRecord, folder: Folder) -> int:
    name, text = report_path(report), report_text(report)
    if read_whole(folder, name) != text:
        put_text(folder, name, text)
    return len(text)


def report_path(report: ReportRecord) -> str:
    """The file of the report."""
    return f"{REPORTS}/{file_name(report.name)}.json"


def report_text(report: ReportRecord) -> bytes:
    """The content of its file."""
    facts: dict[str, Any] = {
        "id": report.id,
        "name": report.name,
        "display_name": report.display_name,
        "description": report.description,
        "user": report.user.username if report.user else None,
        "created_at": report.created_at,
        "updated_at": report.updated_at,
        "spec": _spec(report.spec),
    }
    try:
        return orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a very large integer, or half a surrogate pair
        facts["spec"] = report.spec
        return orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _spec(text: str | None) -> Any:
    """The content as JSON, or as the text that it is."""
    try:
        return lenient.loads(text) if text else None
    except ServerError:
        return text
