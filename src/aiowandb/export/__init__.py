"""Many runs into files: select, plan, scan concurrently, unify the schema, write, commit.

May import `history`, `net` and `wire`. Start reading at `pipeline`.
"""

from aiowandb.export.journal import Source
from aiowandb.export.options import ExportOptions, Format
from aiowandb.export.pipeline import export_runs
from aiowandb.export.result import Clash, ExportResult, RunFailure

__all__ = [
    "Clash",
    "ExportOptions",
    "ExportResult",
    "Format",
    "RunFailure",
    "Source",
    "export_runs",
]
