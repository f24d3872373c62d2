"""Compares the runs of an export with those at W&B: rows, system metrics, files, artifacts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial

import msgspec

from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import CommError
from aiowandb.export.announced import is_media
from aiowandb.export.folders.base import Folder
from aiowandb.export.names import logged_table
from aiowandb.export.options import ExportOptions
from aiowandb.export.stored import ROUNDED, RowRange, RunSnapshot, locate_runs
from aiowandb.export.tables.logged import is_table
from aiowandb.export.tables.media import is_histogram
from aiowandb.net import BatchSize, Session, ask_batched
from aiowandb.verification.contents import Contents
from aiowandb.verification.downloads import ExportedDownloads
from aiowandb.verification.listed_runs import RunsAsListed
from aiowandb.verification.originals import OriginalTexts
from aiowandb.verification.report import Comparison
from aiowandb.wire.record import RunRecord
from aiowandb.wire.run_contents import Downloads, RunContents, contents_at, run_contents

_RUNS_AT_ONCE = 4
_RUNS_ASKED_AT_ONCE = 100
_DOWNLOADS: tuple[Downloads, ...] = ("files", "artifacts")
_CONSOLE_FILE = "output.log"
_ENDED = frozenset({"finished", "failed", "crashed", "killed", "preempted"})


async def compare_with_source(
    session: Session,
    pages: AsyncIterator[Sequence[RunRecord]],
    folder: Folder,
    contents: Contents,
) -> dict[str, Comparison]:
    """What the export lacks of each run that W&B lists."""
    exported = await run_sync(ExportedRuns.read, folder, contents)
    size = BatchSize(_RUNS_ASKED_AT_ONCE, _RUNS_ASKED_AT_ONCE)
    kinds: list[Downloads] = [kind for kind in _DOWNLOADS if kind in exported.options.what]
    found: dict[str, Comparison] = {}
    async for page in pages:
        for start in range(0, len(page), _RUNS_ASKED_AT_ONCE):
            records = page[start : start + _RUNS_ASKED_AT_ONCE]
            refs = [record.ref for record in records]
            answers = await ask_batched(
                session, refs, lambda some: run_contents(some, kinds), contents_at, size
            )
            compare = partial(_compare, session, exported)
            pairs = zip(records, answers, strict=True)
            compared = await gather(pairs, compare, _RUNS_AT_ONCE)
            found.update(zip((record.id for record in records), compared, strict=True))
    return found


class ExportedRuns(msgspec.Struct, kw_only=True):
    """What the export has of each run."""

    options: ExportOptions
    rows: Mapping[str, Mapping[str, RowRange]]
    downloads: ExportedDownloads
    originals: OriginalTexts
    facts: RunsAsListed

    @classmethod
    def read(cls, folder: Folder, contents: Contents) -> ExportedRuns:
        """Read it from the folder. Blocks."""
        begun, state = contents.state.begun, contents.state
        return cls(
            options=begun.options if begun else ExportOptions(),
            rows={
                dataset.name: locate_runs(dataset.parts.values())
                for dataset in state.datasets.values()
            },
            downloads=ExportedDownloads.read(folder, state),
            originals=OriginalTexts(folder),
            facts=RunsAsListed(folder, contents.runs_file),
        )


class _Lacks:
    """Collects what the export lacks of one run."""

    def __init__(self, options: ExportOptions) -> None:
        self._options = options
        self.short: list[str] = []
        self.left_out: list[str] = []

    def is_exported(self, kind: str) -> bool:
        return kind in self._options.what

    def leave_out(self, kind: str, count: int | None, what: str) -> None:
        """Note that W&B has so many of what was not to be exported."""
        if count:
            some = f"1 {what.removesuffix('s')} was" if count == 1 else f"{count:,} {what} were"
            self.left_out.append(f"{kind}: {some} not to be exported.")


async def _compare(
    session: Session, exported: ExportedRuns, pair: tuple[RunRecord, RunContents | CommError | None]
) -> Comparison:
    record, contents = pair
    if isinstance(contents, CommError):
        return Comparison((f"W&B could not be asked: {contents}",))
    if contents is None:
        return Comparison((), ("it was deleted at W&B meanwhile.",))
    lacks = _Lacks(exported.options)
    _compare_history(lacks, exported, record, contents)
    _compare_lines(lacks, exported, record, contents)
    _compare_logged(lacks, exported, record)
    if lacks.is_exported("runs"):
        lacks.short += await run_sync(exported.originals.differences, record)
        lacks.short += await run_sync(exported.facts.differences, record)
    try:
        await _compare_downloads(lacks, session, exported.downloads, record, contents)
    except CommError as error:
        lacks.short.append(f"W&B could not be asked: {error}")
    if record.state not in _ENDED:
        lacks.left_out.append(f"it is {record.state}, and may still log.")
    return Comparison(tuple(lacks.short), tuple(lacks.left_out))


def _compare_history(
    lacks: _Lacks, exported: ExportedRuns, record: RunRecord, contents: RunContents
) -> None:
    lines = contents.history_line_count
    if not lacks.is_exported("history"):
        lacks.leave_out("history", lines, "rows")
        return
    found = exported.rows.get("history", {}).get(record.id)
    if found is None:
        if lines or record.last_step >= 0:
            lacks.short.append(f"history: none of {lines or 0:,} rows.")
        return
    stored = found.stored
    options, selecting = exported.options, exported.options.selecting
    read = stored.rows if stored.rows_read is None else stored.rows_read
    if options.layout == "wide" and not selecting:
        read = min(read, stored.rows)
    has_all_steps = options.samples is None and {"min_step", "max_step"}.isdisjoint(selecting)
    if has_all_steps and lines is not None and read < lines:
        lacks.short.append(f"history: {read:,} of {lines:,} rows.")
    elif not RunSnapshot.from_history(record).equals(stored.snapshot):
        lacks.short.append("history: the run has logged since it was exported.")
    if options.samples is not None:
        lacks.left_out.append("history: only a sample was to be exported.")
    if stored.rounded:
        lacks.left_out.append(f"history: {ROUNDED}.")
    if selecting:
        some = ", ".join(selecting)
        lacks.left_out.append(f"history: only what {some} selects was to be exported.")


def _compare_lines(
    lacks: _Lacks, exported: ExportedRuns, record: RunRecord, contents: RunContents
) -> None:
    counts = (
        ("system", contents.events_line_count, "system metrics"),
        ("logs", contents.log_line_count, "console lines"),
    )
    for kind, lines, what in counts:
        if not lacks.is_exported(kind):
            if kind != "logs" or not _has_console_file(exported, record.id):
                lacks.leave_out(kind, lines, what)
            continue
        found = exported.rows.get(kind, {}).get(record.id)
        rows = found.stored.rows if found else 0
        if lines is not None and rows < lines:
            lacks.short.append(f"{kind}: {rows:,} of {lines:,} {what}.")


def _compare_logged(lacks: _Lacks, exported: ExportedRuns, record: RunRecord) -> None:
    """Compare media, histograms and tables, which W&B counts by the keys of the history."""
    if exported.options.selecting:
        return
    keys = record.history_keys.keys if record.history_keys else {}
    kinds = (("media", is_media, "values"), ("histograms", is_histogram, "histograms"))
    for kind, is_wanted, what in kinds:
        count = sum(info.count for info in keys.values() if any(map(is_wanted, info.types)))
        found = exported.rows.get(kind, {}).get(record.id)
        read = found.stored.snapshot.lines or 0 if found else 0
        if lacks.is_exported(kind) and read < count:
            lacks.short.append(f"{kind}: {read:,} of {count:,} {what}.")
    if lacks.is_exported("tables"):
        wanted = [key for key, info in keys.items() if any(map(is_table, info.types))]
        lacking = [
            key for key in wanted if record.id not in exported.rows.get(logged_table(key), {})
        ]
        if lacking:
            some = f"{len(wanted) - len(lacking):,} of {len(wanted):,} tables"
            lacks.short.append(f"tables: {some}, without {', '.join(lacking[:3])}.")


def _has_console_file(exported: ExportedRuns, run: str) -> bool:
    """Whether the console output is among the downloaded files."""
    return f"{run}/{_CONSOLE_FILE}" in exported.downloads.files.get(run, {})


async def _compare_downloads(
    lacks: _Lacks,
    session: Session,
    downloads: ExportedDownloads,
    record: RunRecord,
    contents: RunContents,
) -> None:
    if lacks.is_exported("files"):
        lacks.short += await downloads.lacking_files(session, record.ref, contents)
    else:
        lacks.leave_out("files", contents.file_count, "files")
    if lacks.is_exported("artifacts"):
        lacks.short += await downloads.lacking_artifacts(session, record.ref, contents)
    else:
        made = contents.output_artifacts
        total = (made.total_count or len(made.nodes)) if made else 0
        lacks.leave_out("artifacts", total, "artifacts")
