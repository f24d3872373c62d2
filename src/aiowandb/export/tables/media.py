"""The tables of media: an index of all that runs have logged besides numbers, and histograms.

A value with `_type` is media. Most say where their file is; lists of images only have names, and
the run's list of files has their sizes and digests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, ClassVar
from zlib import crc32

import msgspec
import pyarrow as pa

from aiowandb.concurrency.threads import run_sync
from aiowandb.export.announced import is_media
from aiowandb.export.row_source import RowSource
from aiowandb.export.schema import RowSchema
from aiowandb.export.stored import RunSnapshot
from aiowandb.export.tables.artifact_tables import ArtifactTables
from aiowandb.export.tables.converted import scan_converted
from aiowandb.files.lookup import RunFileLookup
from aiowandb.history.concurrent import RunBatches
from aiowandb.history.pages import column_values
from aiowandb.history.reading import Start
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.checksum import Checksum
from aiowandb.wire.dotted import flattened
from aiowandb.wire.record import RunRecord
from aiowandb.wire.rows import STEP

HISTOGRAM = "histogram"
_MOST = 2**63
_STEP = pa.field(STEP, pa.int64())
_MEDIA: Sequence[pa.Field[Any]] = (
    _STEP,
    pa.field("key", pa.string()),
    pa.field("number", pa.int64()),
    pa.field("type", pa.string()),
    pa.field("path", pa.string()),
    pa.field("size", pa.int64()),
    pa.field("sha256", pa.string()),
    pa.field("md5", pa.string()),
    pa.field("artifact_path", pa.string()),
    pa.field("artifact", pa.string()),
    pa.field("rows", pa.int64()),
    pa.field("caption", pa.string()),
)
_HISTOGRAMS: Sequence[pa.Field[Any]] = (
    _STEP,
    pa.field("key", pa.string()),
    pa.field("bins", pa.list_(pa.float64())),
    pa.field("values", pa.list_(pa.float64())),
)
MEDIA_ROWS = pa.schema(_MEDIA)

Row = dict[str, Any]


class MediaSchema(RowSchema):
    """The run and step, and what was logged there."""

    fixed: ClassVar[Sequence[pa.Field[Any]]] = (RowSchema.fixed[0], *_MEDIA)


class HistogramSchema(RowSchema):
    """The run and step, the key, the edges of the bins, and the value of each bin."""

    fixed: ClassVar[Sequence[pa.Field[Any]]] = (RowSchema.fixed[0], *_HISTOGRAMS)


def is_histogram(called: str) -> bool:
    """Whether W&B gives this name to histograms."""
    return called == HISTOGRAM


class LoggedMedia:
    """Which runs have logged media, under which keys; and media that only summaries have."""

    def __init__(self, types: Callable[[str], bool] = is_media) -> None:
        self.runs: dict[RunRef, RunSnapshot] = {}
        self.keys: set[str] = set()
        self.in_history: set[RunRef] = set()
        self.in_summary: dict[RunRef, list[Row]] = {}
        self._is_wanted = types
        self._heartbeats: dict[RunRef, float] = {}
        self._artifacts: dict[RunRef, int] = {}

    def add(self, run: RunRecord) -> None:
        """Add a run as it was listed."""
        known = run.history_keys.keys if run.history_keys else {}
        counts = {
            key: info.count for key, info in known.items() if any(map(self._is_wanted, info.types))
        }
        summary = [
            row
            for key, value in flattened(run.summary_metrics).items()
            if key not in known and self._is_media(value)
            for row in media_rows(None, key, value)
        ]
        ref, last = run.ref, -1
        if counts:
            self.in_history.add(ref)
            self.keys.update(counts)
        if summary:
            self.in_summary[ref] = summary
        if counts or summary:
            last = crc32(msgspec.json.encode([run.last_step, run.history_line_count, summary]))
        self.runs[ref] = RunSnapshot(run.id, run.storage_id, sum(counts.values()), last)
        self._heartbeats[ref] = run.heartbeat_at.timestamp() if run.heartbeat_at else 0.0
        if artifacts := (run.counted_artifacts or {}).get("totalCount"):
            self._artifacts[ref] = artifacts

    @property
    def with_artifacts(self) -> dict[RunRef, RunSnapshot]:
        """The same runs, as they are where artifacts matter, too: a run that has ended may have
        more of them later."""
        return {
            ref: msgspec.structs.replace(
                run,
                last_step=self._mark_with_artifacts(ref, run.last_step),
                heartbeat=self._heartbeats[ref],
            )
            for ref, run in self.runs.items()
        }

    def _mark_with_artifacts(self, ref: RunRef, mark: int) -> int:
        count = self._artifacts.get(ref)
        return crc32(msgspec.json.encode([mark, count])) if count else max(0, mark)

    def _is_media(self, value: Any) -> bool:
        return isinstance(value, dict) and self._is_wanted(str(value.get("_type")))

    @property
    def selection(self) -> Selection:
        """The rows of histories that have media."""
        return Selection(keys=tuple(sorted(self.keys)), any_key=True)


def media_source(media: LoggedMedia, *, in_artifacts: bool = False) -> RowSource:
    """The index of these media, and with `in_artifacts` of the tables in logged artifacts."""

    def read(
        session: Session, starts: Mapping[RunRef, Start]
    ) -> AbstractAsyncContextManager[AsyncIterator[RunBatches]]:
        files = RunFileLookup(session)
        artifacts = ArtifactTables(session, starts) if in_artifacts else None

        async def convert(ref: RunRef, batch: pa.RecordBatch) -> pa.RecordBatch:
            rows = await run_sync(partial(_rows_of, batch, media_rows))
            return await _index(files, ref, rows)

        async def more(ref: RunRef) -> pa.RecordBatch | None:
            rows = await artifacts.of(ref) if artifacts else []
            return await _index(files, ref, [*media.in_summary.get(ref, []), *rows])

        wanted = media.in_history
        return scan_converted(session, starts, wanted, media.selection, convert, more)

    runs = media.with_artifacts if in_artifacts else media.runs
    return RowSource("media", runs, MediaSchema(), read)


def histogram_source(media: LoggedMedia) -> RowSource:
    """The histograms among these media."""
    schema = pa.schema(_HISTOGRAMS)

    async def convert(_: RunRef, batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = await run_sync(partial(_rows_of, batch, _histograms))
        return pa.RecordBatch.from_pylist(rows, schema)

    async def more(_: RunRef) -> pa.RecordBatch | None:
        return None

    def read(
        session: Session, starts: Mapping[RunRef, Start]
    ) -> AbstractAsyncContextManager[AsyncIterator[RunBatches]]:
        wanted = media.in_history
        return scan_converted(session, starts, wanted, media.selection, convert, more)

    return RowSource("histograms", media.runs, HistogramSchema(), read)


def media_rows(step: int | None, key: str, value: Any) -> Iterator[Row]:
    """The media in a logged value: one row per file, or one for a value without files."""
    if not isinstance(value, dict) or not isinstance(value.get("_type"), str):
        return
    row: Row = {STEP: step, "key": _text(key), "type": _text(value["_type"])}
    names, captions = value.get("filenames"), _list(value.get("captions"))
    if isinstance(names, list):
        for number, name in enumerate(names):
            caption = captions[number] if number < len(captions) else None
            yield row | {"number": number, "caption": _text(caption)} | _place(name)
    elif not any(isinstance(item, list) and _is_list_of_media(item) for item in value.values()):
        yield row | {
            "size": _int(value.get("size")),
            "sha256": _text(value.get("sha256")),
            "rows": _int(value.get("nrows")),
            "caption": _text(value.get("caption")),
            **_place(value.get("path")),
            **({"artifact_path": ref} if (ref := _text(value.get("artifact_path"))) else {}),
        }
    for name, item in value.items():
        yield from _nested(step, f"{key}.{name}" if isinstance(item, dict) else key, item)


def _nested(step: int | None, key: str, item: Any) -> Iterator[Row]:
    """Media within media: those of a list, or the masks of an image."""
    if isinstance(item, dict):
        if "_type" in item:
            yield from media_rows(step, key, item)
        else:
            for name, below in item.items():
                yield from _nested(step, f"{key}.{name}", below)
    elif isinstance(item, list):
        for number, one in enumerate(item):
            for row in _nested(step, key, one) if isinstance(one, dict) else ():
                yield {"number": number} | row


def _is_list_of_media(items: Sequence[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) and "_type" in item for item in items)


def _place(path: Any) -> Row:
    """Where a file is: among the files of the run, or in an artifact."""
    if isinstance(path, str) and "://" in path:
        return {"artifact_path": path}
    return {"path": _text(path)}


def _histograms(step: int | None, key: str, value: Any) -> Iterator[Row]:
    if not isinstance(value, dict) or value.get("_type") != HISTOGRAM:
        return
    values = value.get("values")
    if isinstance(values, list):
        yield {STEP: step, "key": key, "bins": _bins(value), "values": _floats(values)}


def _bins(value: Mapping[str, Any]) -> list[float | None] | None:
    """The edges of the bins, one more than there are values."""
    packed = value.get("packedBins")
    if isinstance(packed, dict):
        low, size = _float(packed.get("min")), _float(packed.get("size"))
        count = len(_list(value.get("values")))
        if low is not None and size is not None and packed.get("count") == count:
            return [low + size * i for i in range(count + 1)]
    return _floats(value["bins"]) if isinstance(value.get("bins"), list) else None


def _floats(values: Sequence[Any]) -> list[float | None]:
    return [_float(value) for value in values]


def _float(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) else lenient.as_float(value)
    except OverflowError:
        return None


def _rows_of(
    batch: pa.RecordBatch, make: Callable[[int | None, str, Any], Iterator[Row]]
) -> list[Row]:
    """The rows of all media in a batch of a history, in step order."""
    steps: list[int | None] = batch.column(STEP).to_pylist()
    columns = {name: column_values(batch, name) for name in batch.schema.names if name != STEP}
    return [
        row
        for index, step in enumerate(steps)
        for key, values in columns.items()
        for row in make(step, key, values[index])
    ]


async def _index(files: RunFileLookup, ref: RunRef, rows: list[Row]) -> pa.RecordBatch:
    """The rows, with sizes and digests where W&B's list of files has them."""
    unknown = {row["path"] for row in rows if row.get("path") and row.get("size") is None}
    known = await files.find(ref, sorted(unknown)) if unknown else {}
    for row in rows:
        if file := known.get(row.get("path", "")):
            checksum = Checksum.of(file.md5)
            row |= {"size": file.size, "md5": checksum.text if checksum else None}
    return await run_sync(pa.RecordBatch.from_pylist, rows, MEDIA_ROWS)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    # Half a surrogate pair is no text that Arrow could have.
    return value.encode(errors="replace").decode() if isinstance(value, str) else None


def _int(value: Any) -> int | None:
    is_one = isinstance(value, int | float) and 0 <= value < _MOST
    return int(value) if is_one else None
