"""`AiofilesSink`: writes the rows of many runs to a file, from an asyncio program."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from io import BytesIO
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

from aiowandb.arguments import FUNCTION, PATH, FixedAttributes, checks, having, optional
from aiowandb.atomic import UNFINISHED
from aiowandb.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from aiofiles.threadpool.binary import AsyncBufferedIOBase

    from aiowandb.api.run import Run

# What makes the lines of a file from the rows of a run.
EncodeBatch: TypeAlias = "Callable[[Run, pa.RecordBatch], str | bytes]"


class AiofilesSink(FixedAttributes):
    """Writes rows to a file without blocking the event loop. For asyncio; uses `aiofiles`.

    The file appears under its name when the block ends: after an error or a cancellation,
    there is no new file, and an old one is unchanged.

    Without `encode`, the file is JSON Lines: an object per row, with its `run_id`. Otherwise
    `encode(run, batch)` returns what to write, as bytes or as text, which becomes UTF-8. It
    runs in a worker thread, so it may take its time.

    On trio, use `anyio.open_file`; the rows of an export go to any `Sink` that you pass to
    `runs.export()`.

    >>> async with AsyncApi() as api, AiofilesSink("rows.jsonl") as sink:
    ...     async for run, batch in api.scan_histories(api.runs("entity/project")):
    ...         await sink.write(run, batch)
    >>> sink.rows
    """

    @checks(path=PATH, encode=optional(FUNCTION))
    def __init__(self, path: str | PathLike[str], encode: EncodeBatch | None = None) -> None:
        self._path = Path(path)
        self._temporary = self._path.with_name(f".{secrets.token_hex(8)}{UNFINISHED}")
        self._encode = encode or json_lines
        self._file: AsyncBufferedIOBase | None = None
        self._rows = self._bytes = 0

    @property
    def rows(self) -> int:
        """The number of rows written so far."""
        return self._rows

    @property
    def bytes_written(self) -> int:
        """The number of bytes written so far."""
        return self._bytes

    async def __aenter__(self) -> Self:
        if self._file is not None:
            raise UsageError("This sink is open already: use one per file.")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError("AiofilesSink needs asyncio; on trio, use anyio.open_file.") from None
        import aiofiles

        self._rows = self._bytes = 0
        self._file = await aiofiles.open(self._temporary, "wb")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from aiofiles import os as async_os

        file, self._file = self._file, None
        assert file is not None  # noqa: S101 - it was entered
        try:
            if exc is None:
                await file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            await file.close()
            if exc is None:
                await async_os.replace(self._temporary, self._path)
        finally:
            await asyncio.shield(self._discard(file))

    @checks(run=having("a Run", "record", "id"), batch=having("a pyarrow.RecordBatch", "num_rows"))
    async def write(self, run: Run, batch: pa.RecordBatch) -> None:
        """Write the rows of a batch, as `scan_histories()` yields them with their run."""
        if self._file is None:
            raise UsageError("Rows are written inside `async with AiofilesSink(path) as sink`.")
        encoded = await asyncio.to_thread(self._encode, run, batch)
        content = encoded.encode() if isinstance(encoded, str) else encoded
        await self._file.write(content)
        self._rows += batch.num_rows
        self._bytes += len(content)

    async def _discard(self, file: AsyncBufferedIOBase) -> None:
        await file.close()  # waits for a write that was cancelled
        await asyncio.to_thread(self._temporary.unlink, missing_ok=True)


def json_lines(run: Run, batch: pa.RecordBatch) -> bytes:
    """The rows as JSON Lines with the id of their run. NaN and the infinities are null."""
    import pyarrow as pa

    from aiowandb.export.formats import JsonLinesSink

    ids = pa.array([run.id] * batch.num_rows, pa.string())
    if "run_id" in batch.schema.names:  # a run has logged a key of that name
        batch = batch.drop_columns(["run_id"])
    lines = BytesIO()
    JsonLinesSink(lines, batch.schema).write(batch.add_column(0, "run_id", ids))
    return lines.getvalue()
