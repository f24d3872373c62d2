"""Records which rows of a token a run has, so that an interrupted append can be repeated.

The record is in the run's summary, as JSON text under one key. It is sent in the same request as
the rows that it counts, so that a writer that is killed has added both or neither. If the same rows
are passed with the same token again, those that exist are skipped, after a digest has shown that
they are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from aiowandb.errors import ConflictError, UsageError
from aiowandb.wire import lenient
from aiowandb.wire.record import RunRecord

SUMMARY_KEY = "_appended"

# The most recent tokens; each takes about 150 bytes of a summary that is sent with every batch.
_MAX_TOKENS = 16
# These differ each time that the same row is passed.
_CLOCKS = frozenset({"_timestamp", "_runtime"})

# The final states of runs, and their states after an append was killed.
_ENDED = frozenset({"finished", "failed"})
_LEFT_BY_A_KILL = frozenset({"running", "crashed"})


class TokenRows(msgspec.Struct, frozen=True):
    """The rows of one token that a run has, and the state of the run before the first of them."""

    rows: int
    digest: str
    last_step: int
    lines: int
    state: str | None = None


_DECODER = msgspec.json.Decoder(dict[str, TokenRows])


class TokenProgress:
    """Compares the rows that are passed with a token to those that were added with it before."""

    def __init__(self, token: str, run: RunRecord) -> None:
        if not token:
            raise UsageError("token is empty: leave it out, or give the rows a name.")
        self._token = token
        self._ref = run.ref
        self._all = _read(run)
        self._before = self._all.pop(token, None)
        self._digest = hashlib.sha256()
        self._given = 0
        if self._before and (
            self._before.last_step > run.last_step
            or self._before.lines > (run.history_line_count or 0)
        ):
            raise ConflictError(
                f"Run {run.ref} has lost rows that were added with token {token!r}, which ended"
                f" at step {self._before.last_step}: it was rewound. Use another token."
            )
        self.state_before = run.state
        if self._before and self._before.state in _ENDED and run.state in _LEFT_BY_A_KILL:
            self.state_before = self._before.state

    @property
    def skipped(self) -> int:
        """How many of the rows given so far were added before."""
        return min(self._given, self._before.rows if self._before else 0)

    def skip(self, row: Mapping[str, Any], step: int | None) -> bool:
        """Whether this row, the next one, was added before."""
        before = self._before
        if before is None or self._given >= before.rows:
            return False
        self.take(row, step)
        if self._given == before.rows and self._hexdigest() != before.digest:
            raise ConflictError(
                f"Run {self._ref}: the first {before.rows:,} rows are not those that were added"
                f" with token {self._token!r} before. Nothing was added; other rows need another"
                " token."
            )
        return True

    def take(self, row: Mapping[str, Any], step: int | None) -> None:
        """Count a row that is in the run, or will be."""
        fixed = {key: value for key, value in row.items() if key not in _CLOCKS}
        text = lenient.dumps([step, fixed], sort_keys=True)
        self._digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
        self._given += 1

    def require_all(self) -> None:
        """Raise if fewer rows were given than were added with this token before."""
        if self._before and self._given < self._before.rows:
            raise ConflictError(
                f"Run {self._ref}: only {self._given:,} rows were given, but {self._before.rows:,}"
                f" were added with token {self._token!r} before. Nothing was added."
            )

    def summary_value(self, last_step: int, lines: int) -> str:
        """The summary value for a run that has all rows counted so far."""
        now = TokenRows(self._given, self._hexdigest(), last_step, lines, self.state_before)
        latest = [*self._all.items(), (self._token, now)][-_MAX_TOKENS:]
        return msgspec.json.encode(dict(latest)).decode()

    def _hexdigest(self) -> str:
        return self._digest.hexdigest()[:32]


def _read(run: RunRecord) -> dict[str, TokenRows]:
    text = run.summary_metrics.get(SUMMARY_KEY)
    if text is None:
        return {}
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, TypeError) as error:
        raise ConflictError(
            f"Run {run.ref}: its summary value {SUMMARY_KEY!r} is not what append(token=) keeps"
            f" there ({error}), so it is not known which rows were added before."
        ) from error
