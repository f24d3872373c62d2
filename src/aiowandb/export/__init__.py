"""Export many runs into files: select, plan, read concurrently, unify the schema, write, commit.

May import `history`, `files`, `net` and `wire`. Start reading at `pipeline`.
"""

from aiowandb.export.export_plan import ExportPlan, Omission, TablePlan
from aiowandb.export.formats import Sink
from aiowandb.export.journal import ExportIdentity
from aiowandb.export.options import ExportOptions, Format, Layout, Nan, OnDeleted, Split, What
from aiowandb.export.pipeline import export_runs
from aiowandb.export.progress import (
    Clash,
    ExportEvent,
    ExportResult,
    FileFinished,
    OnEvent,
    OnProjectEvent,
    Progress,
    ProjectExport,
    RowsWanted,
    RunFailed,
    RunFailure,
    RunFinished,
    RunsFound,
    RunStarted,
)
from aiowandb.net import Waiting

__all__ = [
    "Clash",
    "ExportEvent",
    "ExportIdentity",
    "ExportOptions",
    "ExportPlan",
    "ExportResult",
    "FileFinished",
    "Format",
    "Layout",
    "Nan",
    "Omission",
    "OnDeleted",
    "OnEvent",
    "OnProjectEvent",
    "Progress",
    "ProjectExport",
    "RowsWanted",
    "RunFailed",
    "RunFailure",
    "RunFinished",
    "RunStarted",
    "RunsFound",
    "Sink",
    "Split",
    "TablePlan",
    "Waiting",
    "What",
    "export_runs",
]
