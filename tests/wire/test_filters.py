"""Filters and orders: what is sent for them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb import AiowandbWarning, UsageError
from aiowandb.filters import Field, Filter, config, created_at, display_name, state, summary, tag
from aiowandb.wire.filters import check_filters, check_order, parse_expression
from aiowandb.wire.filters.names import parse_name

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def parsed(text: str) -> Filter:
    return parse_expression(text, now=lambda: NOW)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"state": "finished"},
        {"displayName": {"$regex": "^base"}, "config.lr": {"$gt": 0.1, "$lte": 1}},
        {"config.lr.value": None, "summary_metrics.eval/loss": {"$ne": 2}},
        {"$or": [{"$and": []}, {"$nor": [{"tags": {"$in": ["a"]}}]}]},
        {"config.lr": {"$not": {"$gt": 1}}, "$not": {"jobType": {"$nin": ["x", 1, None]}}},
        {"config.model": {"depth": 3}, "config.x": {"$eq": [1, {"a": 2}]}},
        {"keys_info.keys.loss": {"$exists": True}},
    ],
    ids=str,
)
def test_names_that_wandb_understands_are_sent_as_typed(filters: dict[str, Any]) -> None:
    assert check_filters(filters) == filters


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("summary.val_acc", "summary_metrics.val_acc"),
        ("summaryMetrics.val.acc", "summary_metrics.val.acc"),
        ("tag", "tags"),
        ("user", "username"),
        ('summary."a.b"', "summary_metrics.a.b"),
        ('config."a.b"', "config.a.b.value"),
        ('config."a.b".c', "config.a.b.value.c"),
        ('config."a.b".value', "config.a.b.value"),
        ("config.a.b", "config.a.b"),
    ],
)
def test_the_guides_and_quoted_names_are_sent_as_wandb_wants_them(typed: str, sent: str) -> None:
    assert check_filters({typed: 1}) == {sent: 1}


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        (None, "-created_at"),
        ("", "-created_at"),
        ("+created_at", "+created_at"),
        ("createdAt", "created_at"),
        ("-heartbeatAt", "-heartbeat_at"),
        ("-summary.val_acc", "-summary_metrics.val_acc"),
        ("summary_metrics.eval/loss", "summary_metrics.eval/loss"),
        ("-config.lr", "-config.lr.value"),
        ("-config.lr.value", "-config.lr.value"),
        ("config.model.depth", "config.model.value.depth"),
        ("config.model.value.depth", "config.model.value.depth"),
        ('-config."a.b"', "-config.a.b.value"),
        ("+state", "+state"),
    ],
)
def test_orders_are_sent_as_wandb_wants_them(typed: str | None, sent: str) -> None:
    assert check_order(typed) == sent


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (datetime(2026, 1, 31, 12), "2026-01-31T12:00:00Z"),
        (datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2))), "2026-01-31T10:00:00Z"),
        (date(2026, 1, 31), "2026-01-31"),
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.array([1, 2]), [1, 2]),
        (("a", 1), ["a", 1]),
        pytest.param({"b", "a"}, ["a", "b"], id="a set"),
    ],
    ids=repr,
)
def test_values_are_sent_as_json(value: Any, sent: Any) -> None:
    found = check_filters({"config.x": value})["config.x"]
    assert (type(found), found) == (type(sent), sent)


@pytest.mark.parametrize(
    ("filters", "complaint"),
    [
        (
            {"$or": [{}, {"config.lr": {"$gtt": 1}}]},
            r"$.$or[1].config.lr: there is no operator $gtt; did you mean $gt?",
        ),
        ({"tags": {"$all": ["a"]}}, "$.tags: there is no operator $all; here are $eq $ne"),
        ({"$gt": 1}, "$: there is no operator $gt; here are $and $or $nor $not."),
        ({"$xor": []}, "there is no operator $xor; did you mean $or?"),
        ({"$or": {"a": 1}}, "$.$or: $or takes a list of filters"),
        ({"$and": [3]}, "$.$and[0]: a filter is like"),
        ({"$not": [1]}, "$.$not: a filter is like"),
        ({"a": {"$not": 1}}, "$.a: $not takes operators"),
        ({"a": {"$in": "abc"}}, "$.a: $in takes a list, not 'abc'"),
        ({"a": {"$gt": None}}, "$.a: $gt takes a number, text or a time, not None"),
        ({"a": {"$lt": True}}, "$.a: $lt takes a number"),
        ({"a": {"$exists": "yes"}}, "$.a: $exists takes True or False"),
        ({"a": {"$regex": 1}}, "$.a: $regex takes a pattern"),
        ({"a": {"$regex": "(x"}}, "$.a: '(x' is not a pattern that W&B accepts: "),
        ({"a": {"$regex": "(?!x)"}}, "invalid perl operator"),
        ({"a": {"$gt": 1, "b": 2}}, "$.a: there is no operator b"),
        ({"a": float("nan")}, "$.a: JSON has no nan"),
        ({"a": {"$lt": float("inf")}}, "$.a: JSON has no inf"),
        pytest.param({"a": object()}, "$.a: a value of type object", id="an object"),
        ({"a": 2**70}, "cannot be encoded as JSON"),
        ({"a": "\ud800"}, "cannot be encoded as JSON"),
        ({1: "a"}, "$: a name must be a string, not 1"),
        ({"config['lr']": 1}, "is not a column"),
        ({"config..lr": 1}, "is not a name"),
        ({'config."a.b': 1}, "is not a name"),
        ({"": 1}, "is not a name"),
        ({"summary.x": 1, "summary_metrics.x": 2}, "$: summary_metrics.x is there twice"),
        (["state"], "$: a filter is like"),
    ],
    ids=str,
)
def test_names_that_wandb_does_not_understand_are_refused(filters: Any, complaint: str) -> None:
    with pytest.raises(UsageError) as refusal:
        check_filters(filters)
    assert complaint in str(refusal.value)


def test_a_pattern_that_only_re2_knows_is_sent() -> None:
    assert check_filters({"display_name": {"$regex": r"^\pL+$"}})


@pytest.mark.parametrize("order", ["--created_at", "summary_metrics['eval/loss']", "-", "a b"])
def test_an_order_that_names_nothing_is_refused(order: str) -> None:
    with pytest.raises(UsageError, match="is not a name"):
        check_order(order)


def test_a_filter_without_end_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["$not"] = endless
    with pytest.raises(UsageError, match="cannot be encoded as JSON"):
        check_filters(endless)


def test_filters_are_built_with_operators() -> None:
    built = (config("lr") > 0.1) & (tag == "best") | ~display_name.matches("^b")
    assert check_filters(built) == {
        "$or": [
            {"$and": [{"config.lr": {"$gt": 0.1}}, {"tags": {"$eq": "best"}}]},
            {"$nor": [{"display_name": {"$regex": "^b"}}]},
        ]
    }


def test_every_comparison_can_be_built() -> None:
    lr = config("lr")
    built = [lr != 1, lr < 1, lr <= 1, lr >= 1, lr.is_in({1}), lr.exists()]
    operators = [next(iter(one["config.lr"].items())) for one in built]
    assert operators == [
        ("$ne", 1),
        ("$lt", 1),
        ("$lte", 1),
        ("$gte", 1),
        ("$in", [1]),
        ("$exists", True),
    ]


def test_a_condition_that_cannot_be_is_refused_where_it_is_written() -> None:
    with pytest.raises(UsageError, match=r"\$\.config\.lr: \$gt takes a number"):
        _ = config("lr") > None


def test_and_in_place_of_an_ampersand_is_explained() -> None:
    with pytest.raises(UsageError, match="combine filters with & | ~"):
        _ = (config("lr") > 0.1) and (tag == "best")
    with pytest.raises(UsageError, match="no truth value"):
        _ = 0.1 < config("lr") < 1


def test_a_filter_combines_with_filters_only() -> None:
    with pytest.raises(TypeError):
        _ = (tag == "best") & {"state": "finished"}  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('config.lr > 0.1 and state == "finished"', (config("lr") > 0.1) & (state == "finished")),
        ("tag == 'x' or tag == 'y' and tag != 'z'", (tag == "x") | (tag == "y") & (tag != "z")),
        ("not tag == 'x' and not (state == 'a')", ~(tag == "x") & ~(state == "a")),
        ("tag IN ('x', \"y\") OR tag not in []", tag.is_in(["x", "y"]) | ~tag.is_in([])),
        (r'display_name =~ "^a\d+\\\"$"', display_name.matches(r'^a\d+\"$')),
        ('summary."a.b" exists', summary('"a.b"').exists()),
        ("config.on == True and config.x == null", (config("on") == True) & (config("x") == None)),  # noqa: E711, E712
        ("summary.eval/loss<=-1.5e-3", summary("eval/loss") <= -0.0015),
        ("config.dims == [1, [2]]", config("dims") == [1, [2]]),
        ("created_at > 36h ago", created_at > datetime(2026, 1, 30)),
        ("duration >= 2h", Field("duration") >= 7200.0),
        ('created_at > "2026-01-01"', created_at > "2026-01-01"),
    ],
)  # fmt: skip
def test_an_expression_means_what_the_built_filter_means(text: str, same: Filter) -> None:
    assert parsed(text) == same


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "column 1: expected a name like state or config.lr, found the end"),
        ("config.lr >", "column 12: expected a value like"),
        ("config.lr > and", "column 13: expected a value like"),
        ("lr = 3", "column 4: expected one of ==, !=, <, <=, >, >=, in, not in, matches"),
        ("state == finished", "column 10: expected a value like"),
        ("state == 'finished", 'column 10: expected a value like 0.1, "text"'),
        ("state == 'a' 'b'", "column 14: expected and, or, or the end, found \"'b'\""),
        ("(state == 'a'", "column 14: expected ), found the end"),
        ("tag in 'x'", 'column 8: expected a list like ["a", "b"]'),
        ("tag in ['x' 'y']", "column 13: expected ,, found"),
        ("config.lr > null", "column 13: $.config.lr: $gt takes a number"),
        ("state matches '('", "column 15: $.state: '(' is not a pattern"),
        ("(" * 100_000, "too large"),
        ("config.x > " + "9" * 5000, "too large"),
        ("created_at > 999999999999w ago", "too large"),
    ],
    ids=lambda text: text[:30],
)
def test_an_expression_that_cannot_be_parsed_shows_where(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parsed(text)
    assert complaint in str(refusal.value)


keys = st.text(st.characters(exclude_characters='"', exclude_categories=["Cs"]), min_size=1)
inner_dots = keys.filter(lambda key: all(key.split(".")))
names = st.sampled_from(["state", "tag", "display_name", "created_at"]) | st.builds(
    "{}.{}".format,
    st.sampled_from(["config", "summary"]),
    inner_dots.map('"{}"'.format) | st.just("lr"),
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | texts | numbers
conditions = st.one_of(
    st.builds(lambda n, v: Field(n) == v, names, scalars | st.lists(scalars)),
    st.builds(lambda n, v: Field(n) != v, names, scalars),
    st.builds(lambda n, v: Field(n) > v, names, texts | numbers),
    st.builds(lambda n, v: Field(n) <= v, names, texts | numbers),
    st.builds(lambda n, v: Field(n).is_in(v), names, st.lists(scalars)),
    st.builds(lambda n: Field(n).exists(), names),
    st.builds(lambda n, p: Field(n).matches(p), names, st.sampled_from(["^a", r"\d\\", '"x" $'])),
)
filters = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        inner.map(lambda a: ~a),
    ),
    max_leaves=6,
)


def text_of(filters: Any) -> str:
    """As JSON, where 1, 1.0 and True differ."""
    return json.dumps(dict(filters))


@given(filters)
def test_a_built_filter_is_sent_unchanged(built: Filter) -> None:
    assert text_of(check_filters(check_filters(built))) == text_of(check_filters(built))


@given(filters)
def test_a_printed_filter_reads_back_as_itself(built: Filter) -> None:
    assert text_of(parse_expression(str(built))) == text_of(built)


@given(st.text())
@pytest.mark.filterwarnings("ignore::aiowandb.AiowandbWarning")
def test_any_text_is_a_filter_or_a_clear_refusal(text: str) -> None:
    with suppress(UsageError):
        check_filters(parse_expression(text))


@given(st.text())
@pytest.mark.filterwarnings("ignore::aiowandb.AiowandbWarning")
def test_any_text_is_a_name_or_a_clear_refusal(text: str) -> None:
    try:
        name = parse_name(text)
    except UsageError:
        return
    assert parse_name(str(name)).in_order == name.in_order


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: config(5), "key must be the name of a key, not 5"),  # type: ignore[arg-type]
        (lambda: summary(""), "key must be the name of a key, not ''"),
        (
            lambda: tag.is_in("best"),
            r"values must be a list of values, not 'best': write \['best'\]",
        ),
        (lambda: tag.is_in(5), r"values must be a list of values, not 5: write \[5\]"),  # type: ignore[arg-type]
        (lambda: tag.matches(5), "pattern must be a regular expression, not 5"),  # type: ignore[arg-type]
        (lambda: Filter("x"), "document must be a filter like"),  # type: ignore[arg-type]
    ],
)
def test_operands_that_a_filter_cannot_have_are_refused(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        make()


def test_a_column_that_is_nearly_known_is_a_warning_with_the_nearest_one() -> None:
    with pytest.warns(AiowandbWarning, match="column 'sate'; did you mean 'state'"):
        check_filters({"sate": "finished"})
    with pytest.warns(AiowandbWarning, match=r"config.lr is compared .*; did you mean '\$gt'\?"):
        assert check_filters({"config.lr": {"gt": 1}}) == {"config.lr": {"gt": 1}}
    with pytest.warns(AiowandbWarning, match="column 'sumary'; did you mean 'summary'"):
        check_order("-sumary.loss")
    assert check_filters({"of_some_later_time": 1}) == {"of_some_later_time": 1}
