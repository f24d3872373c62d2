"""Every exception that aiowandb raises, in one tree.

    AiowandbError
     ├─ UsageError             the call itself is wrong: nothing was sent
     │   ├─ InvalidPathError   (also a ValueError)
     │   ├─ MissingExtraError  a package is not installed (also a ModuleNotFoundError)
     │   └─ MissingFileError   a file to be read does not exist (also a FileNotFoundError)
     ├─ RowError               a row does not fit the type asked for (also a ValueError)
     ├─ StoreError             the embedded W&B cannot use its data folder
     ├─ ExportError            an export could not be written
     ├─ RunsFailedError        some of many runs could not be read, the others were
     ├─ DownloadError          a file could not be brought into a folder (also a ValueError)
     │   └─ ContentError       what came is not what W&B says of the file
     └─ CommError              W&B could not be asked, or answered with an error
         ├─ ConnectError       the connection failed
         ├─ TimeoutError       the answer did not come in time (also a builtin TimeoutError)
         │   └─ StalledError   a host sends nothing, whatever it is asked for
         ├─ AuthenticationError
         │   └─ ApiKeyError    there is no key, or it is malformed (also a UsageError)
         ├─ NotFoundError      (also a ValueError)
         ├─ LinkError          a link that W&B gave leads to no file
         ├─ ConflictError      what is to be written or made is there, or was changed meanwhile
         ├─ RateLimitError
         ├─ ServerError        5xx, or an answer that is not what W&B says
         │   ├─ TooLargeError  more bytes came than may
         │   └─ IncompleteHistoryError  fewer or more rows came than W&B counts
         └─ GraphQLError       the answer came with `errors`

A `CommError` keeps the original exception in `exc`, what was asked in `operation` and
`url`, and what came back in `status` and `response`. No exception carries the API key or
the signature of a link.

What may be meant but looks like a slip, such as a key that no run has, is an
`AiowandbWarning` of Python's `warnings`.
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
    """The root: catch this to catch everything that aiowandb raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Not through `__init__`, which may take more than the message: a pool of processes
        # that cannot unpickle an exception breaks down.
        return _restored, (type(self), self.args), self.__dict__


class UsageError(AiowandbError):
    """The call itself is wrong; nothing was sent. The message says what to change."""


class InvalidPathError(UsageError, ValueError):
    """A path that names no entity, project or run."""


class MissingExtraError(UsageError, ModuleNotFoundError):
    """A package that this needs is not installed. The message says which extra brings it."""


class MissingFileError(UsageError, FileNotFoundError):
    """A file of this computer that was to be read does not exist."""


class AiowandbWarning(UserWarning):
    """Something that may be meant, but looks like a slip: a key or a column that nobody has."""


class StoreError(AiowandbError):
    """The embedded W&B cannot open or use its data folder."""


class RowError(AiowandbError, ValueError):
    """A row does not fit the type that was asked for."""

    def __init__(self, message: str, *, step: Any = None, key: str | None, value: Any) -> None:
        super().__init__(message)
        self.step = step
        self.key = key
        self.value = value


class ExportError(AiowandbError):
    """An export could not be written. What was finished before stays finished."""


class RunsFailedError(AiowandbError):
    """Some of many runs could not be read; the others were. `failed` has the error of each."""

    def __init__(self, failed: Mapping[Any, CommError]) -> None:
        first = next(iter(failed))
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        super().__init__(f"Could not read run {first}: {failed[first]}{more}.")
        self.failed = failed


class DownloadError(AiowandbError, ValueError):
    """A file could not be brought into a folder; nothing of it was left there."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


class ContentError(DownloadError):
    """What came is not what W&B says of the file."""


@dataclass(frozen=True)
class ResponseFacts:
    """What may be told of an answer: its status, some headers, the beginning of its body."""

    status_code: int
    headers: Mapping[str, str]
    text: str


class CommError(AiowandbError):
    """W&B could not be asked, or answered with an error.

    `exc` is the original exception, or None when the answer itself was the error;
    `response` is None when there was no answer.
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
    """The connection to the host could not be made."""


class TimeoutError(CommError, builtins.TimeoutError):  # noqa: A001
    """The answer did not come in time, all retries included."""


class StalledError(TimeoutError):
    """A host that files come from sends nothing of any of them. It is named in the message."""


class AuthenticationError(CommError):
    """W&B does not accept the credentials, or there are none."""


class ApiKeyError(AuthenticationError, UsageError):
    """There is no API key, or it cannot be one: nothing was sent."""


class NotFoundError(CommError, ValueError):
    """What was asked for does not exist, or these credentials may not see it."""


class LinkError(CommError):
    """A link that W&B gave leads to no file: it has expired, or the file is gone."""


class ConflictError(CommError):
    """What is to be written was changed at W&B since it was read, or what is to be made exists.

    Nothing that W&B has was overwritten, unless the message says that it may have been.
    """


class RateLimitError(CommError):
    """W&B kept answering 429 until the time allowed for the request was over."""


class ServerError(CommError):
    """The server failed, or answered something that is not W&B's protocol."""


class TooLargeError(ServerError):
    """More bytes came, or were announced, than may. It was stopped there."""


class IncompleteHistoryError(ServerError):
    """Fewer or more rows of a run came than W&B counts."""


class GraphQLError(CommError):
    """The answer came with `errors`; `data` holds what came beside them.

    It `may_pass` if it sounds as if the server had but a bad moment.
    """

    def __init__(
        self, message: str, *, data: Any = None, may_pass: bool = False, **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.data = data
        self.may_pass = may_pass


@contextmanager
def extra_needed(extra: str, what: str) -> Iterator[None]:
    """Imports that need an extra: if a package is missing, the error says what to install.

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


def _restored(kind: type[AiowandbError], args: tuple[Any, ...]) -> AiowandbError:
    error = kind.__new__(kind, *args)
    error.args = args
    return error
