"""`api.import_runs()` and `api.restore()`: write runs of other sources to this W&B."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiowandb.api.copying import WRITE_CHECKS, write_runs
from aiowandb.api.defaults import Defaults
from aiowandb.arguments import PATH, URI, FixedAttributes, checks, either, having
from aiowandb.choices import CopyIds, OnExisting
from aiowandb.concurrency.threads import import_in_thread, run_sync
from aiowandb.net import Session

if TYPE_CHECKING:
    from aiowandb.ingest import CopyReport, OnCopyEvent, Source

_SOURCE = either(URI, PATH, having("a Source", "runs", "name"), what="a path, a URI, or a Source")


class RunImports(FixedAttributes):
    """The methods of a client that write runs of other sources than W&B."""

    _session: Session
    _defaults: Defaults

    @checks(source=_SOURCE, **WRITE_CHECKS)
    async def import_runs(
        self,
        source: str | Path | Source,
        target: str,
        *,
        ids: CopyIds = "keep",
        on_existing: OnExisting = "fail",
        plan: bool = False,
        verify: bool = False,
        on_event: OnCopyEvent | None = None,
    ) -> CopyReport:
        """Write the runs of a source to the project `target`, only what is missing there.

        `source` is a folder that wandb logs to, as in offline mode, or one of TensorBoard's logs;
        an MLflow store, by its path or tracking URI; a table of rows in Parquet, CSV or JSON
        Lines, or a folder of tables; or a `Source`, such as a `TableSource` for other names of
        columns, or one of your own. The other arguments are those of `Runs.copy_to`.

        >>> report = await api.import_runs("losses.csv", "me/imported")
        """
        await import_in_thread("aiowandb.ingest.tables")
        from aiowandb.ingest.sources import open_source

        opened: Any = source
        if isinstance(source, str | Path):
            opened = await run_sync(open_source, source)
        return await write_runs(
            opened,
            (self._session, self._defaults),
            target,
            ids=ids,
            on_existing=on_existing,
            plan=plan,
            verify=verify,
            on_event=on_event,
        )

    @checks(folder=PATH, **WRITE_CHECKS)
    async def restore(
        self,
        folder: str | Path,
        target: str,
        *,
        ids: CopyIds = "keep",
        on_existing: OnExisting = "fail",
        plan: bool = False,
        verify: bool = False,
        on_event: OnCopyEvent | None = None,
    ) -> CopyReport:
        """Write the runs that `runs.export` has written to `folder` to the project `target`.

        The export must be in Parquet and have the table of runs. Histories, system metrics, files
        and artifacts are restored if the export has them. The other arguments are those of
        `Runs.copy_to`.

        >>> await api.runs("me/mnist").export("backup", what=["runs", "history", "files"])
        >>> report = await api.restore("backup", "me/restored")
        """
        await import_in_thread("aiowandb.ingest.export_folder")
        from aiowandb.ingest.export_folder import ExportSource

        return await write_runs(
            ExportSource(Path(folder)),
            (self._session, self._defaults),
            target,
            ids=ids,
            on_existing=on_existing,
            plan=plan,
            verify=verify,
            on_event=on_event,
        )
