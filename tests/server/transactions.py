"""Watches the transactions that write to a store, and kills the process before one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aiowandb_server.store.database import Database


class KilledError(Exception):
    """The process ends here."""


class Writes:
    """The transactions that write: `changes` has the rows of each; `before` is called before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes: list[int] = []
        self.statements: list[str] = []
        self.before: Callable[[int], object] = lambda _: None
        write = Database.write
        writes = self

        @contextmanager
        def watched(self: Database, **given: Any) -> Iterator[Any]:
            writes.before(len(writes.changes))
            with write(self, **given) as connection:
                before = connection.total_changes
                connection.set_trace_callback(writes.statements.append)
                yield connection
                connection.set_trace_callback(None)
                writes.changes.append(connection.total_changes - before)

        monkeypatch.setattr(Database, "write", watched)

    def kill_before(self, number: int) -> None:
        """End the process before the transaction of this number."""

        def kill(next_number: int) -> None:
            if next_number == number:
                raise KilledError

        self.before = kill
