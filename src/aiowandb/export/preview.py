"""Plans an export before it is made, from counts and sizes: at most one request for 200 runs.

Nothing is written: no folder is created, and none is locked.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiowandb.choices import EVERYTHING, What
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import NotFoundError
from aiowandb.export.announced import AnnouncedKeys
from aiowandb.export.claim import read_claimed
from aiowandb.export.estimate import Estimate, known_runs, requests_for, selected_names
from aiowandb.export.export_plan import ExportPlan, Omission
from aiowandb.export.folders.base import Folder
from aiowandb.export.folders.locate import folder_at
from aiowandb.export.journal import ExportIdentity, ExportState
from aiowandb.export.options import ExportOptions
from aiowandb.export.run_size import RunSize
from aiowandb.export.runs_table import StoredRunsTable
from aiowandb.export.sources import history_selection
from aiowandb.export.value_sizes import ValueSizes
from aiowandb.net import BatchSize, Session, ask_page, part_of
from aiowandb.net.paging import all_pages_of
from aiowandb.suggestions import listed, no_such
from aiowandb.user_warnings import warn
from aiowandb.wire.connection import Connection
from aiowandb.wire.dotted import unknown_keys
from aiowandb.wire.graphql import Operation
from aiowandb.wire.run_sizes import SizedRun, SizedRunsPage, list_run_sizes
from aiowandb.wire.runs import RunQuery

if TYPE_CHECKING:
    from aiowandb.export.formats import Sink

RUNS_PER_REQUEST = 200
# Pages that W&B is too slow for are halved down to this size.
_LEAST_PAGE = 25
_DOWNLOADS = ("files", "artifacts")
# Runs that are no longer listed are looked for at W&B, so many in a request.
_LOOKED_FOR = 200


async def preview_export(
    session: Session,
    query: RunQuery,
    identity: ExportIdentity,
    target: str | Path | Sink,
    options: ExportOptions,
    *,
    filesystem: Any = None,
    overwrite: bool = False,
    runs_per_page: int,
) -> ExportPlan:
    """What `export_runs` would do now; `runs_per_page` is how many runs it lists in a request."""
    folder, before = None, _Before()
    if isinstance(target, str | Path) and target != "-":
        folder = await run_sync(folder_at, target, filesystem)
        before = await run_sync(_Before.read, folder, identity, options, overwrite)
    selection, widths = history_selection(options), ValueSizes(options)
    sizes: list[RunSize] = []
    announced = AnnouncedKeys()
    listing = _Listing(session, identity, query, options.what)

    def add(page: list[SizedRun]) -> None:
        for run in page:
            sizes.append(RunSize.of(run, selection, widths, any_key=options.any_key))
            announced.add(run.history_keys)

    with part_of(session.traffic) as traffic:
        started = time.monotonic()
        async with aclosing(listing.pages()) as pages:
            async for page in pages:
                await run_sync(add, page)
        seconds = time.monotonic() - started
    columns, _ = selected_names(announced.names, selection)
    estimate = Estimate(
        sizes,
        options,
        selection,
        before.state,
        before.sizes,
        listing.sweeps,
        widths.table_bytes(len(columns)),
    )
    tables = estimate.tables()
    listed_ids = {run.history.run for run in sizes}
    missing = before.runs - listed_ids
    requests = sum(table.requests for table in tables)
    requests += max(1, requests_for(len(sizes), runs_per_page))
    if options.on_deleted == "keep":
        requests += requests_for(len(missing.difference(before.state.deleted)), _LOOKED_FOR)
    rate = session.granted_rate
    each = seconds / max(1, traffic.requests) / session.settings.max_concurrency
    return ExportPlan(
        project=identity.project,
        target=str(folder) if folder else "-" if target == "-" else "a sink",
        runs=len(sizes),
        new=len(listed_ids - before.runs),
        changed=len(estimate.fetched & before.runs),
        unchanged=len((listed_ids & before.runs) - estimate.fetched),
        missing=len(missing),
        tables=tables,
        left_out=tuple(_left_out(estimate, sizes, options, announced.names, listing.sweeps)),
        requests=requests,
        rate=rate if rate < math.inf else None,
        minutes=max(requests / rate, requests * each) / 60,
        free_bytes=await run_sync(_free_space, folder.location("")) if folder else None,
        planning_requests=traffic.requests,
        unknown_keys=tuple(_unknown(options, announced.names)),
    )


class _Listing:
    """The pages of runs with their sizes, and how many sweeps the project has."""

    def __init__(
        self, session: Session, identity: ExportIdentity, query: RunQuery, what: Collection[What]
    ) -> None:
        self.sweeps: int | None = None
        self._session = session
        self._project = identity.project
        self._query = query
        self._what = what
        self._size = BatchSize(RUNS_PER_REQUEST, RUNS_PER_REQUEST)

    async def pages(self) -> AsyncGenerator[list[SizedRun]]:
        what = f"the runs of {self._project}"
        async with aclosing(all_pages_of(what, self._page)) as pages:
            async for records in pages:
                yield records

    async def _page(self, cursor: str | None) -> Connection[SizedRun]:
        entity, _, project = self._project.partition("/")

        def of_size(per_page: int) -> Operation[SizedRunsPage | None]:
            asked = RunQuery(self._query.filters, self._query.order, per_page)
            return list_run_sizes(entity, project, asked, self._what, cursor)

        found = await ask_page(self._session, of_size, self._size, _LEAST_PAGE)
        if found is None:
            raise NotFoundError(f"Could not find project {self._project}.", operation="RunSizes")
        self.sweeps = found.total_sweeps
        return found.located(entity, project)


class _Before:
    """What an earlier export has left in the folder."""

    def __init__(self) -> None:
        self.state = ExportState()
        self.runs: set[str] = set()
        self.sizes: Mapping[str, Mapping[str, int]] = {kind: {} for kind in _DOWNLOADS}

    @classmethod
    def read(
        cls, folder: Folder, identity: ExportIdentity, options: ExportOptions, overwrite: bool
    ) -> _Before:
        found = cls()
        found.state, options = read_claimed(folder, identity, options, overwrite=overwrite)
        if found.state.begun:
            found.runs = {*known_runs(found.state), *StoredRunsTable(folder, options).ids()}
            found.sizes = {
                kind: folder.files(kind, recursive=True) if kind in options.what else {}
                for kind in _DOWNLOADS
            }
        return found


def _free_space(location: Path | str) -> int | None:
    """The free bytes of the disk that has this folder, or that would have it."""
    if not isinstance(location, Path):
        return None
    for path in (location, *location.absolute().parents):
        if path.exists():
            return shutil.disk_usage(path).free
    return None


def _unknown(options: ExportOptions, names: Collection[str]) -> Iterator[str]:
    if "history" in options.what and names:
        for key in unknown_keys([*(options.keys or ()), *options.exclude], names):
            warn(no_such("key", key, names, "in any of the runs"))
            yield key


def _left_out(
    estimate: Estimate,
    runs: list[RunSize],
    options: ExportOptions,
    names: Collection[str],
    sweeps: int | None,
) -> Iterator[Omission]:
    if "history" in options.what:
        yield from _left_out_of_histories(estimate, runs, options, names)
    amounts = {
        "history": (sum(run.history.estimated_rows for run in runs), "rows of histories"),
        "system": (sum(run.events for run in runs), "rows of system metrics"),
        "files": (sum(run.files for run in runs), "files"),
        "artifacts": (sum(run.artifact_count for run in runs), "logged artifacts"),
        "logs": (sum(run.log.lines or 0 for run in runs), "lines of console output"),
        "sweeps": (sweeps or 0, "sweeps"),
        "media": (sum(run.media for run in runs), "values that are media"),
        "histograms": (sum(run.histograms for run in runs), "histograms"),
        "tables": (sum(run.tables for run in runs), "tables"),
    }
    others = []
    for table in EVERYTHING:
        if table in options.what:
            continue
        amount, of_what = amounts.get(table, (None, table))
        if amount:
            yield Omission(f"{amount:,} {of_what}", f"{table} is not in what")
        elif amount is None:
            others.append(of_what)
    if others:
        yield Omission(", ".join(others), "not in what")


def _left_out_of_histories(
    estimate: Estimate, runs: list[RunSize], options: ExportOptions, names: Collection[str]
) -> Iterator[Omission]:
    if estimate.sampled_runs:
        yield Omission(
            f"about {estimate.not_sampled:,} rows of {estimate.sampled_runs:,} runs",
            f"samples is {options.samples}: W&B draws a sample of each longer run",
        )
    if estimate.outside_steps:
        limits = [
            f"{name} is {value}"
            for name, value in (("min_step", options.min_step), ("max_step", options.max_step))
            if value is not None
        ]
        yield Omission(f"about {estimate.outside_steps:,} rows of histories", ", ".join(limits))
    wanted, unwanted = selected_names(names, history_selection(options))
    if unwanted:
        why = [
            f"{name} is {list(value)}"
            for name, value in (("keys", options.keys), ("exclude", options.exclude))
            if value
        ]
        total = len(wanted) + len(unwanted)
        yield Omission(f"{len(unwanted):,} of {total:,} keys ({listed(unwanted)})", ", ".join(why))
    if live := sum(run.is_live for run in runs):
        logs = "a running run logs" if live == 1 else f"{live:,} running runs log"
        yield Omission(f"what {logs} from now on", "the same export adds it later")
