"""The system metrics of a run: rows without steps, in the order of time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from aiowandb.errors import NotFoundError
from aiowandb.history.columns import rows_to_batch
from aiowandb.history.decode import decode_rows
from aiowandb.history.pages import Page
from aiowandb.history.reading import Ends
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire.history import sampled_rows
from aiowandb.wire.rows import flat_row

# They come every few seconds: more of them than this take years.
_ALL = 10_000_000


class SystemPage:
    """Some system metrics as they came."""

    def __init__(self, texts: Sequence[str], selection: Selection) -> None:
        self.count = len(texts)
        self.ends = Ends()  # they have no steps
        self._rows = decode_rows(texts)
        self._selection = selection

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        yield list(self._selection.of_rows([flat_row(row) for row in self._rows]))

    async def batches(self) -> list[pa.RecordBatch]:
        batch = self._selection.of_batch(rows_to_batch(self._rows, first=()))
        return [] if batch is None else [batch]


async def scan_system(session: Session, ref: RunRef, selection: Selection) -> AsyncGenerator[Page]:
    """All of them. W&B has no windows over them, so they come in one answer."""
    found = (await session.ask(sampled_rows(ref, _ALL, system=True))).project
    if found is None or found.run is None:
        raise NotFoundError(f"Could not find run {ref}.", operation="RunSystemHistory")
    texts = found.run.history or []
    selection = msgspec.structs.replace(selection, own=())
    for first in range(0, len(texts), selection.page_size):
        yield SystemPage(texts[first : first + selection.page_size], selection)
