"""Reads a run's history and events: windows, samples, keys, and Parquet exports.

A sample is spread evenly over the rows in step order and includes the first and the last one.
The same rows and number of samples always give the same sample.
"""

from __future__ import annotations

import heapq
import logging
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import orjson

from aiowandb_server.store import json_text
from aiowandb_server.store.compaction import covered_numbers, has_live, segment_of
from aiowandb_server.store.gone_lines import IS_LINE, write_lines
from aiowandb_server.store.history_keys import KeyCounter, save
from aiowandb_server.store.line_blocks import last_in_blocks
from aiowandb_server.store.lines import (
    MAX_STEP,
    CheckedLines,
    Stream,
    count,
    count_rejected,
    live_history,
    live_places,
    numbers,
    put,
    texts_of,
)
from aiowandb_server.store.metering import charge, charge_text, charge_value, weight_of
from aiowandb_server.store.rewinding import Rewinding
from aiowandb_server.store.rows import (
    columns_of,
    decode_row,
    flatten,
    narrow_parts,
    sample_positions,
    with_step,
)
from aiowandb_server.store.segments import chunks

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from aiowandb_server.store.compaction import Compaction
    from aiowandb_server.store.database import Database
    from aiowandb_server.store.records import Line, RunRow
    from aiowandb_server.store.segments import SegmentFiles


HistoryMode: TypeAlias = Literal["parquet", "json", "mixed"]
# So many rows are kept while it is found out how many there are.
_KEPT_ROWS = 20_000
logger = logging.getLogger("aiowandb_server")
_AT_REST = frozenset({"finished", "failed", "crashed", "killed", "preempted"})


@dataclass(frozen=True, slots=True)
class Sampled:
    """A request for rows that have all of `keys`, `low <= step < high`."""

    keys: tuple[str, ...]
    samples: int
    low: int = -MAX_STEP
    high: int = MAX_STEP


@dataclass(frozen=True, slots=True)
class Exported:
    """The answer to `parquetHistory`: file tokens, and the first step that is in none of them."""

    tokens: list[str]
    first_live_step: int | None


