"""Every exception that aiowandb raises, in one tree.

    AiowandbError
     ├─ UsageError             the call is wrong: nothing was sent
     │   ├─ InvalidPathError   (also a ValueError)
     │   ├─ MissingExtraError  a package is not installed (also a ModuleNotFoundError)
     │   └─ MissingFileError   a local file does not exist (also a FileNotFoundError)
     ├─ RowError               a row does not fit the requested type (also a ValueError)
     ├─ StoreError             the embedded W&B cannot use its data folder
     ├─ ExportError            an export could not be written
     ├─ RunsFailedError        some of many runs could not be read, the others were
     ├─ DownloadError          a file could not be downloaded to a folder (also a ValueError)
     │   └─ ContentError       the content differs from what W&B announced
     └─ CommError              W&B could not be reached, or answered with an error
         ├─ ConnectError       the connection failed
         ├─ TimeoutError       the response did not come in time (also a builtin TimeoutError)
         │   └─ StalledError   a host sends nothing of any file
         ├─ AuthenticationError
         │   └─ ApiKeyError    there is no key, or it is malformed (also a UsageError)
         ├─ NotFoundError      (also a ValueError)
         ├─ LinkError          a link from W&B has expired, or its file was deleted
         ├─ ConflictError      something exists already, or was changed meanwhile
         ├─ RateLimitError
         ├─ ServerError        5xx, or an invalid response
         │   ├─ TooLargeError  the response is larger than allowed
         │   └─ IncompleteHistoryError  W&B returned more or fewer rows than it counts, or others
         └─ GraphQLError       the response has `errors`

A `CommError` has the original exception in `exc`, the request in `operation` and `url`, and
the response in `status` and `response`. No exception contains the API key or the signature
of a link.

Possible mistakes, such as a key that no run has, are an `AiowandbWarning` of Python's
`warnings`.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = [
    "AiowandbError",
    "AiowandbWarning",
    "ApiKeyError",
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
    "MissingFileError",
    "NotFoundError",
    "RateLimitError",
    "ResponseFacts",
    "RowError",
    "RunsFailedError",
    "ServerError",
    "StalledError",
    "StoreError",
    "TimeoutError",
    "TooLargeError",
    "UsageError",
]


class AiowandbError(Exception):
    """The base class of all exceptions of aiowandb."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Not through `__init__`, which may require more arguments than the message: a process
        # pool breaks if it cannot unpickle an exception.
        facts = {name: _portable(value) for name, value in vars(self).items()}
        return _restored, (type(self), self.args), facts


class UsageError(AiowandbError):
    """The call is wrong, and nothing was sent. The message says what to change."""


class InvalidPathError(UsageError, ValueError):
    """A path that is not the path of an entity, project or run."""


class MissingExtraError(UsageError, ModuleNotFoundError):
    """A required package is not installed. The message says which extra to install."""


class MissingFileError(UsageError, FileNotFoundError):
    """A local file does not exist."""


class AiowandbWarning(UserWarning):
    """A possible mistake, like a key or a column that no run has."""


class StoreError(AiowandbError):
    """The embedded W&B cannot open or use its data folder."""


class RowError(AiowandbError, ValueError):
    """A row does not fit the requested type."""

    def __init__(self, message: str, *, step: Any = None, key: str | None, value: Any) -> None:
        super().__init__(message)
        self.step = step
        self.key = key
        self.value = value


class ExportError(AiowandbError):
    """An export could not be written. Runs that were finished before are kept."""


class RunsFailedError(AiowandbError):
    """Some of many runs could not be read; the others were. `failed` has the error of each."""

    def __init__(self, failed: Mapping[Any, CommError]) -> None:
        first = next(iter(failed))
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        super().__init__(f"Could not read run {first}: {failed[first]}{more}.")
        self.failed = failed


class DownloadError(AiowandbError, ValueError):
    """A file could not be downloaded to a folder; nothing of it was left there."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


class ContentError(DownloadError):
    """The content of a file differs from what W&B announced."""


@dataclass(frozen=True)
class ResponseFacts:
    """The parts of a response that may be shown: status, some headers, the start of the body."""

    status_code: int
    headers: Mapping[str, str]
    text: str


class CommError(AiowandbError):
    """W&B could not be reached, or answered with an error.

    `exc` is the original exception, or None if the response was the error; `response` is None
    if there was no response.
    """

    def __init__(
        self,
        message: str,
        exc: BaseException | None = None,
        *,
        status: int | None = None,
        operation: str | None = None,
        url: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exc = exc
        self.status = status
        self.operation = operation
        self.url = url
        self.retry_after = retry_after
        self.response: ResponseFacts | None = None


class ConnectError(CommError):
    """The connection failed."""


class TimeoutError(CommError, builtins.TimeoutError):  # noqa: A001
    """The response did not come in time, including all retries."""


class StalledError(TimeoutError):
    """A host sends nothing of any of its files. The message names the host."""


class AuthenticationError(CommError):
    """W&B does not accept the credentials, or there are none."""


class ApiKeyError(AuthenticationError, UsageError):
    """There is no API key, or it is malformed; nothing was sent."""


class NotFoundError(CommError, ValueError):
    """The requested object does not exist, or these credentials may not see it."""


class LinkError(CommError):
    """A link from W&B does not work: it has expired, or the file was deleted."""


class ConflictError(CommError):
    """Something to be changed was changed at W&B meanwhile, or something to be created exists.

    Nothing at W&B was overwritten, unless the message says so.
    """


class RateLimitError(CommError):
    """W&B answered 429 until the request timed out."""


class ServerError(CommError):
    """The server failed, or sent an invalid response."""


class TooLargeError(ServerError):
    """A response or file is larger than allowed, and was not read completely."""


class IncompleteHistoryError(ServerError):
    """W&B returned more or fewer rows of a run than it counts, or those of another run."""


class GraphQLError(CommError):
    """The response has `errors`; `data` is the partial data that came with them.

    `may_pass` is whether the errors look temporary.
    """

    def __init__(
        self, message: str, *, data: Any = None, may_pass: bool = False, **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.data = data
        self.may_pass = may_pass


@contextmanager
def extra_needed(extra: str, what: str) -> Iterator[None]:
    """For imports that need an extra: if a package is missing, the error says what to install.

    >>> with extra_needed("polars", "to_polars()"):
    ...     import polars
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if isinstance(error, MissingExtraError) or missing.partition(".")[0] == "aiowandb":
            raise
        raise MissingExtraError(
            f"{what} needs the package {missing}, which is not installed:"
            f" pip install 'aiowandb[{extra}]'",
            name=missing,
        ) from None


def _portable(value: Any) -> Any:
    """The value, or what it looks like if it cannot be sent to another process.

    That is so with exceptions of other libraries, and with values of the user.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    import pickle  # hardly any program needs it

    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 - its own bytes
    except Exception:
        text = f"{type(value).__name__}: {value}"
        return AiowandbError(text) if isinstance(value, BaseException) else text
    return value


def _restored(kind: type[AiowandbError], args: tuple[Any, ...]) -> AiowandbError:
    error = kind.__new__(kind, *args)
    error.args = args
    return error
