"""Decodes the records of a `.wandb` file: rows, lines, and the fields of the run.

Values in records are JSON texts, and stay so: nothing is rounded or left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any, TypeAlias

import msgspec

from aiowandb.errors import ServerError
from aiowandb.ingest.facts import moment
from aiowandb.ingest.sources.protobuf import MalformedMessage, Message
from aiowandb.wire import lenient
from aiowandb.wire.console import ConsoleLogLine
from aiowandb.wire.rows import RUNTIME, STEP, TIME

# It finds the end of a value, and does not decode it.
_check = msgspec.json.Decoder(msgspec.Raw).decode
# W&B's client takes no values that are nested as deeply.
_DEEPEST = 200
# A nested object whose leaves are JSON texts.
Texts: TypeAlias = "dict[str, str | Texts]"


class RecordKind(IntEnum):
    """The kind of a record, which is the number of the field that is set."""

    HISTORY = 2
    SUMMARY = 3
    OUTPUT = 4
    CONFIG = 5
    FILES = 6
    STATS = 7
    ARTIFACT = 8
    TELEMETRY = 11
    METRIC = 12
    OUTPUT_RAW = 13
    RUN = 17
    EXIT = 18
    PREEMPTING = 23
    USE_ARTIFACT = 25
    ENVIRONMENT = 26


# How a record of one of these kinds begins, after its number.
KINDS = {kind.value: kind for kind in RecordKind}


def kind_of_record(record: Message) -> RecordKind | None:
    """The kind of the record; None if an importer does not need it."""
    return next((KINDS[number] for number in record.numbers if number in KINDS), None)


def rendered(texts: Texts) -> str:
    """The JSON text of such an object."""
    members = (
        f"{lenient.dumps(key)}:{value if isinstance(value, str) else rendered(value)}"
        for key, value in texts.items()
    )
    return "{" + ",".join(members) + "}"


def change(texts: Texts, record: Message) -> None:
    """Apply a record that updates and removes values of a config or a summary."""
    for item in record.messages(1):
        _put(texts, _path(item), _value(item))
    for item in record.messages(2):
        *above, last = _path(item)
        place: Any = texts
        for key in above:
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(last, None)


def row_texts(history: Message) -> Texts:
    """A row of the history."""
    row: Texts = {}
    for item in history.messages(1):
        _put(row, _path(item), _value(item))
    if STEP not in row and 2 in history:
        row[STEP] = str(history.message(2).integer(1))
    return row


def rows_in(kind: RecordKind, record: Message) -> Sequence[Texts]:
    """The row of a record, if it has one."""
    return [row_texts(record)] if kind is RecordKind.HISTORY else []


def step_of(row: Texts) -> int:
    """The step of a row, or -1."""
    try:
        return int(str(row.get(STEP)))
    except ValueError:
        return -1


def metrics_line(stats: Message, started: int) -> str:
    """A row of the system metrics, as a line of JSON; the run began at this nanosecond."""
    at = stats.nanoseconds(2) or started
    seconds, rest = divmod(at - started, 10**9)
    # In two steps, as wandb computes it: the last digit may differ from that of one division.
    times = {TIME: repr(at / 10**9), RUNTIME: repr(seconds + rest / 10**9)}
    row: Texts = {"_wandb": "true", **times}
    for item in stats.messages(3):
        row[f"system.{item.text(1)}"] = _value(item)
    return rendered(row)


def _path(item: Message) -> list[str]:
    # A key is used unchanged, including dots; nested keys have a path.
    path = item.texts(2) or [item.text(1)]
    if len(path) > _DEEPEST:
        raise MalformedMessage("a key is nested too deeply")
    return path


def _value(item: Message) -> str:
    """The JSON text of a value, in one line."""
    text = item.text(16) or "null"
    try:
        _check(text)
        if "\n" not in text:
            return text
    except (msgspec.MsgspecError, RecursionError):
        pass  # such as NaN
    value = value_in(text)
    return lenient.dumps(value) if "\n" in text else text


def value_in(text: str) -> Any:
    """The value of such a text."""
    try:
        return lenient.loads(text)
    except ServerError:
        raise MalformedMessage("a value is not JSON") from None


def _put(texts: Texts, path: list[str], value: str) -> None:
    *above, last = path
    for key in above:
        below = texts.get(key)
        if not isinstance(below, dict):
            # A value is decoded when a part of it is written.
            below = _taken_apart(below)
            texts[key] = below
        texts = below
    texts[last] = value


def _taken_apart(text: str | None) -> Texts:
    return {key: lenient.dumps(each) for key, each in object_in(text or "").items()}


def object_in(text: str) -> dict[str, Any]:
    """The object that a value is; an empty one if it is none, or cannot be read."""
    try:
        return lenient.loads_object(text) if text.startswith("{") else {}
    except ServerError:
        return {}


def moment_of(nanoseconds: int) -> datetime | None:
    """The time of a record, in microseconds."""
    seconds, rest = divmod(nanoseconds, 10**9)
    found = moment(seconds)
    return found and found.replace(microsecond=rest // 1000)


class ConsoleSplitter:
    """Splits the console output, which comes in pieces, into lines."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, int | None]] = {}
        self._number = 0

    def add(self, output: Message) -> Iterator[ConsoleLogLine]:
        """The lines that this piece completes."""
        level = "" if output.integer(1) else "error"
        at = output.nanoseconds(2)
        before, began = self._open.pop(level, ("", None))
        *complete, rest = (before + output.text(3)).split("\n")
        for text in complete:
            yield self._line(text, level, at if began is None else began)
            began = None
        if rest:
            self._open[level] = rest, at if began is None else began

    def end(self) -> Iterator[ConsoleLogLine]:
        """The incomplete last lines."""
        for level, (text, began) in self._open.items():
            yield self._line(text, level, began)

    def _line(self, text: str, level: str, at: int | None) -> ConsoleLogLine:
        shown = ""
        for part in text.split("\r"):  # each part overwrites the one before
            shown = part + shown[len(part) :]
        time = None if at is None else moment_of(at)
        self._number += 1
        return ConsoleLogLine(self._number - 1, time, level, "", shown)


