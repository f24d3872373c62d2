"""Many runs into files: select, scan concurrently, unify the schema, write, commit.

May import `history`, `net` and `wire`. Start reading at `pipeline`.
"""

from aiowandb.export.pipeline import export_runs
from aiowandb.export.result import ExportResult, Format

__all__ = ["ExportResult", "Format", "export_runs"]
