"""Exceptions that are passed between processes."""

from __future__ import annotations

import inspect
import pickle
import threading
from typing import Any

import httpx
import pytest

from aiowandb import (
    AiowandbError,
    ApiKeyError,
    CommError,
    ContentError,
    DownloadError,
    GraphQLError,
    ResponseFacts,
    RowError,
    RunsFailedError,
    errors,
)
from aiowandb.paths import RunRef


def failed_request() -> httpx.ConnectError:
    request = httpx.Request("POST", "https://wandb.test/graphql", json={"query": "query Ask"})
    return httpx.ConnectError("refused", request=request)


FACTS: dict[str, Any] = {
    "exc": failed_request(),
    "status": 503,
    "operation": "Ask",
    "url": "https://wandb.test/graphql",
    "retry_after": 1.5,
}


def comm_error(kind: type[CommError]) -> CommError:
    more: dict[str, Any] = (
        {"data": {"a": [1, None]}, "may_pass": True} if issubclass(kind, GraphQLError) else {}
    )
    error = kind("m", **FACTS, **more)
    error.response = ResponseFacts(503, {"retry-after": "1"}, "down")
    return error


OTHERS: dict[type, AiowandbError] = {
    ContentError: ContentError("m", name="model.h5"),
    DownloadError: DownloadError("m", name="model.h5"),
    RowError: RowError("m", step=1, key="loss", value="x"),
    RunsFailedError: RunsFailedError({RunRef("e", "p", "r"): comm_error(CommError)}),
}


def example(kind: type[AiowandbError]) -> AiowandbError:
    if kind in OTHERS:
        return OTHERS[kind]
    return comm_error(kind) if issubclass(kind, CommError) else kind("m")


EXCEPTIONS = [
    kind
    for name in errors.__all__
    if inspect.isclass(kind := getattr(errors, name)) and issubclass(kind, AiowandbError)
]


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_an_exception_comes_out_of_a_pool_of_processes_as_it_was(
    kind: type[AiowandbError],
) -> None:
    error = example(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))
    assert repr(vars(copy)) == repr(vars(error))
    if isinstance(copy, CommError):
        assert isinstance(copy.exc, httpx.ConnectError)
        assert copy.exc.request.url == "https://wandb.test/graphql"


class NeedsMore(Exception):
    """Pickles, but cannot be restored, which would end the pool."""

    def __init__(self, what: str, *, why: str) -> None:
        super().__init__(f"{what} {why}")


class Locked(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


@pytest.mark.parametrize("cause", [NeedsMore("not", why="found"), Locked()], ids=repr)
def test_what_cannot_be_sent_to_another_process_is_described(cause: Exception) -> None:
    error = ApiKeyError("m", cause, operation="Ask")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy.exc) == f"{type(cause).__name__}: {cause}"
    assert copy.operation == "Ask"
    assert error.exc is cause
    row = RowError("m", key="loss", value=threading.Lock())
    assert pickle.loads(pickle.dumps(row)).value.startswith("lock: <unlocked")
