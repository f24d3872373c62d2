"""Filters and orders on their way to W&B, and what the embedded one makes of them."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb import Api, UsageError
from aiowandb.filters import Field, Filter, config, group, summary, tag
from aiowandb.local import RunChanges, Store
from aiowandb.wire.filters.names import parse_name

TAGS = ["best", "old", "x y"]
SCALARS = [None, True, False, 0, 1, 0.5, -3, 1e-3, "", "1", "adam", "Ädam"]
PATHS = [
    ("lr",),
    ("net", "depth"),
    ("net", "skip"),
    ("a.b",),
    ("eval/loss",),
    ("value",),
    ("list",),
]
MISSING = object()


def _generated(chance: random.Random) -> dict[str, Any]:
    """A config or a summary with some of the keys."""
    values: dict[str, Any] = {}
    for *above, last in chance.sample(PATHS, chance.randrange(len(PATHS))):
        value = chance.choice([*SCALARS, ["best", 1], []])
        target = values.setdefault(above[0], {}) if above else values
        target[last] = value
    return values


def _made(n: int, chance: random.Random) -> dict[str, Any]:
    return {
        "name": f"run{n}",
        "display_name": chance.choice(["base", "base 2", "wild"]),
        "tags": chance.sample(TAGS, chance.randrange(3)),
        "group": chance.choice([None, "g1", "g2"]),
        "config": _generated(chance),
        "summary": _generated(chance),
    }


FACTS = list(map(_made, range(60), itertools.repeat(random.Random(4))))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("wandb")
    with Store.open(folder) as store:
        store.accounts.ensure_entity("local")
        project, _ = store.projects.ensure("local", "p")
        for run in FACTS:
            changes = RunChanges(
                display_name=run["display_name"],
                tags=run["tags"],
                group=run["group"],
                config=json.dumps({key: {"value": value} for key, value in run["config"].items()}),
                summary=json.dumps(run["summary"]),
            )
            store.runs.upsert(project, run["name"], changes)
    with Api.local(folder, project="p") as api:
        yield api


def found(api: Api, filters: Mapping[str, Any]) -> list[str]:
    return [run.id for run in api.runs(filters=filters, order="+created_at", per_page=len(FACTS))]


def selected(run: dict[str, Any], filters: Mapping[str, Any]) -> bool:
    """MongoDB's meaning of a built filter, in Python."""
    ((key, operand),) = filters.items()
    if key == "$and":
        return all(selected(run, part) for part in operand)
    if key in ("$or", "$nor"):
        return any(selected(run, part) for part in operand) == (key == "$or")
    ((operator, wanted),) = operand.items()
    value = _looked_up(run, key)
    match operator:
        case "$eq":
            return _equal(value, wanted)
        case "$ne":
            return not _equal(value, wanted)
        case "$in":
            return any(_equal(value, item) for item in wanted)
        case "$exists":
            return value is not MISSING
        case "$regex":
            return _some(value, lambda v: isinstance(v, str) and bool(re.search(wanted, v)))
    return _some(value, lambda v: _ordered(operator, v, wanted))


def _looked_up(run: dict[str, Any], name: str) -> Any:
    typed = parse_name(name)
    if not typed.keys:
        value = run["tags" if typed.column == "tag" else typed.column]
        return MISSING if value is None else value  # a column that is empty is not there
    value = run[typed.column]
    for key in typed.keys:
        if not isinstance(value, dict) or key not in value:
            return MISSING
        value = value[key]
    return value


def _equal(value: Any, wanted: Any) -> bool:
    if wanted is None and value is MISSING:
        return True
    return _some(value, lambda v: isinstance(v, bool) == isinstance(wanted, bool) and v == wanted)


def _ordered(operator: str, value: Any, wanted: Any) -> bool:
    kinds = [str if isinstance(v, str) else (int, float) for v in (value, wanted)]
    if kinds[0] != kinds[1] or isinstance(value, bool) or not isinstance(value, kinds[0]):
        return False
    compared: bool = {
        "$gt": value > wanted,
        "$gte": value >= wanted,
        "$lt": value < wanted,
        "$lte": value <= wanted,
    }[operator]
    return compared


def _some(value: Any, test: Callable[[Any], bool]) -> bool:
    return test(value) or (isinstance(value, list) and any(map(test, value)))


columns = st.sampled_from(["tag", "name", "display_name", "group"])
inside = st.builds(
    lambda part, path: f"{part}." + ".".join(f'"{key}"' if "." in key else key for key in path),
    st.sampled_from(["config", "summary"]),
    st.sampled_from([*PATHS, ("net",), ("none",)]),
)
fields = (columns | inside).map(Field)
scalars = st.sampled_from([*SCALARS, *TAGS, "run7", "base", "g1", 10**12])
orderable = scalars.filter(lambda value: value is not None and not isinstance(value, bool))
conditions = st.one_of(
    st.builds(lambda f, v: f == v, fields, scalars | st.just(["best", 1])),
    st.builds(lambda f, v: f != v, fields, scalars),
    st.builds(lambda f, v: f > v, fields, orderable),
    st.builds(lambda f, v: f >= v, fields, orderable),
    st.builds(lambda f, v: f < v, fields, orderable),
    st.builds(lambda f, v: f <= v, fields, orderable),
    st.builds(lambda f, v: f.is_in(v), fields, st.lists(scalars, max_size=3)),
    st.builds(lambda f, p: f.matches(p), fields, st.sampled_from(["^b", "a", r"\d$", "(?i)ÄDAM"])),
    st.builds(lambda f: f.exists(), fields),
)
filters = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        inner.map(lambda a: ~a),
    ),
    max_leaves=4,
)


@given(filters=filters)
def test_a_built_filter_selects_what_mongodb_would(api: Api, filters: Filter) -> None:
    assert found(api, filters) == [run["name"] for run in FACTS if selected(run, filters)]


@pytest.mark.parametrize(
    ("typed", "built"),
    [
        ({"summary.lr": {"$gt": 0}}, summary("lr") > 0),
        ({'config."a.b"': True}, config('"a.b"') == True),  # noqa: E712
        ({"tag": "best", "group": None}, (tag == "best") & (group == None)),  # noqa: E711
    ],
    ids=str,
)  # fmt: skip
def test_the_guides_spelling_finds_what_the_built_filter_finds(
    api: Api, typed: Mapping[str, Any], built: Filter
) -> None:
    assert found(api, typed) == found(api, built) != []


@pytest.mark.parametrize("order", ["summary.lr", "-summary.eval/loss", "config.lr", 'config."a.b"'])
def test_orders_are_followed(api: Api, order: str) -> None:
    name = parse_name(order.lstrip("-"))
    values = [_looked_up(run, str(name)) for run in FACTS]
    with_value = sum(value not in (MISSING, None) for value in values)
    runs = api.runs(order=order).to_list()
    first = [_looked_up(FACTS[int(run.id[3:])], str(name)) for run in runs[:with_value]]
    assert MISSING not in first
    assert None not in first
    numbers = [v for v in first if isinstance(v, int | float)]
    assert numbers == sorted(numbers, reverse=order.startswith("-"))


@pytest.mark.parametrize(
    "wrong", [{"filters": {"config.lr": {"$gtt": 1}}}, {"order": "summary['x']"}], ids=str
)
def test_a_wrong_question_is_refused_before_anything_is_sent(api: Api, wrong: Any) -> None:
    before = api.traffic.requests
    with pytest.raises(UsageError):
        api.runs(**wrong)
    assert api.traffic.requests == before
