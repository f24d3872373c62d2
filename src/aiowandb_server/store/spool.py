"""Batches of Arrow data that wait in memory while they are few, and in a temporary file after that.

The columns of a run have types that are known only when all of its rows were read; until then the
rows must be somewhere, and a run may have any size.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pyarrow as pa

from aiowandb_server.store.metering import charge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any, Self

# So many bytes stay in memory.
IN_MEMORY = 32 << 20


class BatchSpool:
    """Takes batches, each of a schema of its own, and gives them back in their order."""

    def __init__(self) -> None:
        self._kept: list[pa.RecordBatch] = []
        self._bytes = 0
        self._file: Any = None
        self._written = 0
        self._counted = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """What stays in memory counts as memory of the request, to its end."""
        more = min(batch.nbytes, IN_MEMORY - self._counted)
        charge(more)
        self._counted += more
        self._kept.append(batch)
        self._bytes += batch.nbytes
        if self._bytes > IN_MEMORY:
            self._move_to_disk()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._file is not None:
            self._file.seek(0)
            for _ in range(self._written):
                with pa.ipc.open_stream(self._file) as stream:
                    yield from stream
        yield from self._kept

    def close(self) -> None:
        """Delete what was written."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _move_to_disk(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="aiowandb-")  # noqa: SIM115 - see close()
        for batch in self._kept:
            with pa.ipc.new_stream(self._file, batch.schema) as stream:
                stream.write_batch(batch)
        self._written += len(self._kept)
        self._kept, self._bytes = [], 0
