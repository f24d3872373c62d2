"""Copies one run to the target, and sends only what is missing there.

    created     the run exists, and is empty
    marked      its fields and config are set, and the config marks it as a copy in progress
    filled      rows, system metrics, console and files are added after those that exist
    ended       the file stream has the final state of the run
    complete    one request sets the summary, and marks the copy as complete

After a kill at any point, the same copy resumes: what is stored is counted, and not sent again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pyarrow as pa

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import IncompleteHistoryError
from aiowandb.ingest.lines import json_lines, with_steps
from aiowandb.ingest.mark import Mark
from aiowandb.ingest.report import CopiedRun
from aiowandb.ingest.source import SourceRun
from aiowandb.ingest.stream import LineSender
from aiowandb.ingest.target import Found, Target
from aiowandb.ingest.uploads import upload_files
from aiowandb.wire import lenient
from aiowandb.wire.copying import RunExtent
from aiowandb.wire.rows import STEP

_EXIT_CODES = {"finished": 0, "failed": 1, "crashed": 1, "killed": 1}
_SAID_BY_EXIT_CODE = frozenset({"finished", "failed"})
# How many rows are converted at once: more would only take more memory.
_ROWS_AT_ONCE = 2_000


class RunWriter:
    """Copies one run."""

    def __init__(self, target: Target, run: SourceRun, identity: str, report: CopiedRun) -> None:
        self._target = target
        self._run = run
        self._mark = Mark.of(identity, run.facts)
        self._report = report
        self._carried = Counter[str]()
        self._last: dict[str, Any] = {}

    async def write(self, found: Found | None, run_id: str, sweep: str | None) -> Found:
        """Update the run to its source. A run with artifacts must still be finished."""
        facts, is_new = self._run.facts, found is None
        found = found or await self._target.make(run_id)
        await self._target.begin(found, facts, self._mark, sweep)
        extent = RunExtent() if is_new else await self._target.extent(found.ref)
        sender = LineSender(self._target.session, found.ref)
        try:
            await self._send_lines(sender, found, extent)
            await self._send_files(found, is_new=is_new)
            if facts.state in _EXIT_CODES:
                await sender.complete(_EXIT_CODES[facts.state])
            else:
                await sender.flush()
            if not self._run.has_artifacts:
                await self.finish(found)
        finally:
            self._carried["bytes"] += sender.sent_bytes
            self._report.carried = dict(+self._carried)
        if sender.too_long:
            self._report.dropped.append(
                f"{sender.too_long} lines of more than 10 MB, which W&B does not accept"
            )
        return found

    async def _send_lines(self, sender: LineSender, found: Found, extent: RunExtent) -> None:
        lines = found.lines if extent.history_line_count is None else extent.history_line_count
        await self._send_rows(sender, found.last_step, lines)
        stored = extent.events_line_count or 0
        async with aclosing(_after(self._run.system_metrics(), stored)) as metrics:
            async for some in metrics:
                await sender.add("wandb-events.jsonl", stored, some)
                stored += len(some)
                self._carried["system metrics"] += len(some)
        # The last line may have been overwritten, as by a progress bar.
        stored = max(0, (extent.log_line_count or 0) - 1)
        async with aclosing(_after(self._run.console(), stored)) as console:
            async for log in console:
                await sender.add("output.log", stored, [line.sent() for line in log])
                stored += len(log)
                self._carried["console lines"] += len(log)

    async def _send_rows(self, sender: LineSender, last_step: int, stored: int) -> None:
        if (texts := self._run.lines()) is not None:
            await self._send_texts(sender, texts, stored)
            return
        # Without a summary in the source, it is computed from all rows, including existing ones.
        from_start = not stored or self._run.facts.summary is None
        rows = self._run.rows() if from_start else self._run.rows_after(last_step, stored)
        offset, next_step = 0 if from_start else stored, 0 if from_start else last_step + 1
        try:
            async with aclosing(rows):
                async for batch in rows:
                    for first in range(0, batch.num_rows, _ROWS_AT_ONCE):
                        some = batch.slice(first, _ROWS_AT_ONCE)
                        some, lines = await run_sync(self._lines, some, next_step)
                        new = lines[max(0, stored - offset) :]
                        offset += len(lines)
                        await sender.add("wandb-history.jsonl", offset - len(new), new)
                        next_step = some.column(STEP)[-1].as_py() + 1
                        self._carried["rows"] += len(new)
        except IncompleteHistoryError as error:
            if not stored:
                raise
            raise IncompleteHistoryError(
                f"{error} The copy has {stored:,} rows up to step {last_step:,}: the run was"
                " rewound or its rows were changed since. Delete the copy, and copy it again.",
                operation=error.operation,
            ) from error

    async def _send_texts(
        self, sender: LineSender, texts: AsyncGenerator[Sequence[str]], stored: int
    ) -> None:
        async with aclosing(_after(texts, stored)) as new:
            async for some in new:
                await sender.add("wandb-history.jsonl", stored, some)
                stored += len(some)
                self._carried["rows"] += len(some)

    def _lines(self, batch: pa.RecordBatch, next_step: int) -> tuple[pa.RecordBatch, list[str]]:
        batch = with_steps(batch, next_step)
        lines = json_lines(batch, self._run.literal_keys)
        if self._run.facts.summary is None:
            self._note_last(batch)
        return batch, lines

    def _note_last(self, batch: pa.RecordBatch) -> None:
        """Remember the last value of each key, for a source without a summary."""
        for index, name in enumerate(batch.schema.names):
            column = batch.column(index)
            if column.null_count < len(column):
                last = batch.slice(len(column) - 1) if column[-1].is_valid else None
                one = column.drop_null() if last is None else last.column(index)
                row = pa.RecordBatch.from_arrays(
                    [one.slice(len(one) - 1)], schema=pa.schema([batch.schema.field(index)])
                )
                self._last |= lenient.loads_object(json_lines(row, {name})[0])

    async def _send_files(self, found: Found, *, is_new: bool) -> None:
        files, size = await upload_files(
            self._target.session, found.ref, self._run.files(), is_new=is_new
        )
        self._carried["files"] += files
        self._carried["bytes"] += size

    async def finish(self, found: Found) -> None:
        """Mark the copy of the run as complete."""
        facts = self._run.facts
        summary = facts.summary
        if summary is None and self._last:
            summary = lenient.dumps(self._last)
        await self._target.finish(found, facts, self._mark.finished(self._run.stamp), summary)
        if not await self._target.keeps_origin():
            kept = "is kept in the config under _aiowandb, because W&B does not accept it"
            self._report.changed.append(f"creation time and user: the original {kept}")
            if facts.state in _EXIT_CODES and facts.state not in _SAID_BY_EXIT_CODE:
                self._report.changed.append(f"state: failed; {facts.state} {kept}")


async def _after(pages: AsyncGenerator[Sequence[Any]], count: int) -> AsyncGenerator[Sequence[Any]]:
    """The items after the first `count`."""
    async with aclosing(pages):
        async for page in pages:
            if rest := page[count:]:
                yield rest
            count = max(0, count - len(page))
