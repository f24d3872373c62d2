"""Counts the memory that the work for one request takes, so that it can be limited.

What a request reads is charged to the meter of its thread before or while it is read. Work without
a meter, such as that of the command line, is not limited.
"""

from __future__ import annotations

import math
import sqlite3
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import MoreMemoryError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Text that is read is in memory up to so many times: as a row, as a value of the answer, as JSON.
_COPIES = 4
# What a value of parsed JSON takes, besides its text: a dictionary with its entry, or a list.
_VALUE = 100
# The queries of a request take no longer, all together: the filters that a client can think of have
# no other limit, and one request can have any number of them.
QUERY_S = 10.0
# A pair of numbers: the step and the number of a line.
SIZE_OF_PLACE = 120


class Meter:
    """The memory of one request: `limit` bytes, and not more; and the time of its queries."""

    def __init__(self, limit: int, largest: float = math.inf) -> None:
        self.limit = limit
        # No request has more, also when it starts over.
        self.largest = largest
        self.used = 0
        # Work that has changed something cannot be started over.
        self.has_written = False
        self._left = QUERY_S
        self._until = math.inf

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Queries of the database, which may take `QUERY_S` seconds of CPU in the whole request."""
        self._until = time.thread_time() + self._left
        try:
            yield
        finally:
            self._left = self._until - time.thread_time()

    def is_late(self) -> bool:
        """Whether the queries have taken too long."""
        return time.thread_time() > self._until

    def charge(self, size: int) -> None:
        """Count bytes that are going to be used. Raises MoreMemoryError if that is too much."""
        self.used += size
        if self.used > self.limit:
            raise MoreMemoryError(self.used)

    def row(self, cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> sqlite3.Row:
        """A row of the database, whose long texts are counted: a `row_factory`."""
        size = sys.getsizeof(values)
        for value in values:
            if type(value) is str:
                size += sys.getsizeof(value) * _COPIES
            elif type(value) is bytes:
                size += len(value)
        self.charge(size)
        return sqlite3.Row(cursor, values)


_METER: ContextVar[Meter | None] = ContextVar("aiowandb_server_meter", default=None)


def meter() -> Meter | None:
    """The meter of the request that this thread works for."""
    return _METER.get()


@contextmanager
def measured(limit: int, largest: float = math.inf) -> Iterator[Meter]:
    """Limit the memory of the work in the block."""
    found = Meter(limit, largest)
    token = _METER.set(found)
    try:
        yield found
    finally:
        _METER.reset(token)


def charge(size: int) -> None:
    """Count bytes that are kept until the request is answered."""
    if (found := _METER.get()) is not None:
        found.charge(size)


def charge_text(text: str) -> None:
    """Count a text that becomes part of the answer."""
    if (found := _METER.get()) is not None:
        found.charge(sys.getsizeof(text) * _COPIES)


def charge_value(value: object) -> None:
    """Count a value that becomes part of the answer."""
    if (found := _METER.get()) is not None:
        found.charge(_size_of(value))


def _size_of(value: object) -> int:
    size = _VALUE + sys.getsizeof(value)
    if isinstance(value, str):
        return _COPIES * size
    if isinstance(value, dict):
        size += sum(map(_size_of, value)) + sum(map(_size_of, value.values()))
    elif isinstance(value, list):
        size += sum(map(_size_of, value))
    return size


@contextmanager
def held(size: int) -> Iterator[None]:
    """Count bytes that are used in the block only."""
    found = _METER.get()
    if found is None:
        yield
        return
    found.charge(size)
    try:
        yield
    finally:
        found.used -= size


@contextmanager
def done_without() -> Iterator[None]:
    """Work that a request can do without: a block that takes more memory than any request may have
    ends, and the request goes on. Nothing that it reads is kept: what it charges is free then."""
    found = _METER.get()
    before = found.used if found is not None else 0
    try:
        yield
    except MoreMemoryError as more:
        if found is None or more.needed <= found.largest:
            raise
    finally:
        if found is not None:
            found.used = before


def json_weight(size: int, marks: int) -> int:
    """The bytes that JSON takes while it is parsed, at most; `marks` are its `[`, `{` and `,`."""
    return size * _COPIES + marks * _VALUE


def count_marks(text: str | bytes | bytearray) -> int:
    """How many values JSON can have at most, but for one."""
    if isinstance(text, str):
        return text.count("[") + text.count("{") + text.count(",")
    return text.count(b"[") + text.count(b"{") + text.count(b",")


def weight_of(text: str | bytes) -> int:
    """The bytes that this JSON takes while it is parsed, at most."""
    return json_weight(sys.getsizeof(text), count_marks(text))
