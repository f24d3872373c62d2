"""What is tried again and when, with chance and clock given by the test."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.net.retry import RetryPolicy, retry_after


@pytest.mark.parametrize("status", [408, 418, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    assert RetryPolicy().is_transient(status)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409, 410, 413, 422, 501])
def test_what_stays_wrong_is_not(status: int) -> None:
    assert not RetryPolicy().is_transient(status)


def test_waits_double_up_to_a_ceiling() -> None:
    policy = RetryPolicy(first_wait=1, longest_wait=10, random=lambda: 1.0)
    assert [policy.wait(n) for n in range(6)] == [1, 2, 4, 8, 10, 10]


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_no_wait_is_longer_than_the_longest(attempt: int, chance: float) -> None:
    policy = RetryPolicy(random=lambda: chance)
    assert 0 <= policy.wait(attempt) <= policy.longest_wait


def test_the_word_of_the_server_goes_first() -> None:
    assert RetryPolicy(longest_wait=1).wait(0, 90.0) == 90.0


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after("2.5", now=0) == 2.5
    assert retry_after(formatdate(1000, usegmt=True), now=990) == 10
    assert retry_after(formatdate(1000, usegmt=True), now=2000) == 0


@pytest.mark.parametrize("value", [None, "", "soon", "-"])
def test_what_is_neither_says_nothing(value: str | None) -> None:
    assert retry_after(value, now=0) is None
