"""What `aiowandb export --plan` prints: a table of what would be fetched, and what would not be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec

from aiowandb.cli.output import console, print_error, printable, table

if TYPE_CHECKING:
    from aiowandb.export import ExportPlan, TablePlan

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def print_plan(plan: ExportPlan, *, as_json: bool) -> None:
    """Print the plan for people, or as one line of JSON."""
    if as_json:
        facts = {"event": "plan"} | {
            name: getattr(plan, name)
            for name in (*plan.__struct_fields__, "rows", "least_bytes", "bytes", "fits")
        }
        sys.stdout.buffer.write(msgspec.json.encode(facts) + b"\n")
        return
    for line in _head(plan):
        console.print(printable(line), soft_wrap=True)
    console.print(table([_row(each) for each in plan.tables]))
    for line in _cost(plan):
        console.print(printable(line), soft_wrap=True)
    if plan.left_out:
        console.print(printable("Not exported:"))
    for omission in plan.left_out:
        console.print(printable(f"  {omission}"), soft_wrap=True)
    if plan.fits is False:
        print_error(f"The disk of {plan.target} has too little space.")


def _head(plan: ExportPlan) -> list[str]:
    counts = {"new": plan.new, "changed": plan.changed, "unchanged": plan.unchanged}
    of_runs = ", ".join(f"{count:,} {word}" for word, count in counts.items())
    lines = [f"{plan.project} to {plan.target}: {plan.runs:,} runs ({of_runs})"]
    if plan.missing:
        lines.append(f"{plan.missing:,} runs in the folder are no longer listed.")
    return lines


def _row(each: TablePlan) -> dict[str, Any]:
    return {
        "what": each.table,
        "runs": each.runs,
        "rows": _known(each.rows),
        "files": _known(each.files),
        "size": "" if each.bytes is None else range_text(each.least_bytes, each.bytes),
        "requests": each.requests,
        "downloads": each.downloads,
    }


def _known(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _cost(plan: ExportPlan) -> list[str]:
    rate = f"{plan.rate:,.3g} a second" if plan.rate else "no limit known"
    size = range_text(plan.least_bytes, plan.bytes)
    lines = [
        f"About {plan.rows:,} rows and {size}, as far as W&B tells.",
        f"About {plan.requests:,} requests, {minutes_text(plan.minutes)} ({rate}),"
        f" and {sum(each.downloads for each in plan.tables):,} downloads.",
    ]
    if plan.free_bytes is not None:
        lines.append(f"Free at {plan.target}: {size_text(plan.free_bytes)}.")
    return lines


def minutes_text(minutes: float) -> str:
    """About how long it takes, for people."""
    if minutes < 1:
        return "less than a minute"
    return f"{minutes:,.0f} minutes" if minutes >= 1.5 else "a minute"


def range_text(least: int | None, most: int) -> str:
    """Two numbers of bytes for people, or one if they are the same.

    >>> range_text(61_234, 1_234_567), range_text(1_234, 2_345)
    ('61 kB to 1.2 MB', '1.2 to 2.3 kB')
    """
    first, last = size_text(most if least is None else least), size_text(most)
    if first == last:
        return last
    number, unit = first.split()
    return f"{number if last.endswith(f' {unit}') else first} to {last}"


def size_text(size: float) -> str:
    """A number of bytes for people.

    >>> size_text(1_234_567)
    '1.2 MB'
    """
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return (
        f"{size:,.0f} {_UNITS[unit]}" if unit == 0 or size >= 10 else f"{size:.1f} {_UNITS[unit]}"
    )
