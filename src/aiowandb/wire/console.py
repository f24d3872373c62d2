"""A run's console output, line by line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from aiowandb.paths import RunRef
from aiowandb.wire.connection import Connection
from aiowandb.wire.graphql import Operation
from aiowandb.wire.history import alias, many_runs, of_run, variables_of
from aiowandb.wire.lenient import Int64, parse_time

_CONSOLE_LOG = """
query RunConsoleLog($entity: String!, $project: String!, $name: String!,
                    $first: Int, $after: String) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      name logLineCount
      logLines(first: $first, after: $after, useImprovedPagination: true) {
        edges { node { number timestamp level label line } }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}"""

_CONSOLE_LOG_TAIL = """
query RunConsoleLogTail($entity: String!, $project: String!, $name: String!, $last: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      name logLineCount
      logLines(last: $last) { edges { node { number timestamp level label line } } }
    }
  }
}"""

_FIRST_PAGE = """
fragment FirstPage on Run {
  logLineCount
  logLines(first: 1000, useImprovedPagination: true) {
    edges { node { number timestamp level label line } }
    pageInfo { endCursor hasNextPage }
  }
}"""

_RUN = ("project?", "run?")
# A line on its way to W&B: whether it is of stderr, when it was written, by which process.
_SENT = re.compile(
    r"(?P<error>ERROR )?(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)Z? ?"
    r"(?:\[(?P<label>[^\]]*)\] )?(?P<content>.*)",
    re.DOTALL,
)


class ConsoleLogLine(msgspec.Struct, frozen=True):
    """A line that a run wrote: `level` is "error" for stderr, `label` says which process."""

    number: int
    timestamp: datetime | None
    level: str
    label: str
    content: str

    @classmethod
    def of(cls, number: int, text: str) -> ConsoleLogLine:
        """A line as W&B's own client sends it, and keeps it in its files."""
        found = _SENT.fullmatch(text)
        if found is None:
            return cls(number, None, "", "", text)
        level = "error" if found["error"] else ""
        return cls(number, parse_time(found["time"]), level, found["label"] or "", found["content"])

    def sent(self) -> str:
        """The line as W&B's own client sends it."""
        if self.timestamp is None:
            return self.content
        moment = self.timestamp.astimezone(UTC).replace(tzinfo=None)
        level = "ERROR " if self.level == "error" else ""
        label = f"[{self.label}] " if self.label else ""
        return f"{level}{moment.isoformat(timespec='microseconds')} {label}{self.content}"


class LogLine(msgspec.Struct):
    """A line as W&B sends it."""

    number: int
    timestamp: str | None = None
    level: str | None = None
    label: str | None = None
    line: str | None = None

    def read(self) -> ConsoleLogLine:
        return ConsoleLogLine(
            self.number,
            parse_time(self.timestamp),
            self.level or "",
            self.label or "",
            self.line or "",
        )


class ConsoleRun(msgspec.Struct, rename="camel"):
    log_lines: Connection[LogLine]
    name: str | None = None
    log_line_count: Int64 | None = None

    def next_cursor(self) -> str | None:
        """The cursor of the next page, or None after the last line."""
        lines = self.log_lines
        if not lines.nodes:
            return None
        # A server may send a short page and say that it was the last one.
        is_more = lines.nodes[-1].number + 1 < (self.log_line_count or 0)
        return lines.page_info.end_cursor if is_more or lines.page_info.has_next_page else None


# The beginnings of logs by the alias of each run in the document.
ConsoleRuns: TypeAlias = dict[str, ConsoleRun | None]


def first_console_pages(refs: Sequence[RunRef]) -> Operation[ConsoleRuns | None]:
    """The first lines of many runs of a project, in one request."""
    each = [(f"${alias(i)}: String!", "...FirstPage") for i in range(len(refs))]
    document = many_runs("RunConsoleLogs", each) + _FIRST_PAGE
    return Operation("RunConsoleLogs", document, variables_of(refs), ConsoleRuns, at=("project?",))


def console_page(ref: RunRef, first: int, after: str | None) -> Operation[ConsoleRun | None]:
    """A page of lines, the oldest first."""
    variables = {
        "entity": ref.entity,
        "project": ref.project,
        "name": ref.run,
        "first": first,
        "after": after,
    }
    return Operation("RunConsoleLog", _CONSOLE_LOG, variables, ConsoleRun, _RUN, of_run(ref))


def console_tail(ref: RunRef, last: int) -> Operation[ConsoleRun | None]:
    """The last lines, in one answer."""
    variables = {"entity": ref.entity, "project": ref.project, "name": ref.run, "last": last}
    return Operation(
        "RunConsoleLogTail", _CONSOLE_LOG_TAIL, variables, ConsoleRun, _RUN, of_run(ref)
    )
