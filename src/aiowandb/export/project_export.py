"""`ProjectExport`: what became of one of many projects that were exported together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

from aiowandb.errors import AiowandbError
from aiowandb.export.export_plan import ExportPlan
from aiowandb.export.progress import ExportEvent, ExportResult


class ProjectExport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one project: the result, or the plan, or the error that ended its export.

    An error concerns this project only: the others are exported. If W&B stops answering, the
    projects that were not begun have that error, too. The next export resumes them.
    """

    project: str
    folder: Path | str
    result: ExportResult | None = None
    plan: ExportPlan | None = None
    error: AiowandbError | OSError | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all runs of the project were exported, or planned."""
        if self.error is not None:
            return False
        return self.result is None or not self.result.failed


# Called with the project's path and its events; the last one is its `ProjectExport`.
OnProjectEvent: TypeAlias = Callable[[str, ExportEvent | ProjectExport], None]
