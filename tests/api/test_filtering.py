"""Filters and orders as they are sent to W&B, and how the embedded one applies them."""

from __future__ import annotations

import itertools
import json
import operator
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb import Api, UsageError
from aiowandb.filters import Field, Filter, config, group, summary, tag
from aiowandb.wire.filters import parse_expression
from aiowandb.wire.filters.names import parse_name
from aiowandb_server import RunChanges, Store
from tests.conftest import examples

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


def _ordered(compare: Callable[[Any, Any], bool], value: Any, wanted: Any) -> bool:
    """Only values of one type have an order, and MongoDB's booleans are no numbers."""
    kinds = (str,) if isinstance(wanted, str) else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and compare(value, wanted)


def _some(value: Any, test: Callable[[Any], bool]) -> bool:
    return test(value) or (isinstance(value, list) and any(map(test, value)))


columns = st.sampled_from(["tag", "name", "display_name", "group"])
inside = st.builds(
    lambda part, path: f"{part}." + ".".join(f'"{key}"' if "." in key else key for key in path),
    st.sampled_from(["config", "summary"]),
    st.sampled_from([*PATHS, ("net",), ("none",)]),
)
names = columns | inside
scalars = st.sampled_from([*SCALARS, *TAGS, "run7", "base", "g1", 10**12])
orderable = scalars.filter(lambda value: value is not None and not isinstance(value, bool))


class Asked(NamedTuple):
    """The same question twice: as a filter, and of a run in Python."""

    filter: Filter
    of: Callable[[dict[str, Any]], bool]

    @classmethod
    def about(cls, name: str, filter: Filter, holds: Callable[[Any], bool]) -> Asked:
        return cls(filter, lambda run: holds(_looked_up(run, name)))


def _equality(name: str, wanted: Any) -> Asked:
    return Asked.about(name, Field(name) == wanted, lambda value: _equal(value, wanted))


def _inequality(name: str, wanted: Any) -> Asked:
    return Asked.about(name, Field(name) != wanted, lambda value: not _equal(value, wanted))


def _comparison(compare: Callable[[Any, Any], Any], name: str, wanted: Any) -> Asked:
    return Asked.about(
        name,
        compare(Field(name), wanted),
        lambda value: _some(value, lambda one: _ordered(compare, one, wanted)),
    )


def _choice(name: str, wanted: list[Any]) -> Asked:
    return Asked.about(
        name, Field(name).is_in(wanted), lambda value: any(_equal(value, one) for one in wanted)
    )


def _match(name: str, pattern: str) -> Asked:
    return Asked.about(
        name,
        Field(name).matches(pattern),
        lambda value: _some(
            value, lambda one: isinstance(one, str) and bool(re.search(pattern, one))
        ),
    )


def _existence(name: str) -> Asked:
    return Asked.about(name, Field(name).exists(), lambda value: value is not MISSING)


conditions = st.one_of(
    st.builds(_equality, names, scalars | st.just(["best", 1])),
    st.builds(_inequality, names, scalars),
    st.builds(
        _comparison,
        st.sampled_from([operator.gt, operator.ge, operator.lt, operator.le]),
        names,
        orderable,
    ),
    st.builds(_choice, names, st.lists(scalars, max_size=3)),
    st.builds(_match, names, st.sampled_from(["^b", "a", r"\d$", "(?i)ÄDAM"])),
    st.builds(_existence, names),
)
questions = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.builds(
            lambda a, b: Asked(a.filter & b.filter, lambda run: a.of(run) and b.of(run)),
            inner,
            inner,
        ),
        st.builds(
            lambda a, b: Asked(a.filter | b.filter, lambda run: a.of(run) or b.of(run)),
            inner,
            inner,
        ),
        inner.map(lambda a: Asked(~a.filter, lambda run: not a.of(run))),
    ),
    max_leaves=4,
)


@examples(20)
@given(question=questions)
def test_a_built_filter_selects_what_mongodb_would(api: Api, question: Asked) -> None:
    assert found(api, question.filter) == [run["name"] for run in FACTS if question.of(run)]


@given(question=questions)
def test_a_built_filter_prints_as_an_expression(api: Api, question: Asked) -> None:
    assert parse_expression(str(question.filter)) == question.filter


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
