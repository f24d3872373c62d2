"""`Runs`: the results of a query, with all that reads, exports or copies their histories."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import msgspec

from aiowandb.api.copying import COPY_CHECKS, Client, copy_project
from aiowandb.api.exporting import (
    EXPORT_CHECKS,
    LISTED,
    PLAN_EXPORT_CHECKS,
    export_options,
    export_to,
    plan_export_to,
)
from aiowandb.api.histories import SAMPLE_CHECKS
from aiowandb.api.planning import PLAN_CHECKS, ROWS_CHECKS, PlanArguments, make_parts, make_plan
from aiowandb.api.rows import rows_format
from aiowandb.api.run_list import RunList
from aiowandb.api.run_pages import RUNS_PER_PAGE
from aiowandb.api.sampling import read_samples, sample_call
from aiowandb.arguments import checks, choice, integer
from aiowandb.choices import (
    CopyIds,
    EventStream,
    Format,
    FrameFormat,
    Layout,
    LiveRows,
    Nan,
    OnDeleted,
    OnExisting,
    RowsFormat,
    Split,
    What,
)
from aiowandb.concurrency.tasks import Stream

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from aiowandb.export import ExportPlan, ExportResult, OnEvent, Sink
    from aiowandb.ingest import CopyReport, OnCopyEvent
    from aiowandb.readplan import ReadPart, ReadPlan


class Runs(RunList):
    """The runs that match a query. Nothing is sent until the list is used.

    Pages are cached until the client is closed, unless the list was made with `fresh=True`.
    Exports and tables are never read from the cache.

    >>> runs = api.runs("entity/project")
    >>> await runs.count()
    >>> first, some = await runs[0], await runs[10:20]
    >>> async for run in runs:
    ...     print(run.name)
    """

    @overload
    async def histories(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        format: Literal["default"] = "default",
        stream: EventStream = "default",
    ) -> list[dict[str, Any]]: ...

    @overload
    async def histories(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        *,
        format: Literal["pandas"],
        stream: EventStream = "default",
    ) -> pd.DataFrame: ...

    @overload
    async def histories(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        *,
        format: Literal["polars"],
        stream: EventStream = "default",
    ) -> pl.DataFrame: ...

    @checks(**SAMPLE_CHECKS, format=choice(RowsFormat))
    async def histories(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        format: RowsFormat = "default",
        stream: EventStream = "default",
    ) -> list[dict[str, Any]] | pd.DataFrame | pl.DataFrame:
        """A sample of at most `samples` rows of each run, each row with its `run_id`: dicts, or
        with `format` one DataFrame. To read all rows, use `api.scan_histories(runs)`.
        """
        in_format = rows_format(format)
        call = sample_call(samples, keys, x_axis, stream)
        pages = self._records(self._query, fresh=self._fresh)
        return in_format(await read_samples(self._session, pages, call, fresh=self._fresh))

    @checks(**EXPORT_CHECKS)
    async def export(
        self,
        target: str | Path | Sink,
        *,
        format: Format = "parquet",
        what: Collection[What] | Literal["all"] | None = None,
        layout: Layout = "wide",
        split: Split | None = None,
        keys: Sequence[str] | None = None,
        any_key: bool = True,
        exclude: Sequence[str] = (),
        min_step: int | None = None,
        max_step: int | None = None,
        samples: int | None = None,
        safe_csv: bool = False,
        on_deleted: OnDeleted = "keep",
        nan: Nan | None = None,
        filesystem: Any = None,
        overwrite: bool = False,
        repair: bool = False,
        on_event: OnEvent | None = None,
    ) -> ExportResult:
        """Export these runs and their full histories to a folder, or update it.

        `runs.<format>` has one row per run. The history has all rows of all runs, starting with
        `run_id` and `_step`: the Parquet dataset `history/`, or `history.<format>` for csv,
        jsonl and arrow. `what` can add the `system` metrics, console `logs`, `metrics`,
        `media`, `histograms`, logged `tables`, `sweeps`, `reports`, and the runs' `files` and
        `artifacts`; or it is "all". The columns `exported.*` of the table of runs say for each
        run what the export has of it.

        Files appear complete or not at all. After an interruption at any point, the same call
        resumes; later, it requests only new runs and steps. A folder with an export of something
        else is refused, unless `overwrite`. Runs that fail are listed in the result. Runs that
        were deleted from W&B are kept and marked, or with `on_deleted="drop"` removed.

        `repair` checks all files of the folder first, as `verify()` does, sets aside those that
        are not whole, makes a damaged journal again from the others, and exports what is missing.

        `keys` (names or globs) selects the columns of the history, and the rows that have any of
        them; with `any_key=False`, the rows that have all of them, as in `scan_history`.
        `exclude` leaves columns out. A key that no run has is an `AiowandbWarning`.

        `samples` exports a sample of each run instead of all rows. `layout="long"` writes one
        row per value, `split="run"` one file per run. `safe_csv` escapes cells that a
        spreadsheet would run as formulas. `nan` is how JSON Lines represent NaN and infinities:
        `"null"` (the default), `"text"`, or the bare `"token"`. `on_event` gets progress events.

        The folder can be a URL like `s3://bucket/folder`, or a path in a `filesystem` of pyarrow
        or fsspec. `target` can also be `-` for stdout, the URL of a database like
        `sqlite:///runs.db`, or a sink, for one table.

        >>> result = await api.runs("entity/project").export("out", keys=["loss", "val.*"])
        """
        self._require_all("export()")
        options = await export_options(
            target,
            format=format,
            what=what,
            layout=layout,
            split=split,
            keys=keys,
            any_key=any_key,
            exclude=exclude,
            min_step=min_step,
            max_step=max_step,
            samples=samples,
            safe_csv=safe_csv,
            on_deleted=on_deleted,
            nan=nan,
        )
        query = msgspec.structs.replace(
            self._query,
            per_page=RUNS_PER_PAGE,
            fields=LISTED,
            counts=True,
            artifacts="tables" in options.what,
        )
        return await export_to(
            self._session,
            partial(self._defaults.project, self._path),
            query,
            self._all_records,
            target,
            options,
            filesystem=filesystem,
            overwrite=overwrite,
            repair=repair,
            on_event=on_event,
        )

    @checks(**PLAN_EXPORT_CHECKS)
    async def plan_export(
        self,
        target: str | Path | Sink,
        *,
        format: Format = "parquet",
        what: Collection[What] | Literal["all"] | None = None,
        layout: Layout = "wide",
        split: Split | None = None,
        keys: Sequence[str] | None = None,
        any_key: bool = True,
        exclude: Sequence[str] = (),
        min_step: int | None = None,
        max_step: int | None = None,
        samples: int | None = None,
        safe_csv: bool = False,
        on_deleted: OnDeleted = "keep",
        nan: Nan | None = None,
        filesystem: Any = None,
        overwrite: bool = False,
    ) -> ExportPlan:
        """What `export()` with the same arguments would do now; nothing is written.

        The plan has the number of runs, rows, files, bytes and requests, the minutes that these
        take at the rate that W&B grants, what is sampled or left out and why, and the free space
        of the disk. If the folder has an export, it has only what is new. Costs a request for
        each 200 runs.

        >>> plan = await api.runs("entity/project").plan_export("out", what=["history", "files"])
        >>> print(plan.rows, plan.bytes, plan.requests, plan.minutes)
        """
        self._require_all("plan_export()")
        options = await export_options(
            target,
            format=format,
            what=what,
            layout=layout,
            split=split,
            keys=keys,
            any_key=any_key,
            exclude=exclude,
            min_step=min_step,
            max_step=max_step,
            samples=samples,
            safe_csv=safe_csv,
            on_deleted=on_deleted,
            nan=nan,
        )
        return await plan_export_to(
            self._session,
            partial(self._defaults.project, self._path),
            msgspec.structs.replace(self._query, per_page=RUNS_PER_PAGE),
            target,
            options,
            filesystem=filesystem,
            overwrite=overwrite,
        )

    @checks(**PLAN_CHECKS)
    async def plan(
        self,
        keys: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        any_key: bool = True,
        stream: EventStream = "default",
        live: LiveRows = "read",
        after: Mapping[str, int] | None = None,
        check_files: bool = False,
    ) -> ReadPlan:
        """A plan to read all rows of these runs, in any process and with any engine.

        Planning sends requests to W&B; reading follows signed links, which needs no API key and
        is not rate-limited. Rows and columns are those of `export()` with the same arguments.

        Rows that are not in files yet are read while planning and become part of the plan, up to
        64 MB of them. With `live="fetch"` readers fetch them, with their own API key; with
        `live="skip"` they are left out. `after`, the `last_steps` of an earlier plan, leaves
        out the rows of that plan. Columns are those that W&B announces. `check_files` reads them
        from every file, in a small request each, as is always done where W&B announces none.

        >>> plan = await api.runs("entity/project").plan(keys=["loss", "val.*"])
        >>> for part in plan.parts(64):
        ...     for batch in part.read():
        ...         print(batch.num_rows)
        """
        self._require_all("plan()")
        arguments = PlanArguments(
            keys, exclude, min_step, max_step, any_key, stream, live, after, check_files
        )
        where = await self._defaults.project(self._path)
        listed = self._all_records
        return await make_plan(self._session, *where, self._query, listed, arguments)

    @checks(part_rows=integer(1), **ROWS_CHECKS, live=choice(LiveRows))
    def stream_parts(
        self,
        part_rows: int = 1_000_000,
        keys: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        live: LiveRows = "read",
    ) -> Stream[ReadPart]:
        """Parts of a plan, the first ones while other runs are still being listed; later parts
        may have additional columns.
        """
        self._require_all("stream_parts()")
        arguments = PlanArguments(keys, exclude, min_step, max_step, live=live)
        where = partial(self._defaults.project, self._path)
        listed = self._all_records
        parts = make_parts(self._session, where, self._query, listed, arguments, part_rows)
        return self._session.ahead(parts)

    @checks(**ROWS_CHECKS)
    async def to_lazy(
        self,
        keys: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> pl.LazyFrame:
        """All rows of these runs as a LazyFrame of polars, which fetches what a query needs."""
        return (await self.plan(keys, exclude, min_step, max_step)).to_lazy()

    @checks(**ROWS_CHECKS, format=choice(FrameFormat))
    async def to_frame(
        self,
        keys: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        format: FrameFormat = "polars",
    ) -> pl.DataFrame | pd.DataFrame | pa.Table:
        """All rows of these runs as a frame of polars or pandas, or as an Arrow table."""
        plan = await self.plan(keys, exclude, min_step, max_step)
        return await plan._frame_by(self._session, format)

    @checks(**ROWS_CHECKS)
    async def to_arrow_stream(
        self,
        keys: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> pa.RecordBatchReader:
        """All rows of these runs as a stream, which duckdb, polars and pandas can read once."""
        return (await self.plan(keys, exclude, min_step, max_step)).reader()

    @checks(**COPY_CHECKS)
    async def copy_to(
        self,
        target: str,
        *,
        api: Client | None = None,
        ids: CopyIds = "keep",
        on_existing: OnExisting = "fail",
        plan: bool = False,
        verify: bool = False,
        on_event: OnCopyEvent | None = None,
    ) -> CopyReport:
        """Copy the runs into the project `target`, here or at the W&B of another `api`.

        Only what is missing is copied: the same call resumes an interrupted copy, or updates a
        complete one. With `ids="new"` runs get other ids. If the target has runs of the same ids
        that are not copies, that is an error, unless `on_existing` is `skip` or `update`. `plan`
        sends nothing and returns what would be sent; `verify` compares both sides afterwards.

        >>> async with AsyncApi.local("mirror") as mirror:
        ...     report = await api.runs("me/mnist").copy_to("local/mnist", api=mirror)
        """
        self._require_all("copy_to()")
        return await copy_project(
            (self._session, self._defaults),
            self._path,
            self._query.filters,
            self._query.order,
            self._all_records,
            target,
            api,
            ids=ids,
            on_existing=on_existing,
            plan=plan,
            verify=verify,
            on_event=on_event,
        )
