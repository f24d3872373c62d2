"""How much there is of a run, by what W&B says when it lists it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from aiowandb.export.announced import is_media
from aiowandb.export.stored import RunSnapshot
from aiowandb.export.tables.logged import is_table
from aiowandb.export.tables.logs import log_snapshot
from aiowandb.export.tables.media import is_histogram
from aiowandb.export.value_sizes import Range, ValueSizes, sampled_lengths
from aiowandb.history.plan import HistoryPlan, plan_from
from aiowandb.history.selection import Selection
from aiowandb.wire.dotted import matching_names
from aiowandb.wire.record import HistoryKeys, KeyInfo
from aiowandb.wire.run_sizes import ArtifactSize, SizedRun


class RunSize(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a run: how it was listed, and how much there is of it."""

    history: RunSnapshot
    heartbeat: RunSnapshot
    log: RunSnapshot
    where: HistoryPlan
    segments: int
    # The bytes of all selected values, of a row and of a file besides them, how many values those
    # are, and how many rows they are in at most; None if W&B does not count values.
    value_bytes: Range
    row_bytes: int
    own_bytes: int
    values: int
    most_rows: int | None
    keys: int
    media: int
    # Values with files whose sizes are not in the value.
    unsized_media: int
    histograms: int
    tables: int
    events: int
    files: int
    file_bytes: int
    artifacts: tuple[ArtifactSize, ...]
    artifact_count: int
    is_live: bool = False

    @classmethod
    def of(
        cls, run: SizedRun, selection: Selection, sizes: ValueSizes, *, any_key: bool
    ) -> RunSize:
        found = plan_from(run.ref, run.history_source())
        assert isinstance(found, HistoryPlan)  # noqa: S101 - it has a source
        files = run.files.nodes if run.files else []
        artifacts = run.output_artifacts
        heartbeat = RunSnapshot.from_heartbeat(run)
        file_count = run.file_count or 0
        known = run.history_keys.keys if run.history_keys else {}
        columns = selection.columns(known)
        values, most_rows = _values(known, columns, selection, any_key=any_key)
        columns = columns or []
        lengths = sampled_lengths(run) if columns else {}
        return cls(
            history=RunSnapshot.from_history(run),
            heartbeat=heartbeat,
            log=log_snapshot(run),
            where=msgspec.structs.replace(found, segments=(), text_keys=frozenset()),
            segments=len(found.segments),
            value_bytes=sizes.values_bytes(known, columns, lengths),
            row_bytes=sizes.row_bytes(len(columns)),
            own_bytes=sizes.file_bytes(len(columns)),
            values=values,
            most_rows=most_rows,
            keys=len(known),
            media=_logged(run.history_keys, is_media),
            unsized_media=_logged(run.history_keys, lambda called: called.endswith("/separated")),
            histograms=_logged(run.history_keys, is_histogram),
            tables=_logged(run.history_keys, is_table),
            events=heartbeat.estimated_rows
            if run.events_line_count is None
            else run.events_line_count,
            files=file_count,
            file_bytes=extrapolated([file.size for file in files], file_count),
            artifacts=tuple(artifacts.nodes) if artifacts else (),
            artifact_count=(artifacts.total_count or len(artifacts.nodes)) if artifacts else 0,
            is_live=run.state == "running",
        )


def extrapolated(sizes: Sequence[int], count: int) -> int:
    """About the sum of so many sizes, of which some are known."""
    return sum(sizes) if count <= len(sizes) or not sizes else sum(sizes) * count // len(sizes)


def _logged(keys: HistoryKeys | None, types: Callable[[str], bool]) -> int:
    """How many values of such types were logged."""
    return sum(
        counted.count
        for info in (keys.keys.values() if keys else ())
        for counted in info.type_counts
        if types(counted.type)
    )


def _values(
    known: Mapping[str, KeyInfo],
    columns: Collection[str] | None,
    selection: Selection,
    *,
    any_key: bool,
) -> tuple[int, int | None]:
    if columns is None:
        return 0, 0 if known else None
    counts = {name: info.count for name, info in known.items()}
    values = sum(counts.get(name, 0) for name in columns)
    if not selection.keys or not any(counts.values()):
        return values, None
    groups = [
        sum(counts[name] for name in group if name in columns)
        for group in matching_names(selection.keys, counts)
    ]
    return values, sum(groups) if any_key else min(groups)
