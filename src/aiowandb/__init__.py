"""An async client for Weights & Biases whose exports stream.

All public types of the async client can be imported from here, those of the synchronous client
from `aiowandb.sync`. Other modules may change between versions.
"""

# Nothing is imported and no function called here: Ctrl-C raises KeyboardInterrupt only at calls and
# loops, and would show a traceback until the command line handles it. Type checkers take this name
# for true.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from aiowandb.api import (
        Append,
        Artifact,
        Artifacts,
        AsyncApi,
        File,
        Files,
        LiveRun,
        Project,
        Projects,
        Run,
        Runs,
        RunStart,
        Sweep,
        Sweeps,
    )
    from aiowandb.api.sinks import AiofilesSink
    from aiowandb.api.verifying import verify
    from aiowandb.choices import (
        CopyIds,
        EndState,
        EventStream,
        Format,
        FrameFormat,
        Layout,
        LiveRows,
        Nan,
        Nested,
        OnDeleted,
        OnExisting,
        RowsFormat,
        RunField,
        SetState,
        Split,
        What,
    )
    from aiowandb.concurrency.tasks import Stream
    from aiowandb.config.settings import Settings
    from aiowandb.errors import (
        AiowandbError,
        AiowandbWarning,
        ApiKeyError,
        AuthenticationError,
        CommError,
        ConflictError,
        ConnectError,
        ContentError,
        DownloadError,
        ExportError,
        GraphQLError,
        IncompleteHistoryError,
        InvalidPathError,
        LinkError,
        MissingExtraError,
        MissingFileError,
        NotFoundError,
        RateLimitError,
        ResponseFacts,
        RowError,
        RunsFailedError,
        ServerError,
        StalledError,
        StoreError,
        TimeoutError,
        TooLargeError,
        UsageError,
    )
    from aiowandb.export import (
        Clash,
        ExportEvent,
        ExportPlan,
        ExportResult,
        FileFinished,
        Omission,
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
        Sink,
        TablePlan,
    )
    from aiowandb.export.sinks import DatabaseSink, IcebergSink
    from aiowandb.files.artifact_uploads import NewEntry
    from aiowandb.files.artifacts import ArtifactDownload, LeftOut
    from aiowandb.ingest import (
        CopiedRun,
        CopyEvent,
        CopyPlan,
        CopyProgress,
        CopyReport,
        Difference,
        OnCopyEvent,
        RunFacts,
        Source,
        SourceArtifact,
        SourceFile,
        SourceRun,
    )
    from aiowandb.ingest.sources.mlflow import MlflowSource
    from aiowandb.ingest.sources.offline import OfflineSource
    from aiowandb.ingest.sources.tensorboard import TensorBoardSource
    from aiowandb.ingest.tables import TableSource
    from aiowandb.net import RetryPolicy, Traffic, Waiting
    from aiowandb.paths import ArtifactRef
    from aiowandb.readplan import ReadPart, ReadPlan
    from aiowandb.sync import Api
    from aiowandb.verification import Problem, Verification, VerifiedRun, VerifyProgress
    from aiowandb.wire.artifact_record import ArtifactLink, ArtifactRecord
    from aiowandb.wire.checksum import Checksum
    from aiowandb.wire.console import ConsoleLogLine
    from aiowandb.wire.copying import SweepFacts
    from aiowandb.wire.files import FileRecord
    from aiowandb.wire.manifest import ArtifactFileRef, Manifest, ManifestEntry
    from aiowandb.wire.projects import ProjectRecord
    from aiowandb.wire.record import HistoryKeys, KeyInfo, RunRecord, TypeCount, User
    from aiowandb.wire.server import Viewer
    from aiowandb.wire.summary import Summary
    from aiowandb.wire.sweeps import SweepAgent, SweepRecord

