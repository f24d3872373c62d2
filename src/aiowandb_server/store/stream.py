"""Stores a request of a run's file stream: in one transaction, or in several if it is large.

All other writers wait for a transaction. A part of the lines may be stored without the rest, as if
they had come in requests of their own: clients send again what was not acknowledged, and lines
that are sent again replace themselves. Only those of an appender are stored together or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from aiowandb_server.errors import RequestError
from aiowandb_server.store import json_text
from aiowandb_server.store.appenders import AppendClaim, claim
from aiowandb_server.store.gone_lines import write_lines
from aiowandb_server.store.lines import (
    LINES_AT_ONCE,
    TEXT_AT_ONCE,
    CheckedLines,
    Stream,
    count,
    put,
)
from aiowandb_server.store.metering import held, weight_of
from aiowandb_server.store.run_values import ChangedDocuments
from aiowandb_server.store.writers import placed
from aiowandb_server.text_limits import check_document, check_values

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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
        update = _with_checked_summary(update)
        finite = None if update.summary is None else json_text.finite(update.summary)
        merges = update.summary is not None and (update.writer is not None or update.derive_summary)
        if merges:
            self._require_memory(run, str(update.summary))
        parts = [dict(update.chunks)] if update.appender else list(_parts(update.chunks))
        for part in parts[:-1]:
            put_part = partial(
                _put,
                run_id=run.id,
                chunks=part,
                checked=_checked(part),
                writer=update.writer,
            )
            rejected += write_lines(self._database, run.id, put_part)
        last = parts[-1]
        checked = _checked(last)
        documents = ChangedDocuments({})
        if update.summary is not None and not merges:
            texts = {"summary": finite or update.summary}
            documents = ChangedDocuments.searched(self._database, run.project_id, texts)
        last_part = _LastPart(run, replace(update, chunks=last), checked, finite, documents)
        now = int(self._clock() if at is None else at)
        reply = write_lines(
            self._database, run.id, lambda connection: last_part.store(connection, now)
        )
        return StreamReply(reply.stop_requested, rejected + reply.rejected)

    def _require_memory(self, run: RunRow, summary: str) -> None:
        """End the request if summaries cannot be merged within its memory, while it has changed
        nothing and can be started over with more."""
        with self._database.read() as connection:
            row = connection.execute("SELECT summary FROM run WHERE id = ?", (run.id,)).fetchone()
        if row is not None:
            with held(4 * (weight_of(row[0]) + weight_of(summary))):
                pass

    def finish(self, run: RunRow, exit_code: int = 0) -> StreamReply:
        return self.apply(run, StreamUpdate(complete=True, exit_code=exit_code))


@dataclass(frozen=True, slots=True)
class _LastPart:
    """The last lines of an update, or all of them, with the new summary and state of the run."""

    run: RunRow
    update: StreamUpdate
    checked: Mapping[Stream, CheckedLines]
    finite: str | None
    documents: ChangedDocuments

    def store(self, connection: sqlite3.Connection, now: int) -> StreamReply:
        run_id, update = self.run.id, self.update
        if update.appender:
            update = _unstored(connection, run_id, update, update.appender)
        if update.is_old:
            return StreamReply(_stop_requested(connection, run_id), 0)
        rejected = _put(connection, run_id, update.chunks, self.checked, update.writer)
        if update.summary is not None:
            self._store_summary(connection, update.summary)
        connection.execute(
            """
            UPDATE run SET heartbeat_at = max(heartbeat_at, ?), state = ?, exit_code = ?,
                   stop_requested = stop_requested AND NOT ?
            WHERE id = ?
            """,
            (now, _state(update), update.exit_code, update.complete, run_id),
        )
        return StreamReply(_stop_requested(connection, run_id), rejected)

    def _store_summary(self, connection: sqlite3.Connection, summary: str) -> None:
        finite, documents = self.finite, self.documents
        if self.update.writer is not None or self.update.derive_summary:
            summary = _merged(connection, self.run.id, summary)
            finite = json_text.finite(summary)
            documents = ChangedDocuments({"summary": finite or summary})
        connection.execute(
            "UPDATE run SET summary = ?, finite_summary = ? WHERE id = ?",
            (summary, finite, self.run.id),
        )
        documents.store(connection, self.run.project_id, self.run.id)


def _unstored(
    connection: sqlite3.Connection, run_id: int, update: StreamUpdate, appender: AppendClaim
) -> StreamUpdate:
    """The part of an appender's update that is not stored yet. Raises RequestError."""
    if sum(len(chunk.lines) for chunk in update.chunks.values()) > 2 * LINES_AT_ONCE:
        raise RequestError(f"a writer that appends may send {2 * LINES_AT_ONCE} lines at once", 413)
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


def _put(
    connection: sqlite3.Connection,
    run_id: int,
    chunks: Mapping[Stream, Chunk],
    checked: Mapping[Stream, CheckedLines],
    writer: str | None,
) -> int:
    """Store lines, `checked` where their numbers were known; returns how many were rejected."""
    rejected = 0
    for stream, chunk in chunks.items():
        for offset, lines in _pieces(connection, run_id, stream, chunk, writer):
            known = checked[stream]
            if (offset, len(lines)) != (known.offset, len(known.texts)):
                known = CheckedLines.of(stream, offset, lines)
            rejected += put(connection, run_id, known)
    return rejected


def _parts(chunks: Mapping[Stream, Chunk]) -> Iterator[dict[Stream, Chunk]]:
    """The chunks in parts, each of which is small enough for one transaction."""
    part: dict[Stream, Chunk] = {}
    count = size = 0
    for stream, chunk in chunks.items():
        start = 0
        for place, line in enumerate(chunk.lines):
            if count and (count == LINES_AT_ONCE or size + len(line) > TEXT_AT_ONCE):
                if place > start:
                    part[stream] = Chunk(chunk.offset + start, chunk.lines[start:place])
                yield part
                part, count, size, start = {}, 0, 0, place
            count += 1
            size += len(line)
        part[stream] = Chunk(chunk.offset + start, chunk.lines[start:])
    yield part


def _checked(chunks: Mapping[Stream, Chunk]) -> dict[Stream, CheckedLines]:
    return {
        stream: CheckedLines.of(stream, chunk.offset, chunk.lines)
        for stream, chunk in chunks.items()
    }


def _with_checked_summary(update: StreamUpdate) -> StreamUpdate:
    """The update with a summary that is an object, if any, and has the values of the rows, if it is
    derived from them."""
    sent = None if update.summary is None else json_text.loads_object(update.summary)
    rows = update.chunks.get("history") if update.derive_summary else None
    text = update.summary
    if rows is not None:
        sent = sent or {}
        for line in rows.lines:
            sent |= json_text.loads_object(line) or {}
        text = json_text.dumps(sent)
    if sent is None or text is None:
        return replace(update, summary=None, derive_summary=False)
    summary = json_text.without_halves(text)
    return replace(update, summary=summary, derive_summary=rows is not None)


def _merged(connection: sqlite3.Connection, run_id: int, summary: str) -> str:
    """The run's summary with that of the update."""
    (before,) = connection.execute("SELECT summary FROM run WHERE id = ?", (run_id,)).fetchone()
    merged = json_text.dumps(
        (json_text.loads_object(before) or {}) | (json_text.loads_object(summary) or {})
    )
    check_values("the summary", merged)
    check_document("the summary", merged)
    return merged


def _state(update: StreamUpdate) -> str:
    if update.complete:
        return "finished" if not update.exit_code else "failed"
    return "preempting" if update.preempting else "running"
