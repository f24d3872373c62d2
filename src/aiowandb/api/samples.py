"""A sample of the rows that have certain keys.

W&B samples such rows itself, but it answers in strict JSON, where NaN is the string "NaN", and it
only takes full names: of a nested dict, each key has to be requested.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from aiowandb.concurrency.threads import import_in_thread
from aiowandb.errors import CommError
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.dotted import matching_names
from aiowandb.wire.history import Window
from aiowandb.wire.record import KeyInfo, RunRecord
from aiowandb.wire.rows import STEP, flat_row
from aiowandb.wire.runs import get_run

Row = dict[str, Any]

# Rows of one step; there is rarely more than one.
_ROWS_OF_A_STEP = 10


class KeySample(msgspec.Struct, frozen=True):
    """A sample of the rows of a run that have certain keys, and what is known of these keys."""

    ref: RunRef
    keys: tuple[str, ...]
    x_axis: str
    samples: int
    groups: list[list[str]]
    known: Mapping[str, KeyInfo]

    @property
    def names(self) -> list[str]:
        """The full names that the rows have."""
        return list(
            dict.fromkeys([self.x_axis, *(name for group in self.groups for name in group)])
        )

    @property
    def asked(self) -> tuple[str, ...]:
        """The names to ask W&B for."""
        return tuple(dict.fromkeys([*self.names, STEP]))

    async def completed(self, session: Session, rows: list[Row]) -> list[Row]:
        """The sample, made of the rows that W&B has sampled."""
        if len(rows) < self.samples and not _is_complete(len(rows), self.groups, self.known):
            rows = await _sampled_here(session, self.ref, self.keys, self.x_axis, self.samples)
        else:
            rows = await _with_floats_restored(session, self.ref, rows, self.known)
        names = self.names
        return [{key: row[key] for key in row if key != STEP or STEP in names} for row in rows]


async def key_sample(
    session: Session,
    run: RunRecord,
    keys: tuple[str, ...],
    x_axis: str,
    samples: int,
    *,
    fresh: bool = False,
) -> KeySample:
    """The sample with at most `samples` of the rows that have the x axis and all keys."""
    known = await _known_keys(session, run, fresh=fresh)
    groups = [group or [key] for key, group in zip(keys, matching_names(keys, known), strict=True)]
    return KeySample(run.ref, keys, x_axis, samples, groups, known)


async def _known_keys(session: Session, run: RunRecord, *, fresh: bool) -> Mapping[str, KeyInfo]:
    keys = run.history_keys
    if fresh or (keys is None and run.history_line_count != 0):
        # The run was listed without its keys, or may have more by now.
        found = await session.ask_cached(get_run(run.ref), fresh=fresh)
        keys = found.history_keys if found else None
    return keys.keys if keys else {}


def _is_complete(rows: int, groups: Sequence[list[str]], known: Mapping[str, KeyInfo]) -> bool:
    """Whether there are no more rows than these that have a name of each group.

    These rows have all names of all groups. There are no others if each group has just one
    name, or if all names of a group occur only as often as there are rows.
    """
    if all(len(group) == 1 for group in groups):
        return True
    return any(
        all(name in known and known[name].count == rows for name in group) for group in groups
    )


async def _sampled_here(
    session: Session, ref: RunRef, keys: Sequence[str], x_axis: str, samples: int
) -> list[Row]:
    """A sample made here from all rows, for keys that are not logged together."""
    await import_in_thread("aiowandb.history.scan")
    from aiowandb.history.scan import scan_run
    from aiowandb.history.selection import Selection

    selection = Selection(keys=(x_axis, *keys))
    found: list[Row] = []
    every, number = 1, 0
    async with aclosing(scan_run(session, ref, selection)) as pages:
        async for page in pages:
            for rows in page.rows():
                for row in rows:
                    if number % every == 0:
                        found.append(row)
                    number += 1
                    if len(found) > samples:
                        found, every = found[::2], every * 2
    return found


async def _with_floats_restored(
    session: Session, ref: RunRef, rows: Sequence[Row], known: Mapping[str, KeyInfo]
) -> list[Row]:
    """The rows with "NaN" and the like as floats, unless they were logged as text.

    If a key has both, the full row is requested, which distinguishes them.
    """
    ambiguous: dict[int, list[str]] = {}
    found = []
    for row in rows:
        words = {key: value for key, value in row.items() if _has_float_string(value)}
        numbers = {
            key: lenient.as_float(word)
            for key, word in words.items()
            if isinstance(word, str) and _is_number(known, key)
        }
        found.append(row | numbers)
        unknown = [key for key in words if key not in numbers and not _is_text(known, key)]
        if unknown and isinstance(step := row.get(STEP), int):
            ambiguous[step] = unknown
    if ambiguous:
        async with aclosing(_rows_at(session, ref, list(ambiguous))) as true_rows:
            exact = {row.get(STEP): row async for row in true_rows}
        for row in found:
            step = row.get(STEP)
            keys = ambiguous.get(step, []) if isinstance(step, int) else []
            row |= {key: exact[step][key] for key in keys if key in exact.get(step, ())}
    return found


async def _rows_at(session: Session, ref: RunRef, steps: Sequence[int]) -> AsyncGenerator[Row]:
    await import_in_thread("aiowandb.history.live")
    from aiowandb.history.live import read_windows, window_batch

    windows = [Window(ref, step, step + 1, _ROWS_OF_A_STEP) for step in steps]
    for answer in await read_windows(session, windows, window_batch()):
        if isinstance(answer.answer, CommError):
            raise answer.answer
        for text in answer.answer:
            yield flat_row(lenient.loads_object(text))


def _has_float_string(value: Any) -> bool:
    """Whether the value contains a string for NaN or an infinity."""
    if isinstance(value, str):
        return lenient.as_float(value) is not None
    if isinstance(value, dict):
        return any(map(_has_float_string, value.values()))
    return isinstance(value, list) and any(map(_has_float_string, value))


def _is_number(known: Mapping[str, KeyInfo], key: str) -> bool:
    return key in known and known[key].types == {"number"}


def _is_text(known: Mapping[str, KeyInfo], key: str) -> bool:
    return key in known and known[key].types == {"string"}
