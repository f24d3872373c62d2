"""Decodes the records of a `.wandb` file: rows, lines, and the fields of the run.

Values in records are JSON texts, and stay so: nothing is rounded or left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, TypeAlias

from aiowandb.ingest.sources.protobuf import Message
from aiowandb.wire import lenient
from aiowandb.wire.console import ConsoleLogLine
from aiowandb.wire.rows import RUNTIME, STEP, TIME

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
        _put(texts, _path(item), item.text(16))
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
        _put(row, _path(item), item.text(16) or "null")
    if STEP not in row and 2 in history:
        row[STEP] = str(history.message(2).integer(1))
    return row


def step_of(row: Texts) -> int:
    """The step of a row, or -1."""
    try:
        return int(str(row.get(STEP)))
    except ValueError:
        return -1


def metrics_line(stats: Message, started: int) -> str:
    """A row of the system metrics, as a line of JSON; the run began at this nanosecond."""
    moment = stats.nanoseconds(2) or started
    seconds, rest = divmod(moment - started, 10**9)
    # In two steps, as wandb computes it: the last digit may differ from that of one division.
    times = {TIME: repr(moment / 10**9), RUNTIME: repr(seconds + rest / 10**9)}
    row: Texts = {"_wandb": "true", **times}
    for item in stats.messages(3):
        row[f"system.{item.text(1)}"] = item.text(16)
    return rendered(row)


def _path(item: Message) -> list[str]:
    # A key is used unchanged, including dots; nested keys have a path.
    return item.texts(2) or [item.text(1)]


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
    value = lenient.loads(text) if text and text.startswith("{") else None
    return {key: lenient.dumps(each) for key, each in value.items()} if value else {}


def moment_of(nanoseconds: int) -> datetime:
    """The time of a record, in microseconds."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


class ConsoleSplitter:
    """Splits the console output, which comes in pieces, into lines."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, int | None]] = {}
        self._number = 0

    def add(self, output: Message) -> Iterator[ConsoleLogLine]:
        """The lines that this piece completes."""
        level = "" if output.integer(1) else "error"
        moment = output.nanoseconds(2)
        before, began = self._open.pop(level, ("", None))
        *complete, rest = (before + output.text(3)).split("\n")
        for text in complete:
            yield self._line(text, level, moment if began is None else began)
            began = None
        if rest:
            self._open[level] = rest, moment if began is None else began

    def end(self) -> Iterator[ConsoleLogLine]:
        """The incomplete last lines."""
        for level, (text, began) in self._open.items():
            yield self._line(text, level, began)

    def _line(self, text: str, level: str, moment: int | None) -> ConsoleLogLine:
        shown = ""
        for part in text.split("\r"):  # each part overwrites the one before
            shown = part + shown[len(part) :]
        time = None if moment is None else moment_of(moment)
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
