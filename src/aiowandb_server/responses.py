"""Responses outside of GraphQL, also for blocking work."""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread
import orjson
from starlette.responses import Response

from aiowandb_server.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("aiowandb_server")
JSON = "application/json"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What the store raises if its disk or its database fails.
FAILURES = (sqlite3.OperationalError, OSError)
T = TypeVar("T")


def error(status: int, message: str) -> Response:
    """An error in both forms that W&B's clients look for."""
    body = {"error": message, "errors": [{"message": message}]}
    return Response(orjson.dumps(body), status, media_type=JSON)


async def blocking(
    work: Callable[[], T], limiter: anyio.CapacityLimiter | None = None
) -> T | Response:
    """The response of the work, which runs in a worker thread; expected errors become responses.

    They do so in the thread: on their way out of it they would keep the frames of the work, and all
    that these have read, until the garbage is collected.
    """

    def answered() -> T | Response:
        try:
            return work()
        except RequestError as refusal:
            return error(refusal.status, str(refusal))
        except FAILURES as failure:
            return unavailable(failure)

    return await anyio.to_thread.run_sync(answered, limiter=limiter)


def unavailable(failure: Exception) -> Response:
    """The response to a full disk or a lock timeout: nothing was stored, a retry may succeed."""
    refusal = as_refusal(failure)
    return error(refusal.status, str(refusal))


def as_refusal(failure: Exception) -> RequestError:
    """What a client is told of a store whose disk or database fails; the log has the failure."""
    if _is_full(failure):
        _log_full_disk(int(time.monotonic() // 60))
        return RequestError("the disk of the embedded W&B is full: make room for its data", 507)
    logger.error("the store cannot answer", exc_info=failure)
    return RequestError(f"the store cannot answer now: {failure}", 503)


@lru_cache(1)
def _log_full_disk(_minute: int) -> None:
    """Once a minute: clients try again and again, and the log may be on the same disk."""
    logger.error("the disk of the data folder is full: nothing is stored until there is room")


def _is_full(failure: Exception) -> bool:
    """Whether the disk has no room, or the user's share of it, or a file may not be larger."""
    if isinstance(failure, OSError):
        return failure.errno in _NO_ROOM
    return getattr(failure, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
