"""What the commands print: tables for people, JSON and CSV for programs, complaints for stderr."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from typing import Any, Literal

import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

TableFormat = Literal["table", "json", "csv"]

console = Console(highlight=False)

# A run's name may hold whatever its author typed, escape sequences included.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(value: object) -> Text:
    """The value as text that does nothing to a terminal but appear."""
    return Text("" if value is None else _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def print_records(records: Sequence[dict[str, Any]], format: TableFormat) -> None:
    """Print records that have the same members."""
    if format == "json":
        for record in records:
            sys.stdout.buffer.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
    elif format == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(records[0] if records else ())
        writer.writerows(record.values() for record in records)
    else:
        console.print(table(records))


def print_record(record: dict[str, Any], format: Literal["table", "json"]) -> None:
    """Print one record, a member a line."""
    if format == "json":
        sys.stdout.buffer.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        return
    drawn = Table(box=None, pad_edge=False, show_header=False)
    for name, value in record.items():
        drawn.add_row(name, printable(_readable(value)))
    console.print(drawn)


def table(records: Sequence[dict[str, Any]]) -> Table:
    """A table with a column a member; numbers stand on the right."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, value in (records[0] if records else {}).items():
        drawn.add_column(name, justify="right" if isinstance(value, int | float) else "left")
    for record in records:
        drawn.add_row(*(printable(_readable(value)) for value in record.values()))
    return drawn


def complain(message: str) -> None:
    """One line for a person, on stderr."""
    text = printable(" ".join(message.splitlines()))
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text("aiowandb: ") + text)


def _readable(value: object) -> object:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else value
