"""An async client for Weights & Biases whose exports stream."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    NotFoundError,
    RateLimitError,
    RowError,
    RunsFailedError,
    ServerError,
    StalledError,
    StoreError,
    TimeoutError,
    TooLargeError,
    UsageError,
)

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run, Runs
    from aiowandb.sync import Api

__all__ = [
    "AiowandbError",
    "AiowandbWarning",
    "Api",
    "ApiKeyError",
    "AsyncApi",
    "AuthenticationError",
    "CommError",
    "ConflictError",
    "ConnectError",
    "ContentError",
    "DownloadError",
    "ExportError",
    "GraphQLError",
    "IncompleteHistoryError",
    "InvalidPathError",
    "LinkError",
    "MissingExtraError",
    "NotFoundError",
    "RateLimitError",
    "RowError",
    "Run",
    "Runs",
    "RunsFailedError",
    "ServerError",
    "StalledError",
    "StoreError",
    "TimeoutError",
    "TooLargeError",
    "UsageError",
    "__version__",
]

__version__ = "0.1.0"

# httpx loads whatever command-line packages it finds; only who uses it pays for that.
_LAZY = {"Api": ".sync", "AsyncApi": ".api", "Run": ".api", "Runs": ".api"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
