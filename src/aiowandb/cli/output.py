"""What the commands print: tables for people, JSON and CSV for programs, errors to stderr."""

from __future__ import annotations

import csv
import json
import logging
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aiowandb.choices import RecordFormat, TableFormat
from aiowandb.wire.dotted import flattened

console = Console(highlight=False)

# A run's name may contain anything, including terminal escape sequences.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(value: object) -> Text:
    """The value as text without control characters."""
    return Text("" if value is None else _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def time_text(moment: datetime | None) -> str | None:
    """A time as shown in lists.

    >>> time_text(datetime.fromisoformat("2026-11-27T02:02:05+00:00"))
    '2026-11-27 02:02:05Z'
    """
    return moment.isoformat(" ", "seconds").replace("+00:00", "Z") if moment else None


def print_records(records: Sequence[dict[str, Any]], format: TableFormat, what: str) -> None:
    """Print records with the same keys; `what` they are is used if there are none."""
    if format == "table":
        if records:
            console.print(table(records))
        else:
            print_error(f"No {what} found.")
        return
    if not records:
        return
    show = record_printer(format, list(records[0]))
    for record in records:
        show(record)


def record_printer(
    format: Literal["json", "csv"], columns: Sequence[str]
) -> Callable[[Mapping[str, Any]], None]:
    """Returns a function that prints records one by one, as they arrive."""
    if format == "json":
        return lambda record: print_record(record, "json")
    writer = csv.writer(sys.stdout)
    is_terminal = sys.stdout.isatty()

    def show(values: Iterable[object]) -> None:
        cells = map(_cell, values)
        writer.writerow(printable(cell).plain if is_terminal else cell for cell in cells)

    show(columns)
    return lambda record: show(map(record.get, columns))


def _cell(value: object) -> object:
    """The value in a CSV cell; lists and dicts are JSON."""
    if isinstance(value, dict | list | tuple):
        return _json_line(_strict(value))
    return value


def print_record(record: Mapping[str, Any], format: RecordFormat) -> None:
    """Print one record: one line per key, or a single line of JSON."""
    if format == "json":
        text = _json_line(_strict(record))
        escaped = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        sys.stdout.buffer.write(escaped.encode() + b"\n")
        return
    members = flattened(record)
    width = max(map(len, members))
    for name, value in members.items():
        line = printable(f"{name:<{width}}  {readable(value)}".rstrip())
        console.print(line, soft_wrap=True)


def table(records: Sequence[dict[str, Any]]) -> Table:
    """A table with one column per key; numbers are right-aligned.

    Where it is too narrow, texts continue on the next line: names that are cut off name nothing.
    """
    rich_table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in records[0] if records else ():
        if any(isinstance(record.get(name), int | float) for record in records):
            rich_table.add_column(printable(name), justify="right", no_wrap=True)
        else:
            rich_table.add_column(printable(name), overflow="fold")
    for record in records:
        rich_table.add_row(*(printable(readable(value)) for value in record.values()))
    return rich_table


def print_error(message: str) -> None:
    """Print one line to stderr."""
    text = printable(" ".join(message.splitlines()))
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text("aiowandb: ") + text)


class WarningLines(logging.Handler):
    """Prints the library's log warnings to stderr."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        print_error(f"warning: {record.getMessage()}")


def readable(value: object) -> object:
    """The value as people would write it."""
    if isinstance(value, dict) and "_type" in value:
        return f"<{value['_type']}>"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:,.2f}" if 100 <= abs(value) < 1e9 else f"{value:.4g}"
    if value is None:
        return ""
    return f"{value:,}" if type(value) is int else value


def _json_line(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # A very large integer or a lone surrogate, which orjson refuses.
        return json.dumps(
            value, separators=(",", ":"), default=lambda other: orjson.loads(orjson.dumps(other))
        )


def _strict(value: Any) -> Any:
    """The value in strict JSON: NaN and infinities as strings, as W&B writes them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, list | tuple) else value
