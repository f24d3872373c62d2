"""Adding rows to a run: the requests of the file stream, with the summary that they lead to."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from numbers import Real
from typing import Any
from urllib.parse import quote

import msgspec

from aiowandb.arguments import shown
from aiowandb.errors import UsageError
from aiowandb.wire import lenient
from aiowandb.wire.append_tokens import SUMMARY_KEY, TokenProgress
from aiowandb.wire.json_edit import changed_object
from aiowandb.wire.record import RunRecord

# The exit codes that stand for the states a run can end in.
_EXIT_CODES = {"finished": 0, "failed": 1}

# W&B takes about 10 MiB in a request; a batch stays well below.
_BATCH_BYTES = 2 << 20
_MAX_LINE_BYTES = (10 << 20) - (100 << 10)


class FileChunk(msgspec.Struct):
    offset: int
    content: list[str]


class Appender(msgspec.Struct):
    """The id of a writer, and which lines of the history it has added so far."""

    writer: str
    first: int
    lines: int


class StreamAnswer(msgspec.Struct):
    """The response to a request of the file stream.

    What has any of the others is the response to another request, or says that it failed.
    """

    stopped: bool = False
    data: None = None
    error: None = None
    errors: None = None


class PendingRows:
    """Rows that are to be added to the end of a run's history, with their offsets and steps."""

    batch_rows = 1000

    def __init__(
        self,
        run: RunRecord,
        *,
        state: str | None,
        token: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = "/files/" + quote(f"{run.ref}") + "/file_stream"
        self.last_step: int = run.last_step
        self.added = 0
        self._progress = TokenProgress(token, run) if token is not None else None
        self._state = state
        self._state_now = run.state
        self._state_before = self._progress.state_before if self._progress else run.state
        self._writer = secrets.token_hex(16)
        self._clock = clock
        self._started = clock()
        self._first = run.history_line_count or 0
        # The parts of the summary that the rows do not change are sent back as the same text.
        self._stored_summary = run.summary_json or None
        self._read_summary = dict(run.summary)
        self._summary = dict(self._read_summary)
        runtime = self._summary.get("_runtime")
        self._runtime = float(runtime) if runtime is not None and _is_number(runtime) else 0.0
        self._metrics = _summary_modes(run.raw_config)
        self._lines: list[str] = []
        self._size = 0

    @property
    def skipped(self) -> int:
        """How many of the rows were in the run already."""
        return self._progress.skipped if self._progress else 0

    def add(self, row: Mapping[str, Any], step: int | None) -> None:
        """Take a row, at the given step, its own or the next. It must be after the last one."""
        if self._progress and self._progress.skip(row, step):
            return
        now = self._clock()
        complete = complete_row(row, step, self.last_step, now, self._runtime + now - self._started)
        line = line_of(complete)
        if self._progress:
            self._progress.take(row, step)
        self._lines.append(line)
        self._size += len(line)
        self.last_step = complete["_step"]
        for key, value in complete.items():
            _summarise(self._summary, key, value, self._metrics.get(key))

    @property
    def is_full(self) -> bool:
        return len(self._lines) >= self.batch_rows or self._size >= _BATCH_BYTES

    @property
    def waiting(self) -> list[str]:
        """The lines that `body` sends."""
        return self._lines

    @property
    def line_count(self) -> int:
        """How many lines the history has with all rows that were acknowledged."""
        return self._first + self.added

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to send: no rows were added, and the state stays the same."""
        is_same_state = self._state is None and self._state_now == self._state_before
        return is_same_state and not self._lines and not self.added

    def end_state(self, *, failed: bool) -> str:
        """The run's state afterwards: the requested one, or what it was before."""
        if self._state is None:
            return self._state_before or "finished"
        return "failed" if failed else self._state

    def require_all(self) -> None:
        """Raise if rows that were added before were not given again."""
        if self._progress:
            self._progress.require_all()

    def body(self, *, end: str | None = None, exclusive: bool = False) -> dict[str, Any]:
        """The request that adds the waiting rows. If it is sent twice, they are stored once.

        `end` is the state that the run is to end in. Without it the run is `running`, and W&B
        marks it as crashed if nothing more comes: a writer that dies half-way must not leave a
        run that looks finished. `exclusive` asks a server that supports it to store the rows at
        the end of the history or not at all.
        """
        files: dict[str, FileChunk] = {}
        if self._lines:
            files["wandb-history.jsonl"] = FileChunk(self.line_count, self._lines)
            files["wandb-summary.json"] = FileChunk(0, [self._summary_text()])
        body: dict[str, Any] = {"files": files}
        if exclusive:
            body["appender"] = Appender(self._writer, self._first, self.added)
        if end in _EXIT_CODES:
            body |= {"complete": True, "exitcode": _EXIT_CODES[end]}
        return body

    def _summary_text(self) -> str:
        return changed_object(self._stored_summary, self._read_summary, self._summary_now())

    def sent(self) -> None:
        """The rows of `body` have been acknowledged."""
        self.added += len(self._lines)
        self.drop()

    def drop(self) -> None:
        """Forget the waiting rows: they cannot be sent."""
        self._lines = []
        self._size = 0

    def _summary_now(self) -> dict[str, Any]:
        if self._progress is None:
            return self._summary
        lines = self.line_count + len(self._lines)
        return self._summary | {SUMMARY_KEY: self._progress.summary_value(self.last_step, lines)}


def check_step(row: Mapping[str, Any], step: int | None) -> None:
    """Raise if the row has another step than the given one."""
    if step is not None and row.get("_step", step) != step:
        raise UsageError(
            f"step is {step}, but the row has the _step {shown(row['_step'])}:"
            " pass only one of them."
        )


def complete_row(
    row: Mapping[str, Any], step: int | None, last_step: int, now: float, runtime: float
) -> dict[str, Any]:
    """The row with its step, which must be after the last one, and with times."""
    if step is None:
        step = row.get("_step", last_step + 1)
    if type(step) is not int:
        raise UsageError(f"_step must be an integer, not {step!r}.")
    if step <= last_step:
        raise UsageError(f"Rows are added at the end: step {step} is not after step {last_step}.")
    _check_row(row)
    return {"_timestamp": now, "_runtime": runtime} | dict(row) | {"_step": step}


def line_of(row: Mapping[str, Any]) -> str:
    """The line of a complete row. Raises if W&B does not accept it."""
    line = lenient.dumps(row)
    if len(line) > _MAX_LINE_BYTES:
        raise UsageError(
            f"The row of step {row['_step']} has {len(line):,} bytes; W&B allows 10 MB."
        )
    return line


def _check_row(row: Mapping[str, Any]) -> None:
    """Raise for rows that W&B would accept, and could not read afterwards."""
    for name in ("_timestamp", "_runtime"):
        if name in row and not _is_number(row[name]):
            raise UsageError(f"{name} must be a finite number, not {shown(row[name])}.")
    _check_keys(row)


def _check_keys(value: Any) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or not key:
                raise UsageError(f"A key must be a string that is not empty, not {shown(key)}.")
            _check_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            if isinstance(inner, Mapping | list | tuple):
                _check_keys(inner)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _summary_modes(raw_config: Mapping[str, Any]) -> dict[str, frozenset[int]]:
    """The summary modes of `define_metric` by metric, as W&B stores them in the config."""
    own = raw_config.get("_wandb")
    defined = own.get("value", {}).get("m", []) if isinstance(own, dict) else []
    return {
        metric["1"]: frozenset(metric["7"])
        for metric in defined
        if isinstance(metric, dict) and "1" in metric and "7" in metric
    }


def _summarise(summary: dict[str, Any], key: str, value: Any, modes: frozenset[int] | None) -> None:
    before = summary.get(key)
    if not modes:
        summary[key] = _merged(before, value)
        return
    if _NONE in modes:
        return
    kept: dict[str, Any] = dict(before) if isinstance(before, dict) else {}
    for mode, name in _MODES.items():
        if mode in modes:
            with suppress(TypeError):  # what cannot be compared is neither min nor max
                kept[name] = _MERGE[name](kept.get(name, value), value)
    summary[key] = kept


def _merged(before: Any, value: Any) -> Any:
    if isinstance(before, dict) and isinstance(value, Mapping) and "_type" not in value:
        return before | {key: _merged(before.get(key), inner) for key, inner in value.items()}
    return value


_NONE = 6
_MODES = {1: "min", 2: "max", 5: "last", 8: "first"}
_MERGE: dict[str, Callable[[Any, Any], Any]] = {
    "min": min,
    "max": max,
    "last": lambda _, value: value,
    "first": lambda before, _: before,
}