__all__ = [
    "AiofilesSink",
    "AiowandbError",
    "AiowandbWarning",
    "Api",
    "ApiKeyError",
    "Append",
    "Artifact",
    "ArtifactDownload",
    "ArtifactFileRef",
    "ArtifactLink",
    "ArtifactRecord",
    "ArtifactRef",
    "Artifacts",
    "AsyncApi",
    "AuthenticationError",
    "Checksum",
    "Clash",
    "CommError",
    "ConflictError",
    "ConnectError",
    "ConsoleLogLine",
    "ContentError",
    "CopiedRun",
    "CopyEvent",
    "CopyIds",
    "CopyPlan",
    "CopyProgress",
    "CopyReport",
    "DatabaseSink",
    "Difference",
    "DownloadError",
    "EndState",
    "EventStream",
    "ExportError",
    "ExportEvent",
    "ExportPlan",
    "ExportResult",
    "File",
    "FileFinished",
    "FileRecord",
    "Files",
    "Format",
    "FrameFormat",
    "GraphQLError",
    "HistoryKeys",
    "IcebergSink",
    "IncompleteHistoryError",
    "InvalidPathError",
    "KeyInfo",
    "Layout",
    "LeftOut",
    "LinkError",
    "LiveRows",
    "LiveRun",
    "Manifest",
    "ManifestEntry",
    "MissingExtraError",
    "MissingFileError",
    "MlflowSource",
    "Nan",
    "Nested",
    "NewEntry",
    "NotFoundError",
    "OfflineSource",
    "Omission",
    "OnCopyEvent",
    "OnDeleted",
    "OnEvent",
    "OnExisting",
    "OnProjectEvent",
    "Problem",
    "Progress",
    "Project",
    "ProjectExport",
    "ProjectRecord",
    "Projects",
    "RateLimitError",
    "ReadPart",
    "ReadPlan",
    "ResponseFacts",
    "RetryPolicy",
    "RowError",
    "RowsFormat",
    "RowsWanted",
    "Run",
    "RunFacts",
    "RunFailed",
    "RunFailure",
    "RunField",
    "RunFinished",
    "RunRecord",
    "RunStart",
    "RunStarted",
    "Runs",
    "RunsFailedError",
    "RunsFound",
    "ServerError",
    "SetState",
    "Settings",
    "Sink",
    "Source",
    "SourceArtifact",
    "SourceFile",
    "SourceRun",
    "Split",
    "StalledError",
    "StoreError",
    "Stream",
    "Summary",
    "Sweep",
    "SweepAgent",
    "SweepFacts",
    "SweepRecord",
    "Sweeps",
    "TablePlan",
    "TableSource",
    "TensorBoardSource",
    "TimeoutError",
    "TooLargeError",
    "Traffic",
    "TypeCount",
    "UsageError",
    "User",
    "Verification",
    "VerifiedRun",
    "VerifyProgress",
    "Viewer",
    "Waiting",
    "What",
    "__version__",
    "verify",
]

__version__ = "0.1.0"

# Imported when first used: httpx imports command-line packages if they are installed, and pyarrow
# is large. The exceptions, which are not listed here, are in `.errors`.
_NAMES_BY_MODULE = {
    ".api": (
        "Append",
        "Artifact",
        "Artifacts",
        "AsyncApi",
        "File",
        "Files",
        "LiveRun",
        "Project",
        "Projects",
        "Run",
        "RunStart",
        "Runs",
        "Sweep",
        "Sweeps",
    ),
    ".api.sinks": ("AiofilesSink",),
    ".api.verifying": ("verify",),
    ".choices": (
        "CopyIds",
        "OnExisting",
        "EndState",
        "EventStream",
        "Format",
        "FrameFormat",
        "Layout",
        "LiveRows",
        "Nan",
        "Nested",
        "OnDeleted",
        "RunField",
        "RowsFormat",
        "SetState",
        "Split",
        "What",
    ),
    ".config.settings": ("Settings",),
    ".export": (
        "Clash",
        "ExportEvent",
        "ExportPlan",
        "ExportResult",
        "FileFinished",
        "Omission",
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
        "TablePlan",
    ),
    ".export.sinks": ("DatabaseSink", "IcebergSink"),
    ".files.artifact_uploads": ("NewEntry",),
    ".files.artifacts": ("ArtifactDownload", "LeftOut"),
    ".ingest": (
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
    ),
    ".ingest.sources.mlflow": ("MlflowSource",),
    ".ingest.sources.offline": ("OfflineSource",),
    ".ingest.sources.tensorboard": ("TensorBoardSource",),
    ".ingest.tables": ("TableSource",),
    ".net": ("RetryPolicy", "Traffic", "Waiting"),
    ".paths": ("ArtifactRef",),
    ".readplan": ("ReadPart", "ReadPlan"),
    ".sync": ("Api",),
    ".verification": ("Problem", "Verification", "VerifiedRun", "VerifyProgress"),
    ".concurrency.tasks": ("Stream",),
    ".wire.artifact_record": ("ArtifactLink", "ArtifactRecord"),
    ".wire.files": ("FileRecord",),
    ".wire.projects": ("ProjectRecord",),
    ".wire.checksum": ("Checksum",),
    ".wire.copying": ("SweepFacts",),
    ".wire.sweeps": ("SweepAgent", "SweepRecord"),
    ".wire.console": ("ConsoleLogLine",),
    ".wire.manifest": ("ArtifactFileRef", "Manifest", "ManifestEntry"),
    ".wire.record": ("RunRecord", "HistoryKeys", "KeyInfo", "TypeCount", "User"),
    ".wire.summary": ("Summary",),
    ".wire.server": ("Viewer",),
}


def __getattr__(name: str) -> "Any":
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    modules = (module for module, names in _NAMES_BY_MODULE.items() if name in names)
    module = import_module(next(modules, ".errors"), __name__)
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
