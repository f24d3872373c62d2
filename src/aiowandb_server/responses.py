"""Responses outside of GraphQL, also for blocking work."""

from __future__ import annotations

import logging
import sqlite3
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
        except (sqlite3.OperationalError, OSError) as failure:
            return unavailable(failure)

    return await anyio.to_thread.run_sync(answered, limiter=limiter)


def unavailable(failure: Exception) -> Response:
    """The response to a full disk or a lock timeout: nothing was stored, a retry may succeed."""
    logger.error("the store cannot answer", exc_info=failure)
    return error(503, f"the store cannot answer now: {failure}")