class History:
    def __init__(self, database: Database, files: SegmentFiles, compaction: Compaction) -> None:
        self._database = database
        self._files = files
        self._compaction = compaction
        self._rewinding = Rewinding(database, files, compaction)

    def append(
        self,
        run: RunRow,
        lines: Sequence[str],
        *,
        stream: Stream = "history",
        offset: int | None = None,
    ) -> int:
        """Store lines at the end, or at `offset`; returns how many were rejected."""

        def store(connection: sqlite3.Connection) -> int:
            start = count(connection, run.id, stream) if offset is None else offset
            return put(connection, run.id, CheckedLines.of(stream, start, lines))

        return write_lines(self._database, run.id, store)

    def window(
        self,
        run: RunRow,
        low: int,
        high: int,
        samples: int,
        count_text: Callable[[int], object] = lambda _: None,
    ) -> list[str]:
        """The text of the lines `low <= step < high` in step order, at most `samples` of them.

        `count_text` is called with the length of each line, and may raise.
        """
        found = []
        with self._database.read(piecewise=True) as connection:
            for line in self._lines(connection, run.id, low, high, samples):
                count_text(len(line.text))
                charge_text(line.text)
                found.append(with_step(line.text, line.step))
        return found

    def sampled(self, run: RunRow, request: Sampled) -> list[dict[str, Any]]:
        """The requested values of rows that have all of the keys, under dotted names."""
        with self._database.read(piecewise=True) as connection:
            segment = segment_of(connection, run.id)
            if segment and not has_live(connection, run.id):
                rows = self._files.sampled(
                    segment.token, request.keys, request.low, request.high, request.samples
                )
                if rows is not None:
                    return rows
            first = []
            for row in islice(self._picked(connection, run, request), _KEPT_ROWS):
                charge_value(row)
                first.append(row)
            if len(first) < _KEPT_ROWS:
                return [first[at] for at in sample_positions(len(first), request.samples)]
            # Twice through the rows, because those of a long run would fill the memory.
            total = sum(1 for _ in self._picked(connection, run, request))
            wanted = set(sample_positions(total, request.samples))
            found = []
            for position, row in enumerate(self._picked(connection, run, request)):
                if position in wanted:
                    charge_value(row)
                    found.append(row)
        return found

    def _picked(
        self, connection: sqlite3.Connection, run: RunRow, request: Sampled
    ) -> Iterator[dict[str, Any]]:
        for line in self._compaction.merged(connection, run.id, request.low, request.high):
            row = json_text.loads_object(line.text) or {}
            picked = _pick(row, line.step, request.keys)
            if picked is not None:
                yield picked

    def events(self, run: RunRow, samples: int) -> list[str]:
        with self._database.read() as connection:
            found = numbers(connection, run.id, "events")
            picked = [found[at] for at in sample_positions(len(found), samples)]
            lines = texts_of(connection, run.id, "events", picked)
        return [json_text.without_halves(text) for text in lines]

    def tail(self, run: RunRow, stream: Stream) -> str | None:
        """The last line of the stream."""
        with self._database.read() as connection:
            row = connection.execute(
                f"""
                SELECT number, step, text FROM line WHERE run_id = ? AND stream = ?
                  AND (stream <> 'history' OR {IS_LINE}) ORDER BY number DESC LIMIT 1
                """,  # noqa: S608 - a constant
                (run.id, stream),
            ).fetchone()
            block = last_in_blocks(connection, run.id) if stream == "history" else None
            if block and not (row and row["number"] > block.number):
                return with_step(block.text, block.step)
            if row and row["step"] is None:
                return json_text.without_halves(row["text"])
            if row:
                return with_step(row["text"], row["step"])
            segment = segment_of(connection, run.id) if stream == "history" else None
            if segment is None:
                return None
            *_, last = self._files.read(segment.token, segment.last_step, segment.last_step + 1)
        return with_step(last.text, last.step)

    def keys(self, run_id: int) -> str:
        """`historyKeys` as JSON text."""
        with self._database.read(piecewise=True) as connection:
            row = connection.execute(
                "SELECT rewrites, lines, keys FROM history_keys WHERE run_id = ?", (run_id,)
            ).fetchone()
            now = connection.execute(
                "SELECT history_rewrites, history_lines FROM run WHERE id = ?", (run_id,)
            ).fetchone()
            if now is None:
                return KeyCounter().encode()
            rewrites, lines = now
            counted = row["lines"] if row and row["rewrites"] == rewrites else 0
            if row:
                charge(weight_of(row["keys"]))
            if counted == lines and row:
                return str(row["keys"])
            if counted and self._is_live(connection, run_id, counted):
                counter = KeyCounter(orjson.loads(row["keys"]))
                fresh = live_history(connection, run_id)
            else:
                counter, counted = KeyCounter(), 0
                fresh = self._compaction.merged(connection, run_id)
            for chunk in chunks(line for line in fresh if line.number >= counted):
                start = 0
                for part in narrow_parts([decode_row(line.text) for line in chunk]):
                    steps = [line.step for line in chunk[start : start + len(part)]]
                    counter.add(steps, columns_of(part))
                    start += len(part)
        keys = counter.encode()
        with self._database.write(repeatable=True) as connection:
            save(connection, run_id, rewrites=rewrites, lines=lines, keys=keys)
        return keys

    def count_all_keys(self, project_id: int) -> None:
        """Update the `historyKeys` of all runs of a project, for filters that use them."""
        with self._database.read() as connection:
            stale = connection.execute(
                """
                SELECT id FROM run LEFT JOIN history_keys ON run_id = run.id
                WHERE project_id = ? AND history_lines > 0 AND (keys IS NULL
                    OR rewrites <> history_rewrites OR lines <> history_lines)
                """,
                (project_id,),
            ).fetchall()
        for (run_id,) in stale:
            self.keys(run_id)

    def rejected(self, run: RunRow) -> int:
        """How many lines were not JSON objects; they are stored separately."""
        with self._database.read() as connection:
            return count_rejected(connection, run.id)

    def replaced(self, run: RunRow) -> list[str]:
        """The previous texts of lines that were overwritten with another text."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT text FROM replaced_line WHERE run_id = ? ORDER BY id", (run.id,)
            ).fetchall()
        return [text for (text,) in rows]

    def exported(self, run: RunRow, mode: HistoryMode) -> Exported:
        """The part of the history that is exported as Parquet; compacts it first if necessary.

        In the mode `mixed` this is the first half of a live run, as in the cloud, and the complete
        history of other runs.
        """
        if mode == "json":
            return Exported([], self._first_step(run.id))
        if mode == "mixed" and run.state not in _AT_REST:
            return self._early_part(run)
        if run.state in _AT_REST:
            try:
                self._compaction.compact(run.id)
            except Exception:
                # Nothing is lost: the rows are read from SQLite, and the next reader tries again.
                logger.exception("compacting the history of %s failed", run.name)
        with self._database.read() as connection:
            segment = segment_of(connection, run.id)
            all_in_segment = segment is not None and not has_live(connection, run.id)
        if segment and all_in_segment:
            return Exported([segment.token], None)
        # A file and live rows together would be correct, but the SDK requests all rows of the page
        # in which they meet, and then has those of the file twice.
        return Exported([], self._first_step(run.id))

    def columns_path(self, token: str) -> Path:
        return self._files.columns_path(token)

    def rewind(self, run: RunRow, last_step: int) -> None:
        """Delete all rows after `last_step`."""
        self._rewinding.rewind(run.id, last_step)

    def _lines(
        self, connection: sqlite3.Connection, run_id: int, low: int, high: int, samples: int
    ) -> Iterable[Line]:
        segment = segment_of(connection, run_id)
        live = live_places(connection, run_id, low, high)
        if segment is None or segment.first_step >= high or segment.last_step < low:
            stored = []
        else:
            covered = covered_numbers(connection, run_id, segment)
            stored = self._files.places(segment.token, low, high)
            if covered:
                stored = [place for place in stored if place[1] not in covered]
        if len(stored) + len(live) <= samples:
            return self._compaction.merged(connection, run_id, low, high)
        places = sorted(stored + live)
        picked = [places[position] for position in sample_positions(len(places), samples)]
        from_live = set(live).intersection(picked)
        lines: Iterable[Line] = [
            line
            for line in live_history(connection, run_id, low, high)
            if (line.step, line.number) in from_live
        ]
        if segment is not None:
            rest = [place for place in picked if place not in from_live]
            lines = heapq.merge(lines, self._files.pick(segment.token, rest))
        return lines

    def _early_part(self, run: RunRow) -> Exported:
        """The first half of the rows as a file, as if an export had begun."""
        with self._database.read() as connection:
            lines = []
            for line in self._compaction.merged(connection, run.id):
                charge_text(line.text)
                lines.append(line)
        if not lines:
            return Exported([], None)
        cut = lines[len(lines) // 2].step
        early = [line for line in lines if line.step < cut]
        if not early:
            return Exported([], lines[0].step)
        return Exported([self._files.write_prefix(early)], cut)

    def _first_step(self, run_id: int) -> int | None:
        with self._database.read() as connection:
            line = next(self._compaction.merged(connection, run_id), None)
        return line.step if line else None

    def _is_live(self, connection: sqlite3.Connection, run_id: int, number: int) -> bool:
        """Whether every line from `number` on is still in SQLite."""
        segment = segment_of(connection, run_id)
        return segment is None or segment.end_number <= number


def _pick(row: dict[str, Any], step: int, keys: tuple[str, ...]) -> dict[str, Any] | None:
    flat = flatten(row)
    picked: dict[str, Any] = {}
    for key in keys:
        if key == "_step":
            value = step
        elif key in flat:
            value = flat[key]
        elif key in row:
            value = row[key]
        else:
            return None
        if value is None:
            return None
        picked[key] = value
    return picked
