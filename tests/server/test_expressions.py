"""Filters written as text: the server and the client parse them alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiowandb.errors import UsageError
from aiowandb.wire.filters import check_filters
from aiowandb.wire.filters import parse_expression as client_parse
from aiowandb_server import Store
from aiowandb_server.pages.expressions import parse_expression
from aiowandb_server.store.records import RunChanges

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def now() -> datetime:
    return NOW


@pytest.mark.parametrize(
    "text",
    [
        'state == "finished"',
        "config.lr > 0.1 and tag == 'best'",
        "config.lr > 0.1 and (state != 'failed' or tag in ['best', \"kept\"])",
        'not summary."a.b" exists',
        'config."a.b".c == null',
        'config."a.b".value == true',
        r'display_name matches "^run-\d+"',
        r'notes == "a \"quoted\" one"',
        "summary.eval/loss <= -1e-3 and config.n in (1, 2)",
        "heartbeat_at > 12h ago and duration > 2h",
        "user not in ['ann'] or user == 'bob' or not (group == 'a' and group == 'b')",
    ],
)
def test_both_readers_find_the_same_filter(text: str) -> None:
    ours = parse_expression(text, now)
    assert ours is not None
    assert plain(ours) == plain(check_filters(client_parse(text, now)))


def plain(filters: Any) -> Any:
    """The filter without what is only a matter of style: nested `$and`s, times of equal meaning."""
    if isinstance(filters, list):
        return [plain(item) for item in filters]
    if isinstance(filters, str):
        try:
            moment = datetime.fromisoformat(filters)
        except ValueError:
            return filters
        return moment.replace(tzinfo=moment.tzinfo or UTC)
    if not isinstance(filters, dict):
        return filters
    return {key: plain(item) for key, item in filters.items()}


@pytest.mark.parametrize(
    "text",
    [
        "state",
        "state =",
        "state == ",
        "(state == 1",
        "state == 1 tag == 2",
        "== 1",
        "a in 1",
        "a =",
    ],
)
def test_both_readers_refuse_the_same_mistakes(text: str) -> None:
    with pytest.raises(ValueError, match="column"):
        parse_expression(text)
    with pytest.raises(UsageError):
        client_parse(text)


@pytest.mark.parametrize("text", ["(" * 100_000, "not " * 100_000, "a == 1e999 and a > 9e9d ago"])
def test_a_monstrous_filter_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which of the mistakes is found first is open
        parse_expression(text)


def test_an_empty_text_selects_all_and_json_is_taken_as_it_is() -> None:
    assert parse_expression("  ") is None
    assert parse_expression('{"state": "finished"}') == {"state": "finished"}


def test_a_filter_selects_runs(store: Store) -> None:
    project, _ = store.projects.ensure("local", "demo")
    for number in range(4):
        config = f'{{"lr": {{"value": {number / 10}}}}}'
        store.runs.upsert(project, f"r{number}", RunChanges(config=config, tags=[f"t{number % 2}"]))
    moment = datetime.fromtimestamp(store.clock(), UTC) + timedelta(hours=1)
    text = "config.lr >= 0.1 and tag == 't1' and created_at > {} ago"
    for age, expected in (("2h", ["r1", "r3"]), ("30m", [])):
        filters = parse_expression(text.format(age), lambda: moment)
        found = store.runs.page(project, filters=filters, first=9).items
        assert [run.name for run in found] == expected
