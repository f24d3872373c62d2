"""Estimates what an export would fetch of each run, from its sizes and what the folder has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal

from aiowandb.export.downloads import is_current
from aiowandb.export.export_plan import TablePlan
from aiowandb.export.journal import ExportState
from aiowandb.export.late_changes import RUNS_ASKED_AT_ONCE
from aiowandb.export.options import ExportOptions
from aiowandb.export.plan import PART_ROWS, plan_parts
from aiowandb.export.run_size import RunSize, extrapolated
from aiowandb.export.stored import RunSnapshot, locate_runs
from aiowandb.export.tables.logs import LINES_PER_PAGE
from aiowandb.export.tables.sweeps import SWEEPS_PER_PAGE
from aiowandb.export.value_sizes import Range
from aiowandb.files.artifact_lists import ARTIFACTS_PER_PAGE
from aiowandb.files.artifacts import LINKS_AT_ONCE
from aiowandb.files.run_files import FILES_PER_PAGE
from aiowandb.history.grouped import ROWS_PER_ANSWER, RUNS_AT_FIRST
from aiowandb.history.live import VALUES_PER_ANSWER, WINDOWS_AT_FIRST
from aiowandb.history.plan import PLANS_PER_REQUEST
from aiowandb.history.reading import Start
from aiowandb.history.scan import from_step, live_windows
from aiowandb.history.selection import Selection
from aiowandb.wire.dotted import OWN_KEYS
from aiowandb.wire.lenient import as_integer

# About how many values of live rows one request carries.
_VALUES = 1_000_000


def requests_for(items: int, each: int) -> int:
    """How many requests are needed for so many items."""
    return -(-items // each)


def _grouped(rows: Sequence[int]) -> int:
    """The requests for the rows of so many runs, where one answer has those of several runs."""
    return max(requests_for(len(rows), RUNS_AT_FIRST), requests_for(sum(rows), ROWS_PER_ANSWER))


class Estimate:
    """What would be fetched, table by table, and of which runs."""

    def __init__(
        self,
        runs: Sequence[RunSize],
        options: ExportOptions,
        selection: Selection,
        state: ExportState,
        sizes: Mapping[str, Mapping[str, int]],
        sweeps: int | None,
        table_bytes: int = 0,
    ) -> None:
        self._runs = runs
        self._options = options
        self._selection = selection
        self._state = state
        self._sizes = sizes
        self._sweeps = sweeps
        # What the file of a table has besides rows.
        self._table_bytes = table_bytes
        self.fetched: set[str] = set()
        # The rows of the history that are left out, by what leaves them out.
        self.outside_steps = 0
        self.not_sampled = 0
        self.sampled_runs = 0

    def tables(self) -> tuple[TablePlan, ...]:
        makers: Mapping[str, Callable[[], TablePlan]] = {
            "runs": self._run_rows,
            "history": self._history,
            "system": self._system,
            "logs": self._logs,
            "metrics": self._metrics,
            "media": self._media,
            "histograms": self._histograms,
            "tables": self._tables,
            "sweeps": self._sweep_rows,
            "reports": lambda: TablePlan(table="reports", requests=1),
            "files": self._files,
            "artifacts": self._artifacts,
        }
        return tuple(
            makers[table]() if table in makers else TablePlan(table=table, runs=len(self._runs))
            for table in self._options.what
        )

    def _run_rows(self) -> TablePlan:
        return TablePlan(table="runs", runs=len(self._runs), rows=len(self._runs))

    def _history(self) -> TablePlan:
        tasks = self._tasks("history", [run.history for run in self._runs])
        by_id = {run.history.run: run for run in self._runs}
        found = [_Rows(by_id[run], start, self._selection) for run, start in tasks.items()]
        samples = self._options.samples
        size = self._bytes(found, samples)
        self.outside_steps = sum(rows.outside_steps for rows in found)
        if samples is not None:
            longer = [rows for rows in found if rows.rows > samples]
            self.sampled_runs = len(longer)
            self.not_sampled = sum(rows.rows - samples for rows in longer)
            return TablePlan(
                table="history",
                runs=len(found),
                rows=sum(rows.most(samples) for rows in found),
                bytes=size.most,
                least_bytes=size.least,
                requests=len(found),
            )
        values = sum(rows.live_values for rows in found)
        return TablePlan(
            table="history",
            runs=len(found),
            rows=sum(rows.rows for rows in found),
            bytes=size.most,
            least_bytes=size.least,
            requests=_reading(found, values),
            downloads=sum(rows.size.segments for rows in found),
        )

    def _bytes(self, found: Sequence[_Rows], samples: int | None = None) -> Range:
        """The bytes of these rows, and of the file that they are in."""
        sizes = [rows.bytes_of(rows.most(samples)) for rows in found]
        if not sizes:
            return Range(0, 0)
        least, most = (sum(size[i] for size in sizes) for i in range(2))
        return Range(least + self._table_bytes // 2, most + self._table_bytes)

    def _system(self) -> TablePlan:
        tasks = self._tasks("system", [run.heartbeat for run in self._runs], extend=False)
        rows = [run.events for run in self._runs if run.heartbeat.run in tasks]
        return TablePlan(table="system", runs=len(rows), rows=sum(rows), requests=_grouped(rows))

    def _logs(self) -> TablePlan:
        tasks = self._tasks("logs", [run.log for run in self._runs], extend=False)
        lines = [run.log.estimated_rows for run in self._runs if run.log.run in tasks]
        # The first pages of many runs come together, the others one by one.
        requests = _grouped([min(each, LINES_PER_PAGE) for each in lines])
        requests += sum(max(0, requests_for(each, LINES_PER_PAGE) - 1) for each in lines)
        return TablePlan(table="logs", runs=len(lines), rows=sum(lines), requests=requests)

    def _metrics(self) -> TablePlan:
        # They come with the list of runs.
        rows = sum(run.keys for run in self._runs)
        return TablePlan(table="metrics", runs=len(self._runs), rows=rows)

    def _media(self) -> TablePlan:
        found = self._indexed()
        return TablePlan(
            table="media",
            runs=len(found),
            rows=sum(run.media for run in found),
            requests=self._index_requests(found),
            downloads=self._index_downloads(found),
        )

    def _tables(self) -> TablePlan:
        indexed = self._indexed()
        found = [run for run in indexed if run.tables]
        files = sum(run.tables for run in found)
        # The table of media has the index already.
        to_index = [] if "media" in self._options.what else indexed
        return TablePlan(
            table="tables",
            runs=len(found),
            files=files,
            requests=requests_for(len(found), RUNS_AT_FIRST) + self._index_requests(to_index),
            downloads=files + self._index_downloads(to_index),
        )

    def _indexed(self) -> list[RunSize]:
        """The runs whose media are looked for. The index says where tables are, too."""
        in_artifacts = "tables" in self._options.what
        found = [
            run
            for run in self._changed("media", lambda run: run.media)
            if in_artifacts or run.media
        ]
        self.fetched.update(run.history.run for run in found)
        return found

    def _index_requests(self, runs: Sequence[RunSize]) -> int:
        # The rows of all, then the files of those whose values do not have the sizes.
        requests = self._row_requests([run for run in runs if run.media])
        requests += sum(run.unsized_media > 0 for run in runs)
        if "tables" in self._options.what:
            requests += requests_for(len(runs), RUNS_AT_FIRST) + self._manifests(runs)
        return requests

    def _index_downloads(self, runs: Sequence[RunSize]) -> int:
        return _segments(runs, lambda run: run.media) + self._manifests(runs)

    def _row_requests(self, runs: Sequence[RunSize]) -> int:
        """The requests for the rows of histories that have some kind of value."""
        return _reading([_Rows(run, Start(), self._selection) for run in runs], 0)

    def _manifests(self, runs: Sequence[RunSize]) -> int:
        """How many manifests are read to find tables in artifacts."""
        return sum(run.artifact_count for run in runs) if "tables" in self._options.what else 0

    def _histograms(self) -> TablePlan:
        found = [
            run for run in self._changed("histograms", lambda run: run.histograms) if run.histograms
        ]
        self.fetched.update(run.history.run for run in found)
        return TablePlan(
            table="histograms",
            runs=len(found),
            rows=sum(run.histograms for run in found),
            requests=self._row_requests(found),
            downloads=_segments(found, lambda run: run.histograms),
        )

    def _changed(self, name: str, count: Callable[[RunSize], int]) -> list[RunSize]:
        """The runs that have more of these values than the folder, or have been active since."""
        located = locate_runs(self._state.dataset(name).parts.values())

        def is_known(run: RunSize) -> bool:
            stored = located.get(run.history.run)
            before = stored.stored.snapshot if stored else None
            if before is None or before.lines != count(run):
                return False
            return before.heartbeat is None or before.heartbeat == run.history.heartbeat

        return [run for run in self._runs if not is_known(run)]

    def _sweep_rows(self) -> TablePlan:
        # A page of them, and the best run of each.
        pages = requests_for(self._sweeps or 0, SWEEPS_PER_PAGE)
        return TablePlan(table="sweeps", rows=self._sweeps, requests=max(1, 2 * pages))

    def _tasks(
        self, name: str, runs: Sequence[RunSnapshot], *, extend: bool = True
    ) -> Mapping[str, Start]:
        """The runs that are read, each with where to start."""
        dataset = self._state.dataset(name)
        plan = plan_parts(
            runs,
            list(dataset.parts.values()),
            schema_number=dataset.schema_number,
            next_number=dataset.next_number,
            part_rows=PART_ROWS,
            split=self._options.split == "run",
            extend=extend and self._options.samples is None,
            staged=dataset.staged,
        )
        found = {task.snapshot.run: task.start for task in plan.fetched}
        self.fetched.update(found)
        return found

    def _files(self) -> TablePlan:
        files = size = requests = 0
        outdated = self._outdated("files")
        for run in outdated:
            count, present = self._present("files", run)
            files += max(0, run.files - count)
            size += max(0, run.file_bytes - present)
            requests += max(1, requests_for(run.files, FILES_PER_PAGE))
        return TablePlan(
            table="files",
            runs=len(outdated),
            files=files,
            bytes=size,
            requests=requests + self._asked_for_changes(outdated),
            downloads=files,
        )

    def _artifacts(self) -> TablePlan:
        files = size = requests = downloads = 0
        outdated, seen = self._outdated("artifacts"), set[str]()
        for run in outdated:
            count, present = self._present("artifacts", run)
            new = [each for each in run.artifacts if each.id not in seen]
            seen.update(each.id for each in new)
            more = run.artifact_count - len(run.artifacts)
            counts = [each.file_count or 0 for each in new]
            files += max(0, extrapolated(counts, len(new) + more) - count)
            sizes = [as_integer(each.size) for each in new]
            size += max(0, extrapolated(sizes, len(new) + more) - present)
            # A page of them, a manifest of each, and links to the files that are missing.
            # What it has logged, and what it has used.
            requests += 1 + max(1, requests_for(run.artifact_count, ARTIFACTS_PER_PAGE))
            unread = max(0, run.artifact_count - self._described(run))
            requests += unread
            downloads += unread
            if not present:
                requests += sum(requests_for(each, LINKS_AT_ONCE) for each in counts)
        return TablePlan(
            table="artifacts",
            runs=len(outdated),
            files=files,
            bytes=size,
            requests=requests + self._asked_for_changes(outdated),
            downloads=downloads + files,
        )

    def _asked_for_changes(self, outdated: Sequence[RunSize]) -> int:
        """The requests for what was changed later of all other runs."""
        return requests_for(len(self._runs) - len(outdated), RUNS_ASKED_AT_ONCE)

    def _described(self, run: RunSize) -> int:
        """How many artifacts of the run the folder has: their manifests are not read again."""
        record = self._state.fetched.get(("artifacts", run.heartbeat.run))
        return len((record and record.described) or ())

    def _outdated(self, kind: Literal["files", "artifacts"]) -> list[RunSize]:
        records, sizes = self._state.fetched, self._sizes[kind]
        found = [
            run
            for run in self._runs
            if not is_current(records.get((kind, run.heartbeat.run)), run.heartbeat, sizes)
        ]
        self.fetched.update(run.heartbeat.run for run in found)
        return found

    def _present(self, kind: str, run: RunSize) -> tuple[int, int]:
        """How many files of the run are in the folder, and their bytes."""
        record = self._state.fetched.get((kind, run.heartbeat.run))
        sizes = self._sizes[kind]
        there = [file.size for file in (record and record.files) or () if file.name in sizes]
        return len(there), sum(there)


def _segments(runs: Iterable[RunSize], count: Callable[[RunSize], int]) -> int:
    """How many Parquet files the histories have in which there are such values."""
    return sum(run.segments for run in runs if count(run))


class _Rows:
    """The rows of one run's history that would be read, from a start on."""

    def __init__(self, size: RunSize, start: Start, selection: Selection) -> None:
        self.size = size
        total = max(0, size.history.estimated_rows - start.rows_before)
        first, end = start.step, max(size.where.end, start.step + 1)
        low = max(first, selection.min_step)
        high = end if selection.max_step is None else min(end, selection.max_step)
        within = round(total * max(0, high - low) / (end - first))
        self.outside_steps = total - within
        self.rows = within if size.most_rows is None else min(within, size.most_rows)
        unread = from_step(selection, start.step)
        self.windows = len(live_windows(size.where, unread, unread.min_step, total or None))
        self._page_size = selection.page_size
        self.live_values = round(size.values * self._share(within)) if self.windows else 0

    @property
    def own_requests(self) -> int:
        """The requests of a run with several windows: at least two, which are sent at once."""
        if self.windows < 2:
            return 0
        values = self._page_size * max(1, self.size.where.key_count)
        each = max(1, min(WINDOWS_AT_FIRST, VALUES_PER_ANSWER // values))
        return max(2, requests_for(self.windows, each))

    def most(self, samples: int | None) -> int:
        """How many rows are left of them by a sample."""
        return self.rows if samples is None else min(self.rows, samples)

    def bytes_of(self, rows: int) -> Range:
        """About how many bytes so many of the rows have."""
        size, share = self.size, self._share(rows)
        own = size.own_bytes if rows else 0
        least = round(size.value_bytes.least * share) + own
        return Range(least, round(size.value_bytes.most * share) + size.row_bytes * rows + own)

    def _share(self, rows: int) -> float:
        return min(1.0, rows / max(1, self.size.history.estimated_rows))


def _reading(found: Sequence[_Rows], values: int) -> int:
    """The requests for rows of histories, with so many values that are not in Parquet files."""
    # The only windows of many runs come together.
    only = sum(rows.windows == 1 for rows in found)
    several = sum(rows.own_requests for rows in found)
    pages = max(requests_for(only, WINDOWS_AT_FIRST) + several, requests_for(values, _VALUES))
    return requests_for(len(found), PLANS_PER_REQUEST) + pages


def known_runs(state: ExportState) -> Iterable[str]:
    """The runs of which the folder has rows or files."""
    yield from state.stored_runs
    for dataset in state.datasets.values():
        yield from dataset.staged
    yield from (run for _, run in state.fetched)


def selected_names(names: Collection[str], selection: Selection) -> tuple[list[str], list[str]]:
    """Of all keys of the history, those that are exported, and those that are left out."""
    wanted = set(selection.columns(names) or ())
    own = set(OWN_KEYS)
    return (
        sorted(name for name in names if name in wanted),
        sorted(name for name in names if name not in wanted | own),
    )
