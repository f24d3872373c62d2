"""Job files: the options of an export as TOML, read with errors that name the line, or written."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import msgspec

from aiowandb.api.exporting import EXPORT_CHECKS
from aiowandb.arguments import ANY_NAMES, Check, Unfit, text
from aiowandb.cli.export_jobs import ExportJob
from aiowandb.cli.options import check_sort_order, parse_filter
from aiowandb.config.settings import checked_url
from aiowandb.config.text_files import named_text
from aiowandb.errors import UsageError
from aiowandb.suggestions import did_you_mean, listed

_HEAD = "# Run it with: aiowandb export --job FILE\n"
# What TOML does not allow in a string as it is.
_ESCAPED = re.compile(r'[\x00-\x1f\x7f"\\]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _since(value: Any) -> datetime:
    """A date or a time; without an offset it is in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return datetime.combine(value, time())
    raise Unfit(": write it without quotes") if isinstance(value, str) else Unfit


def _filter(value: Any) -> str:
    if isinstance(value, Mapping):
        value = msgspec.json.encode(value).decode()
    if not isinstance(value, str):
        raise Unfit
    parse_filter(value)
    return value


def _checked(what: str, check: Callable[[str], object]) -> Check:
    def convert(value: Any) -> str:
        if not isinstance(value, str):
            raise Unfit
        check(value)
        return value

    return Check(what, convert)


def _some_projects(value: Any) -> tuple[str, ...]:
    found: tuple[str, ...] = ANY_NAMES("projects", value)
    if not found:
        raise Unfit
    return found


_CHECKS: Mapping[str, Check] = {
    name: check for name, check in EXPORT_CHECKS.items() if name in ExportJob.__struct_fields__
} | {
    "projects": Check("a list like ['entity/project'] or ['entity/*']", _some_projects),
    "target": text("a folder", empty=True),
    "include_projects": ANY_NAMES,
    "exclude_projects": ANY_NAMES,
    "base_url": _checked("a URL", checked_url),
    "local": text("a folder"),
    "filter": Check("an expression like 'state == \"finished\"', or a table", _filter),
    "order": _checked("an order like '-created_at'", check_sort_order),
    "runs": ANY_NAMES,
    "since": Check("a date like 2026-01-31 or a time like 2026-01-31T12:30:00", _since),
    "all_keys": EXPORT_CHECKS["any_key"],
}


def read_job(path: Path) -> ExportJob:
    """The job in a file; a `UsageError` names the line of what is wrong."""
    try:
        content = named_text(path)
        given = tomllib.loads(content)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not valid UTF-8: {error}.") from None
    except (ValueError, RecursionError) as error:  # also of numbers that are too long
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    values = {}
    for key, value in given.items():
        where = f"{path}{_line_of(key, content)}"
        if key not in _CHECKS:
            known = list(ExportJob.__struct_fields__)
            hint = did_you_mean(key.replace("-", "_"), known) or f". Keys: {', '.join(known)}."
            raise UsageError(f"{where}: there is no key {key!r}{hint}")
        try:
            values[key] = _CHECKS[key](key, value)
        except UsageError as error:
            said = str(error)
            raise UsageError(
                f"{where}: {said}" if key in said else f"{where}: {key}: {said}"
            ) from None
    if missing := [key for key in ("projects", "target") if key not in values]:
        raise UsageError(f"{path} has no {listed(missing)}: every job needs projects and a target.")
    try:
        return msgspec.convert(values, ExportJob)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}.") from None


def _line_of(key: str, content: str) -> str:
    """Where the file has this key, as the end of a phrase."""
    name = re.escape(key)
    found = re.search(
        rf"""^[ \t]*(\[+[ \t]*)?["']?{name}["']?[ \t]*[=.\]]""", content, re.MULTILINE
    )
    return f", line {content.count(chr(10), 0, found.start()) + 1}" if found else ""


def job_text(job: ExportJob) -> str:
    """The file of a job: what differs from the defaults."""
    defaults = ExportJob(projects=(), target="\0")
    lines = [
        f"{name} = {_toml(value)}\n"
        for name in job.__struct_fields__
        if (value := getattr(job, name)) != getattr(defaults, name)
    ]
    return _HEAD + "".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, str):
        return str(value)
    if '"' in value and "'" not in value and not _CONTROL.search(value):
        return f"'{value}'"
    escaped = _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
    return '"' + escaped.replace("\\u0022", '\\"').replace("\\u005c", "\\\\") + '"'