class MetricDefinitions:
    """The metrics of `define_metric`, in the format of W&B's part of the config."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, metric: Message) -> None:
        name, glob = metric.text(1), metric.text(2)
        found = self._found.setdefault((name, glob), {})
        if metric.message(9).flag(1):  # an earlier definition is replaced
            found.clear()
        if axis := metric.text(4):
            found["axis"] = axis
            self._found.setdefault((axis, ""), {})
        options, summary = metric.message(6), metric.message(7)
        # Patterns do not define metrics.
        flags = (1, 2) if glob else (1, 3, 2)
        found["options"] = [number for number in flags if options.flag(number)]
        modes = [number for number in range(1, 9) if summary.flag(number)]
        found["summary"] = modes or found.get("summary", [])
        if goal := metric.integer(8):
            found["goal"] = goal

    def encoded(self) -> list[dict[str, Any]]:
        """The list from which W&B's pages read the axes of charts."""
        places = {name: place for place, (name, _) in enumerate(self._found, 1) if name}
        found = []
        for (name, glob), metric in self._found.items():
            entry: dict[str, Any] = {"1": name} if name else {"2": glob}
            if "axis" in metric:
                entry["5"] = places[metric["axis"]]
            entry |= {"6": metric.get("options", []), "7": metric.get("summary", [])}
            if "goal" in metric:
                entry["8"] = metric["goal"]
            found.append(entry)
        return found


def telemetry_by_number(telemetry: Message) -> dict[str, Any]:
    """The telemetry of W&B's client, in the format in which it is sent."""
    found: dict[str, Any] = {}
    for number in (1, 2, 3, 8, 9, 10):  # sets of flags
        flags = telemetry.message(number)
        if number == 9:
            labels = {str(each): flags.text(each) for each in flags.numbers}
            found |= {str(number): labels} if labels else {}
        elif numbers := [each for each in flags.numbers if flags.flag(each)]:
            found[str(number)] = numbers
    for number in (4, 5, 6, 12, 13):  # versions
        if text := telemetry.text(number):
            found[str(number)] = text
    return found
