"""Exceptions that are passed between processes."""

from __future__ import annotations

import pickle

import pytest

from aiowandb import (
    AiowandbError,
    CommError,
    DownloadError,
    GraphQLError,
    NotFoundError,
    RowError,
    RunsFailedError,
    TimeoutError,
)


@pytest.mark.parametrize(
    "error",
    [
        GraphQLError("m", data={"a": 1}, status=200, operation="Ask"),
        NotFoundError("m", status=404),
        TimeoutError("m", operation="Ask"),
        RowError("m", step=1, key="loss", value="x"),
        DownloadError("m", name="model.h5"),
        RunsFailedError({"r1": CommError("m", status=500)}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_comes_out_of_a_pool_of_processes_as_it_was(error: AiowandbError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))
    assert repr(vars(copy)) == repr(vars(error))
