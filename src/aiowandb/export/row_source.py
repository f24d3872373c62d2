"""What a table of rows is made of: runs, columns, and a way to read the rows of some runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import msgspec

from aiowandb.export.schema import RowSchema
from aiowandb.export.stored import RunSnapshot
from aiowandb.history.columns import Kind
from aiowandb.history.concurrent import RunBatches
from aiowandb.history.reading import Start
from aiowandb.net import Session
from aiowandb.paths import RunRef

# Reads these runs in their order, each from its start on.
ReadRuns: TypeAlias = Callable[
    [Session, Mapping[RunRef, Start]], AbstractAsyncContextManager[AsyncIterator[RunBatches]]
]


class RowSource(msgspec.Struct, frozen=True):
    """A table of rows to export: the runs that have them, its columns, and how they are read.

    `keys` are the columns whose kinds are known before; `unknown_keys` are columns whose kinds
    depend on their values. With `is_extendable`, a run that has grown is read only from its last
    known row on; otherwise it is read again. Users see no files of a table that `is_internal`.
    """

    name: str
    runs: Mapping[RunRef, RunSnapshot]
    schema: RowSchema
    read: ReadRuns
    keys: Collection[tuple[str, Kind]] = ()
    unknown_keys: frozenset[str] = frozenset()
    is_extendable: bool = False
    is_internal: bool = False

    def read_all(
        self, session: Session, runs: Collection[RunRef]
    ) -> AbstractAsyncContextManager[AsyncIterator[RunBatches]]:
        """Read these runs from their first row on."""
        return self.read(session, dict.fromkeys(runs, Start()))
