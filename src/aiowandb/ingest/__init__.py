"""Imports into W&B: sources of runs, and a writer that adds them to any W&B.

A source yields runs as streams of Arrow batches, with their record, files, console and artifacts.
The writer uses only W&B's public protocol. May import every layer below `api`.
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
]
