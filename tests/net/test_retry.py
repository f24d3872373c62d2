"""What is retried and when, with a random generator and a clock given by the test."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.net.adaptive import Quota
from aiowandb.net.retry import RetryPolicy, retry_after


@pytest.mark.parametrize("status", [408, 418, 429, 500, 502, 503, 504])
def test_temporary_errors_are_retried(status: int) -> None:
    assert RetryPolicy().is_transient(status)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409, 410, 413, 422, 501])
def test_permanent_errors_are_not_retried(status: int) -> None:
    assert not RetryPolicy().is_transient(status)


def test_waits_double_up_to_a_ceiling() -> None:
    policy = RetryPolicy(first_wait=1, max_wait=10, random=lambda: 1.0)
    assert [policy.wait(n) for n in range(6)] == [1, 2, 4, 8, 10, 10]


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_no_wait_is_longer_than_the_longest(attempt: int, chance: float) -> None:
    policy = RetryPolicy(random=lambda: chance)
    assert 0 <= policy.wait(attempt) <= policy.max_wait


def test_the_wait_that_the_server_asks_for_takes_precedence() -> None:
    assert RetryPolicy(max_wait=1).wait(0, 90.0) == 90.0


NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2.5", 2.5),
        ("0", 0),
        (" 7 ", 7),
        (formatdate(NOW + 10, usegmt=True), 10),
        (formatdate(NOW + 10), 10),  # with a zone as mails have it
        (formatdate(NOW + 10, usegmt=True).removesuffix(" GMT"), 10),
        (formatdate(NOW - 1000, usegmt=True), 0),
        (f"{NOW + 10:.0f}", 10),  # a time, as some proxies have it
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value", ["86400", "999999999", f"{NOW * 1000:.0f}", "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_no_task_waits_for_ever(value: str) -> None:
    assert retry_after(value, NOW) == 3600


@pytest.mark.parametrize("value", [None, "", "soon", "-", "-5", "nan", "inf", "-inf", "1e999"])
def test_an_invalid_retry_after_is_ignored(value: str | None) -> None:
    assert retry_after(value, NOW) is None


@given(
    st.text()
    | st.floats().map(str)
    | st.integers().map(str)
    | st.integers(0, 10**30).map(lambda year: f"Fri, 31 Dec {year} 23:59:59 +0000")
    | st.integers(-(10**9), 10**9).map(lambda zone: f"Fri, 31 Dec 1999 23:59:59 {zone:+05}")
)
def test_any_retry_after_is_a_wait_or_ignored(value: str) -> None:
    wait = retry_after(value, NOW)
    assert wait is None or 0 <= wait <= 3600


@pytest.mark.parametrize(
    ("remaining", "reset", "pause"),
    [
        ("0", "30", 30),
        ("0", "1.5", 1.5),
        ("-3", "30", 30),
        ("0", f"{NOW + 30:.0f}", 30),  # when, and not in how long
        ("0", f"{NOW - 30:.0f}", 0),
        ("0", "999999", 3600),
        ("1", "30", 0),
        ("0", "0", 0),
    ],
)
def test_a_quota_that_is_used_up_is_a_pause_until_it_is_renewed(
    remaining: str, reset: str, pause: float
) -> None:
    headers = {"RateLimit-Remaining": remaining, "RateLimit-Reset": reset}
    quota = Quota.of(headers, NOW)
    assert quota is not None
    assert quota.pause == pause


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"RateLimit-Remaining": "0"},
        {"RateLimit-Reset": "30"},
        {"RateLimit-Remaining": "0", "RateLimit-Reset": "-1"},
        {"RateLimit-Remaining": "0", "RateLimit-Reset": "nan"},
        {"RateLimit-Remaining": "0", "RateLimit-Reset": "inf"},
        {"RateLimit-Remaining": "few", "RateLimit-Reset": "30"},
        {"RateLimit-Remaining": "9" * 5000, "RateLimit-Reset": "30"},
    ],
)
def test_headers_without_a_quota_are_ignored(headers: dict[str, str]) -> None:
    assert Quota.of(headers, NOW) is None
