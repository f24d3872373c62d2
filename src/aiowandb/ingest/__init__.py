"""Into W&B: a source of runs, and one writer that puts them into any W&B.

A source gives runs as streams of Arrow batches, with their record, files, console and artifacts.
The writer speaks W&B's public protocol only. May import everything but `api` and what is above it.
"""

from aiowandb.ingest.report import (
    CopiedRun,
    CopyEvent,
    CopyPlan,
    CopyProgress,
    CopyReport,
    Difference,
    OnCopyEvent,
)
from aiowandb.ingest.source import RunFacts, Source, SourceArtifact, SourceFile, SourceRun
from aiowandb.ingest.tables import TableSource

__all__ = [
    "CopiedRun",
    "CopyEvent",
    "CopyPlan",
    "CopyProgress",
    "CopyReport",
    "Difference",
    "OnCopyEvent",
    "RunFacts",
    "Source",
    "SourceArtifact",
    "SourceFile",
    "SourceRun",
    "TableSource",
]
