"""Stores a request of a run's file stream, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from aiowandb_server.store import json_text
from aiowandb_server.store.appenders import AppendClaim, claim
from aiowandb_server.store.lines import CheckedLines, Stream, count, put
from aiowandb_server.store.writers import placed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aiowandb_server.store.database import Database
    from aiowandb_server.store.records import RunRow


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive lines of one stream; `offset` is the number of the first."""

    offset: int
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class StreamUpdate:
    """What a client sends about a run: new lines, the current summary, whether it has ended.

    `writer` is set if several processes write to the run together, each with its own lines and
    summary. With `derive_summary`, the store computes the summary from the rows. The lines of an
    `appender` are stored only at the end of the history; otherwise nothing is. An update that
    `is_old` was stored before and does not change the state of the run.
    """

    chunks: Mapping[Stream, Chunk] = field(default_factory=dict)
    summary: str | None = None
    preempting: bool = False
    complete: bool = False
    exit_code: int | None = None
    writer: str | None = None
    derive_summary: bool = False
    appender: AppendClaim | None = None
    is_old: bool = False


@dataclass(frozen=True, slots=True)
class StreamReply:
    stop_requested: bool
    rejected: int


class RunStream:
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def apply(self, run: RunRow, update: StreamUpdate, *, at: float | None = None) -> StreamReply:
        """Store the update. It makes the run live again, whatever its state was.

        `at` is the time of the update, now by default. Raises RequestError if another writer has
        added lines where the update's appender expected the end.
        """
        rejected = 0
        checked = {
            stream: CheckedLines.of(stream, chunk.offset, chunk.lines)
            for stream, chunk in update.chunks.items()
        }
        with self._database.write() as connection:
            if update.appender:
                update = _unstored(connection, run.id, update, update.appender)
            if update.is_old:
                return StreamReply(_stop_requested(connection, run.id), 0)
            for stream, chunk in update.chunks.items():
                for offset, lines in _pieces(connection, run.id, stream, chunk, update.writer):
                    known = checked[stream]
                    if (offset, len(lines)) != (known.offset, len(known.texts)):
                        known = CheckedLines.of(stream, offset, lines)
                    rejected += put(connection, run.id, known)
            if (summary := _summary(connection, run.id, update)) is not None:
                connection.execute(
                    "UPDATE run SET summary = ?, finite_summary = ? WHERE id = ?",
                    (summary, json_text.finite(summary), run.id),
                )
            connection.execute(
                """
                UPDATE run SET heartbeat_at = max(heartbeat_at, ?), state = ?, exit_code = ?,
                       stop_requested = stop_requested AND NOT ?
                WHERE id = ?
                """,
                (
                    int(self._clock() if at is None else at),
                    _state(update),
                    update.exit_code,
                    update.complete,
                    run.id,
                ),
            )
            return StreamReply(_stop_requested(connection, run.id), rejected)

    def finish(self, run: RunRow, exit_code: int = 0) -> StreamReply:
        return self.apply(run, StreamUpdate(complete=True, exit_code=exit_code))


def _unstored(
    connection: sqlite3.Connection, run_id: int, update: StreamUpdate, appender: AppendClaim
) -> StreamUpdate:
    """The part of an appender's update that is not stored yet. Raises RequestError."""
    stored = count(connection, run_id, "history")
    chunk = update.chunks.get("history")
    if chunk is None:
        claim(connection, run_id, appender, stored, appender.next, 0)
        return update
    known = claim(connection, run_id, appender, stored, chunk.offset, len(chunk.lines))
    if known < len(chunk.lines):
        rest = Chunk(chunk.offset + known, chunk.lines[known:])
        return replace(update, chunks={**update.chunks, "history": rest})
    # The update was sent again or is late. Another writer may have added rows after these and have
    # changed the summary, and the run may have ended.
    others = dict(update.chunks)
    del others["history"]
    is_old = not (others or update.complete)
    return replace(update, chunks=others, summary=None, is_old=is_old)


def _stop_requested(connection: sqlite3.Connection, run_id: int) -> bool:
    (requested,) = connection.execute(
        "SELECT stop_requested FROM run WHERE id = ?", (run_id,)
    ).fetchone()
    return bool(requested)


def _pieces(
    connection: sqlite3.Connection, run_id: int, stream: Stream, chunk: Chunk, writer: str | None
) -> Iterable[tuple[int, Sequence[str]]]:
    if writer is None:
        return [(chunk.offset, chunk.lines)]
    return placed(connection, run_id, stream, writer, chunk.offset, chunk.lines)


def _summary(connection: sqlite3.Connection, run_id: int, update: StreamUpdate) -> str | None:
    """The run's new summary; None leaves it unchanged."""
    sent = None if update.summary is None else json_text.loads_object(update.summary)
    rows = update.chunks.get("history") if update.derive_summary else None
    if rows is None and (sent is None or update.writer is None):
        if sent is None or update.summary is None:
            return None
        return json_text.without_halves(update.summary)
    (before,) = connection.execute("SELECT summary FROM run WHERE id = ?", (run_id,)).fetchone()
    merged = (json_text.loads_object(before) or {}) | (sent or {})
    for line in rows.lines if rows else ():
        merged |= json_text.loads_object(line) or {}
    return json_text.dumps(merged)


def _state(update: StreamUpdate) -> str:
    if update.complete:
        return "finished" if not update.exit_code else "failed"
    return "preempting" if update.preempting else "running"
