"""Sends lines to a run's file stream, in as few requests as possible.

Lines are stored by number, so that a request that is sent twice stores them once, and an
interrupted copy resumes at the first missing number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

import msgspec

from aiowandb.config.hosts import is_this_machine
from aiowandb.errors import CommError
from aiowandb.net import Session
from aiowandb.net.session import supports
from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.appending import FileChunk, StreamAnswer
from aiowandb.wire.rows import STEP

Stream: TypeAlias = Literal["wandb-history.jsonl", "wandb-events.jsonl", "output.log"]

# W&B accepts 10 MiB in a request, and lines are sent as JSON strings within JSON. Requests of 8 MiB
# take the CPU of those of 2 MiB (2.46 and 2.57 s, four rounds in turn), and four times the memory.
_BATCH_BYTES = 2 << 20
_BATCH_LINES = 10_000
LONGEST_LINE = (10 << 20) - (200 << 10)
_TOO_LARGE = 413


class LineSender:
    """Sends the lines of one run."""

    def __init__(self, session: Session, ref: RunRef) -> None:
        self.sent_bytes = 0
        self.too_long = 0
        self._session = session
        self._ref = ref
        self._path = "/files/" + quote(f"{ref}") + "/file_stream"
        self._waiting: dict[Stream, FileChunk] = {}
        self._bytes = self._lines = 0

    async def add(self, stream: Stream, offset: int, lines: Sequence[str]) -> None:
        """Add lines of a stream; `offset` is the number of the first."""
        for line in lines:
            size = len(line)
            if size > LONGEST_LINE:
                line, size = self._stand_in(line), 0
            if self._bytes and (self._bytes + size > _BATCH_BYTES or self._lines >= _BATCH_LINES):
                await self.flush()
            if stream not in self._waiting:
                self._waiting[stream] = FileChunk(offset, [])
            self._waiting[stream].content.append(line)
            self._bytes += size
            self._lines += 1
            offset += 1

    async def flush(self) -> None:
        """Send the waiting lines."""
        if self._waiting:
            await self._post(self._take(), {})

    async def complete(self, exit_code: int) -> None:
        """Send the waiting lines, and end the stream."""
        await self._post(self._take(), {"complete": True, "exitcode": exit_code})

    def _take(self) -> dict[Stream, FileChunk]:
        waiting, self._waiting = self._waiting, {}
        self._bytes = self._lines = 0
        return waiting

    async def _post(self, files: dict[Stream, FileChunk], end: dict[str, Any]) -> None:
        try:
            body = {"files": files, **end}
            await self._session.post(
                f"Rows for {self._ref}", self._path, body, StreamAnswer, gzip=await self._gzip()
            )
        except CommError as error:
            halves = _halves(files)
            if error.status != _TOO_LARGE or halves is None:
                raise
            # A proxy in front of W&B may accept less than W&B.
            await self._post(halves[0], {})
            await self._post(halves[1], end)
            return
        for chunk in files.values():
            self.sent_bytes += sum(map(len, chunk.content))

    async def _gzip(self) -> bool:
        """Whether bodies are to be compressed: on one machine that only costs time."""
        if is_this_machine(self._session.host):
            return False
        return await supports(self._session, "FILESTREAM_GZIP")

    def _stand_in(self, line: str) -> str:
        """A line with the same step, in place of one that is too long for W&B."""
        self.too_long += 1
        try:
            step = lenient.loads_object(line).get(STEP)
        except CommError:
            step = None
        return msgspec.json.encode({} if step is None else {STEP: step}).decode()


def _halves(
    files: dict[Stream, FileChunk],
) -> tuple[dict[Stream, FileChunk], dict[Stream, FileChunk]] | None:
    """The lines split into two requests, if there are at least two lines."""
    if len(files) > 1:
        names = list(files)
        return {names[0]: files[names[0]]}, {name: files[name] for name in names[1:]}
    for name, chunk in files.items():
        middle = len(chunk.content) // 2
        if middle:
            rest = FileChunk(chunk.offset + middle, chunk.content[middle:])
            return {name: FileChunk(chunk.offset, chunk.content[:middle])}, {name: rest}
    return None
