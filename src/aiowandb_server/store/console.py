"""A run's console output by lines, parsed into the parts that the SDK writes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiowandb_server.store.lines import texts
from aiowandb_server.store.ordering import number_of
from aiowandb_server.store.records import ListPage

if TYPE_CHECKING:
    from aiowandb_server.store.database import Database
    from aiowandb_server.store.records import RunRow

_PREFIX = re.compile(
    r"(?P<error>ERROR )?(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)Z? ?"
    r"(?:\[(?P<label>[^\]]*)\] )?(?P<text>.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """`level` is `error` for lines on stderr, otherwise empty."""

    number: int
    timestamp: str | None
    level: str
    label: str
    line: str


class Console:
    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, run: RunRow, *, first: int, after: str | None = None) -> ListPage[ConsoleLine]:
        """Lines in order, from the start or after a cursor."""
        start = 0 if (last := number_of(after)) is None else last + 1
        return self._lines(run, start, start + first)

    def tail(self, run: RunRow, last: int) -> ListPage[ConsoleLine]:
        return self._lines(run, max(run.console_lines - last, 0), run.console_lines)

    def _lines(self, run: RunRow, first: int, end: int) -> ListPage[ConsoleLine]:
        with self._database.read() as connection:
            found = texts(connection, run.id, "console", first, end)
        lines = [parse_line(number, text) for number, text in found]
        return ListPage(lines, [str(line.number) for line in lines], end < run.console_lines)


def parse_line(number: int, text: str) -> ConsoleLine:
    """Parse a stored line, `[ERROR ]TIME [[label] ]text`."""
    match = _PREFIX.fullmatch(text)
    if match is None:
        return ConsoleLine(number, None, "", "", text)
    return ConsoleLine(
        number,
        match["time"],
        "error" if match["error"] else "",
        match["label"] or "",
        match["text"],
    )
