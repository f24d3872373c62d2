"""Shared by the commands that write runs: options, progress and the report."""

from __future__ import annotations

import ctypes
import sys
import time
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from aiowandb.choices import CopyIds, OnExisting
from aiowandb.cli.options import one_of
from aiowandb.cli.output import console, print_error, printable, table
from aiowandb.errors import AiowandbWarning

if TYPE_CHECKING:
    from aiowandb.ingest import CopyEvent, CopyReport, OnCopyEvent

F = TypeVar("F", bound=Callable[..., Any])

_OUTPUT_OPTIONS = ("as_json", "quiet")
_SOME_FAILED = 3
_BAR_WIDTH = 20
# In glibc's malloc.h.
_M_ARENA_MAX = -8
_SECONDS_BETWEEN_LINES = 5.0


def copy_options(command: F) -> F:
    """Adds `--plan`, `--verify`, `--json` and `--quiet`."""
    return _with_options(
        command,
        click.option("--quiet", is_flag=True, help="Only print errors."),
        click.option("--json", "as_json", is_flag=True, help="Report progress as JSON lines."),
        click.option("--verify", is_flag=True, help="Read both sides back and compare them."),
        click.option("--plan", is_flag=True, help="Send nothing; print what would be sent."),
    )


def write_options(command: F) -> F:
    """Adds the options of all commands that write runs to a project DST."""
    command = _with_options(
        command,
        click.option(
            "--on-existing",
            type=one_of(OnExisting),
            default="fail",
            show_default=True,
            help="What to do with runs in DST that are not copies of these.",
        ),
        click.option(
            "--ids",
            type=one_of(CopyIds),
            default="keep",
            show_default=True,
            help="Whether runs keep their ids.",
        ),
    )
    return copy_options(command)


def _with_options(command: F, *options: Callable[[F], F]) -> F:
    """Adds the options; the help shows the last one first."""
    for option in options:
        command = option(command)
    return command


@dataclass(frozen=True)
class CopyOutput:
    """The output of a copy."""

    as_json: bool
    quiet: bool

    def __post_init__(self) -> None:
        if self.as_json and self.quiet:
            raise click.UsageError("--json and --quiet cannot be combined.")

    @contextmanager
    def listening(self) -> Iterator[OnCopyEvent | None]:
        """Shows progress while the copy is running."""
        if self.quiet:
            yield None
        elif self.as_json:
            yield _write_json
        else:
            with _shown() as on_event:
                yield on_event

    def show(self, report: CopyReport) -> None:
        """Print the result, and exit with a code that shows whether it succeeded."""
        if self.as_json:
            sys.stdout.buffer.write(_finished(report))
        elif not self.quiet:
            console.print(table([_summary(report)]))
            _print_notes(report)
        for failure in report.failed:
            print_error(f"run {failure.run}: {failure.error}")
        if not self.as_json:
            for difference in report.differences or ():
                console.print(printable(difference), soft_wrap=True)
        if report.failed or report.differences:
            sys.exit(_SOME_FAILED)


def run_copy(copy: Callable[..., Awaitable[CopyReport]], options: dict[str, Any]) -> None:
    """Run what writes runs with these options, and report it."""
    output = CopyOutput(**{name: options.pop(name) for name in _OUTPUT_OPTIONS})
    if output.quiet:
        warnings.simplefilter("ignore", AiowandbWarning)
    _share_free_memory()
    try:
        with output.listening() as on_event:
            report = anyio.run(partial(copy, **options, on_event=on_event))
    except KeyboardInterrupt:
        print_error("Interrupted. What was copied is kept; run the same command to resume.")
        sys.exit(130)
    output.show(report)


def _share_free_memory() -> None:
    """Let the threads that convert rows share the memory that they have freed.

    glibc keeps it for each thread apart: a copy of 160 runs took a tenth more. Exports do not
    gain, whose rows are in Arrow's own memory.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


@contextmanager
def _shown() -> Iterator[OnCopyEvent]:
    from aiowandb.ingest import CopyProgress

    err = Console(stderr=True, highlight=False)
    due = time.monotonic() + _SECONDS_BETWEEN_LINES

    def line(event: CopyProgress) -> str:
        total = "" if event.total is None else f" of {event.total:,}"
        return f"runs: {event.runs:,}{total} runs, {event.rows:,} rows, {event.bytes / 1e6:,.1f} MB"

    def print_line(event: CopyEvent) -> None:
        nonlocal due
        if isinstance(event, CopyProgress) and time.monotonic() >= due:
            due = time.monotonic() + _SECONDS_BETWEEN_LINES
            err.print(line(event), soft_wrap=True)

    if not err.is_terminal:
        yield print_line
        return
    columns = BarColumn(_BAR_WIDTH), TextColumn("{task.description}")
    with Progress(*columns, console=err, transient=True) as display:
        task = display.add_task("listing runs", total=None)

        def draw(event: CopyEvent) -> None:
            if isinstance(event, CopyProgress):
                total = event.total or None
                display.update(task, total=total, completed=event.runs, description=line(event))

        yield draw


def _write_json(event: CopyEvent) -> None:
    from aiowandb.ingest import CopiedRun

    facts = msgspec.to_builtins(event)
    if isinstance(event, CopiedRun):
        facts = {"event": "run", **facts}
    sys.stdout.buffer.write(msgspec.json.encode(facts) + b"\n")
    sys.stdout.buffer.flush()


def _summary(report: CopyReport) -> dict[str, Any]:
    if plan := report.plan:
        return {
            "runs": plan.runs,
            "unchanged": report.counts.get("unchanged", 0),
            "rows": plan.rows,
            "MB": plan.bytes / 1e6,
            "requests": plan.requests,
            "minutes": plan.minutes,
        }
    words = ("created", "updated", "unchanged", "skipped", "failed")
    counts = {word: number for word in words if (number := report.counts.get(word))}
    carried = report.carried
    summary: dict[str, Any] = {"runs": len(report.runs), **counts, "rows": carried.get("rows", 0)}
    summary |= {"files": carried.get("files", 0), "MB": carried.get("bytes", 0) / 1e6}
    summary |= {"requests": report.requests, "seconds": report.seconds}
    if report.differences is not None:
        summary["differences"] = len(report.differences)
    return summary


def _print_notes(report: CopyReport) -> None:
    """Print each thing that was changed or left out once, with the number of runs or artifacts."""
    for word in ("changed", "dropped"):
        for what, copied in (("runs", report.runs), ("artifacts", report.artifacts)):
            counts = Counter(note for each in copied for note in getattr(each, word))
            for note, number in counts.items():
                console.print(printable(f"{word} ({number:,} {what}): {note}"), soft_wrap=True)


def _finished(report: CopyReport) -> bytes:
    facts: dict[str, Any] = {"event": "finished", "source": report.source, "target": report.target}
    facts |= {"counts": report.counts, "carried": report.carried, "plan": report.plan}
    facts |= {"requests": report.requests, "seconds": report.seconds}
    facts["failed"] = [{"run": each.run, "error": each.error} for each in report.failed]
    noted = [each for each in report.artifacts if each.changed or each.dropped]
    facts["artifacts"] = [
        {"artifact": each.run, "changed": each.changed, "dropped": each.dropped} for each in noted
    ]
    facts["differences"] = report.differences
    return msgspec.json.encode(facts) + b"\n"
