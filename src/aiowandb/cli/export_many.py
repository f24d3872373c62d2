"""`aiowandb export` of many projects: a line when one ends, and a table of what happened."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from rich.console import Console

from aiowandb.cli.export_plans import minutes_text, print_plan, range_text, size_text
from aiowandb.cli.output import console, print_error, printable, table
from aiowandb.cli.progress import SECONDS_BETWEEN_LINES
from aiowandb.export import ExportEvent, OnProjectEvent, Progress, ProjectExport

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi
    from aiowandb.cli.export_jobs import ExportJob

_FAILED, _SOME_FAILED = 1, 3


def export_many(job: ExportJob, *, only_plan: bool, as_json: bool, quiet: bool) -> int:
    """Export the projects, or plan it; returns the exit code."""
    api = job.connect(reports_waits=not (quiet or as_json))
    listener = None if quiet else _write_event if as_json else _Lines().add
    try:
        done = anyio.run(_export, api, job, only_plan, None if only_plan else listener)
    except KeyboardInterrupt:
        print_error("Interrupted. Finished runs are kept; run the same command to resume.")
        return 130
    failed = [each for each in done if not each.is_complete]
    if as_json:
        for each in done if only_plan else ():
            _write_plan(each)
        _write({"event": "finished", "projects": len(done), "failed": len(failed)})
    elif not quiet or only_plan:
        console.print(table([_plan_row(each) if only_plan else _row(each) for each in done]))
        if only_plan:
            console.print(_plan_total(done), soft_wrap=True)
    for each in failed:
        _print_failures(each)
    if not failed:
        return 0
    return _FAILED if all(each.error for each in done) else _SOME_FAILED


async def _export(
    api: AsyncApi, job: ExportJob, only_plan: bool, on_event: OnProjectEvent | None
) -> Sequence[ProjectExport]:
    async with api:
        return await api.export_projects(
            job.projects,
            job.target,
            filters=job.filters(),
            order=job.order,
            include_projects=job.include_projects,
            exclude_projects=job.exclude_projects,
            plan=only_plan,
            repair=job.repair,
            on_event=on_event,
            **job.arguments(),
        )


def _row(done: ProjectExport) -> dict[str, Any]:
    result = done.result
    return {
        "project": done.project,
        "runs": result.runs if result else "",
        "rows": result.rows if result else "",
        "requests": result.requests if result else "",
        "MB in": result.received_bytes / 1e6 if result else "",
        "seconds": result.seconds if result else "",
        "what happened": outcome(done),
    }


def _plan_row(done: ProjectExport) -> dict[str, Any]:
    plan = done.plan
    return {
        "project": done.project,
        "runs": plan.runs if plan else "",
        "new": plan.new if plan else "",
        "changed": plan.changed if plan else "",
        "rows": plan.rows if plan else "",
        "size": range_text(plan.least_bytes, plan.bytes) if plan else "",
        "requests": plan.requests if plan else "",
        "time": minutes_text(plan.minutes) if plan else "",
    }


def _plan_total(done: Sequence[ProjectExport]) -> str:
    plans = [each.plan for each in done if each.plan]
    least = sum(plan.least_bytes for plan in plans)
    projects = "1 project" if len(plans) == 1 else f"{len(plans):,} projects"
    return (
        f"{projects}: about {sum(plan.rows for plan in plans):,} rows,"
        f" {range_text(least, sum(plan.bytes for plan in plans))},"
        f" {sum(plan.requests for plan in plans):,} requests,"
        f" {minutes_text(sum(plan.minutes for plan in plans))}"
    )


def outcome(done: ProjectExport) -> str:
    """What happened to the project, in two words."""
    if done.error or not done.result:
        return "failed"
    # A run may fail in several tables.
    failed = len({failure.run for failure in done.result.failed})
    if not failed:
        return "complete"
    return "1 run failed" if failed == 1 else f"{failed:,} runs failed"


class _Lines:
    """Prints every few seconds how far it is; short exports print nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._clock = clock
        self._next = clock() + SECONDS_BETWEEN_LINES
        self._ended = 0
        self._progress: dict[str, Progress] = {}

    def add(self, project: str, event: ExportEvent | ProjectExport) -> None:
        if isinstance(event, ProjectExport):
            self._ended += 1
        elif isinstance(event, Progress):
            self._progress[project] = event
        if self._clock() >= self._next:
            self._next = self._clock() + SECONDS_BETWEEN_LINES
            self._console.print(printable(self._line(project)), soft_wrap=True)

    def _line(self, project: str) -> str:
        rows = sum(each.rows for each in self._progress.values())
        received = sum(each.received_bytes for each in self._progress.values())
        return f"{self._ended:,} projects done, {rows:,} rows, {size_text(received)}; now {project}"


def _write_event(project: str, event: ExportEvent | ProjectExport) -> None:
    if not isinstance(event, ProjectExport):
        _write({"project": project} | msgspec.to_builtins(event))
        return
    facts: dict[str, Any] = {"project": project, "event": "project_finished"}
    facts |= {"folder": str(event.folder), "error": str(event.error) if event.error else None}
    if result := event.result:
        facts |= {"runs": result.runs, "rows": result.rows, "requests": result.requests}
        facts["failed"] = [{"run": each.run, "error": str(each.error)} for each in result.failed]
    _write(facts)


def _write_plan(done: ProjectExport) -> None:
    if done.plan:
        print_plan(done.plan, as_json=True)


def _write(facts: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(facts) + b"\n")
    sys.stdout.buffer.flush()


def _print_failures(done: ProjectExport) -> None:
    if done.error:
        print_error(f"project {done.project}: {done.error}")
    for failure in done.result.failed if done.result else ():
        print_error(f"run {done.project}/{failure.run}: {failure.error}")
