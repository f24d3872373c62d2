"""The HTML of a run in notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from msgspec import UNSET

from aiowandb.wire.dotted import flattened
from aiowandb.wire.record import RunRecord

_MAX_ROWS = 12
_MAX_CHARACTERS = 60


def run_card(run: RunRecord, url: str) -> str:
    """A small table of the run's state, config and summary."""
    made = f"{run.created_at:%Y-%m-%d %H:%M} UTC" if run.created_at else ""
    about = [("state", run.state), ("created", made), ("steps", run.last_step + 1)]
    if run.tags:
        about.append(("tags", ", ".join(run.tags)))
    title = f'<a href="{escape(url)}">{escape(run.name or run.id)}</a>'
    columns: list[tuple[str, Iterable[tuple[str, Any]]]] = [("", about)]
    if run.config_json is not UNSET:
        columns.append(("config", flattened(run.config).items()))
    if run.summary_json is not UNSET:
        summary = flattened(run.summary).items()
        columns.append(("summary", (item for item in summary if not item[0].startswith("_"))))
    cells = "".join(
        f'<td style="vertical-align:top"><b>{name}</b>{_list(items)}</td>'
        for name, items in columns
    )
    return f"<table><caption>{title}</caption><tr>{cells}</tr></table>"


def _list(items: Iterable[tuple[str, Any]]) -> str:
    rows = list(items)
    lines = [f"<tr><td>{escape(key)}</td><td>{_short(value)}</td></tr>" for key, value in rows]
    if len(lines) > _MAX_ROWS:
        lines[_MAX_ROWS:] = [f"<tr><td>and {len(rows) - _MAX_ROWS} more</td><td></td></tr>"]
    return f"<table>{''.join(lines)}</table>"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…")
