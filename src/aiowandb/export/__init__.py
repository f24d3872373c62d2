"""Many runs into files: select, scan concurrently, unify the schema, write, commit.

May import `history`, `net` and `wire`. Start reading at `pipeline`.
"""

from .pipeline import export_runs
from .result import ExportResult, Format

__all__ = ["ExportResult", "Format", "export_runs"]
