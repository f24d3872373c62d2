"""Requests that are too expensive for the embedded W&B are refused before any work is done."""

from __future__ import annotations

import base64
import itertools
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiowandb_server import RunChanges, Store, create_app
from aiowandb_server.errors import RequestError
from aiowandb_server.graphql import context, execution
from aiowandb_server.store import database, filters, json_text, metering
from aiowandb_server.store.search import parse_space

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "data") as store:
        project, _ = store.projects.ensure("local", "p")
        for number in range(3):
            changes = RunChanges(config=json.dumps({"n": {"value": number}}))
            store.runs.upsert(project, f"r{number}", changes)
        yield store


@pytest.fixture
async def http(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(store))
    auth = ("api", store.local_key)
    async with httpx.AsyncClient(transport=transport, base_url="http://x", auth=auth) as http:
        yield http


async def send(http: httpx.AsyncClient, query: str, **variables: Any) -> httpx.Response:
    return await http.post("/graphql", json={"query": query, "variables": variables})


def doubling(levels: int) -> str:
    """Fragments of which each spreads the next twice."""
    fragments = [f"fragment f{n} on User {{ ...f{n + 1} ...f{n + 1} }}" for n in range(levels)]
    return "\n".join(["{viewer{...f0}}", *fragments, f"fragment f{levels} on User {{ id }}"])


LIST = "runs(first: 1000) { edges { node { name project { %s name } } } }"


def nested(levels: int, inner: str = LIST) -> str:
    """Lists inside lists."""
    query = "name"
    for _ in range(levels):
        query = inner % query
    return f'{{project(name: "p", entityName: "local") {{ {query} }} }}'


@pytest.mark.parametrize(
    "query",
    [
        doubling(40),
        "{" + "".join(f"a{n}: viewer {{ id }} " for n in range(10_000)) + "}",
        pytest.param(
            "{viewer{" + "".join(f"a{n}: id " for n in range(30_000)) + "}}",
            marks=pytest.mark.slow,
        ),
        "{viewer{id}} #" + "x" * 30_000_000,
    ],
    ids=["doubling fragments", "aliases", "fields", "length"],
)
async def test_a_query_that_asks_for_too_much_is_refused(
    http: httpx.AsyncClient, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("it was begun")

    monkeypatch.setattr(execution, "execute_sync", work)
    answer = await send(http, query)
    assert answer.status_code in (400, 413)
    assert "allowed" in answer.text or "more than" in answer.text


@pytest.mark.parametrize("inner", [LIST, LIST.replace("(first: 1000)", "")])
async def test_lists_inside_lists_end_when_there_is_too_much(
    http: httpx.AsyncClient, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_MAX_FIELDS", 1_000)
    assert (await send(http, nested(2, inner))).status_code == 200
    answer = await send(http, nested(6, inner))
    assert answer.status_code == 413
    assert "more than 1000 fields" in answer.text


@pytest.mark.parametrize("field", ["runCount%s", "runs%s { totalCount }"])
async def test_a_long_filter_is_not_applied_again_and_again_in_one_request(
    http: httpx.AsyncClient, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_MAX_FIELDS", 2_000)
    inner = field % "(filters: $filters)"  # once for each of three runs
    runs = nested(1, LIST.replace("%s name", f"{inner} %s"))
    for length, status in ((10, 200), (50_000, 413)):
        filters = json.dumps({"name": {"$in": ["x" * length]}})
        answer = await send(http, f"query Q($filters: JSONString) {runs}", filters=filters)
        assert answer.status_code == status, answer.text[:300]


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("id", context._MAX_FIELDS),
        ("project { id }", context._MAX_FIELDS // context.LOOKUP),
        ('sampledHistory(specs: ["{}"])', context._MAX_FIELDS // context.SAMPLE),
    ],
)
async def test_what_is_looked_up_counts_for_what_it_costs(
    http: httpx.AsyncClient, field: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_MAX_FIELDS", context._MAX_FIELDS // 100)
    for count, status in ((most // 300 - 30, 200), (most // 300 + 10, 413)):
        fields = "".join(f"a{n}: {field} " for n in range(max(count, 1)))
        query = LIST.replace("name project { %s name }", fields)
        answer = await send(http, f'{{project(name: "p", entityName: "local") {{ {query} }} }}')
        assert answer.status_code == status, (count, answer.text[:300])


async def test_a_run_is_not_sampled_again_and_again_in_one_request(
    http: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_MAX_FIELDS", 5_000)
    project = store.projects.get("local", "p")
    assert project
    for number in range(3):
        run = store.runs.get(project, f"r{number}")
        assert run
        store.history.append(run, ['{"x": 1}'] * 3_000)
    inner = "runs { edges { node { %s } } }"
    query = f'{{project(name: "p", entityName: "local") {{ {inner} }} }}'
    once = 'sampledHistory(specs: ["{}"])'
    chart = 'chartSeries(spec: "{\\"keys\\": [\\"x\\"]}")'
    for field in (once, chart):
        assert (await send(http, query % field)).status_code == 200
    for twice in (
        f"{once} again: {once}",
        'sampledHistory(specs: ["{}", "{}"])',
        f"{chart} again: {chart}",
    ):
        assert (await send(http, query % twice)).status_code == 413


async def test_a_document_with_many_mistakes_has_a_short_answer(http: httpx.AsyncClient) -> None:
    fields = " ".join(f"x{number}: 1" for number in range(200))
    query = f"mutation {{ upsertBucket(input: {{{fields}}}) {{ inserted }} }}"
    answer = await http.post("/graphql", json={"query": query})
    assert answer.status_code == 400
    messages = [error["message"] for error in answer.json()["errors"]]
    assert "unknown field 'x0'" in messages[0] or "'x0' is not defined" in messages[0]
    # Each has all of the input in it, which takes a second for a long one.
    assert len(messages) < 10


async def test_fragments_without_end_are_refused(http: httpx.AsyncClient) -> None:
    loop = "{viewer{...a}} fragment a on User{...b} fragment b on User{...a id}"
    answer = await send(http, loop)
    assert answer.status_code == 400
    assert "within itself" in answer.text


async def test_large_queries_of_real_clients_are_answered(http: httpx.AsyncClient) -> None:
    runs = "".join(
        f'r{n}: run(name: "r{n % 3}") {{ id historyKeys parquetHistory(liveKeys: ["_step"]) '
        "{ parquetUrls } } "
        for n in range(200)
    )
    answer = await send(http, f'{{project(name: "p", entityName: "local") {{ {runs} }} }}')
    assert answer.status_code == 200
    page = "runs(first: 1000) { edges { node { name config summaryMetrics tags state %s } } }"
    more = "user { name username } files(first: 20) { edges { node { name url } } }"
    answer = await send(http, f'{{project(name: "p", entityName: "local") {{ {page % more} }} }}')
    assert answer.status_code == 200


def test_the_cache_of_patterns_is_bounded() -> None:
    before = filters._search_cached.cache_info()
    assert filters.matches_pattern("b$", "a" * 100_000 + "b")
    assert filters._search_cached.cache_info() == before, "a long text is not kept"
    assert before.maxsize is not None
    assert before.maxsize * filters._MAX_CACHED < 10_000_000
    with pytest.raises(ValueError, match="at most"):
        filters.check_pattern("a" * 10_001)


@pytest.mark.parametrize("length", [4_299, 4_300, 8_599])
@pytest.mark.parametrize("before", [0, 1, 2_000, 4_299, 4_300])
def test_a_number_that_python_cannot_read_is_found_wherever_it_is(length: int, before: int) -> None:
    for digit in ("0", "7"):
        text = "[" + " " * before + digit * length + "]"
        assert json_text.has_endless_number(text) == (length >= 4_300)


def test_many_digits_take_no_more_than_one_look_at_each() -> None:
    text = ("1" * 4_299 + " ") * 100
    before = time.thread_time()
    assert not json_text.has_endless_number(text)
    # About 10 ms; one look from each digit on took 15 seconds.
    assert time.thread_time() - before < 3


def laughs(levels: int, kind: str) -> str:
    """YAML whose references double what they refer to."""
    lines = ["method: random", "a0: &a0 {x: 1, y: 2}"]
    for n in range(levels):
        value = {"list": f"[*a{n}, *a{n}]", "merge": f"{{<<: [*a{n}, *a{n}]}}"}[kind]
        lines.append(f"a{n + 1}: &a{n + 1} {value}")
    return "\n".join([*lines, "parameters: {p: {value: 1}}"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (laughs(40, "list"), "more than 100000 values"),
        (laughs(40, "merge"), "more than 100000 values"),
        ("a: &a [*a]\nmethod: random", "more than 100000 values"),
        pytest.param(
            "method: random\nx: " + "[" * 5000 + "]" * 5000,
            "too deeply|nesting depth",
            marks=pytest.mark.slow,
        ),
        ("method: random\nx: '" + "x" * 2**18 + "'", "longer than"),
        ("method: random\nx: *nobody", "more than|not YAML"),
    ],
    ids=["lists", "merges", "itself", "depth", "length", "unknown"],
)
def test_a_sweep_that_unfolds_without_end_is_refused(config: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_space(config)


def test_references_may_be_used_as_far_as_they_go() -> None:
    space = parse_space(laughs(5, "list"))
    assert space.draw(0, 0) == {"p": 1}


def test_a_grid_of_a_billion_takes_no_memory() -> None:
    axes = {
        "n": {"min": 1, "max": 10**9},
        "x": {"min": 0.0, "max": 1000.0, "q": 1e-6},
    }
    config = json.dumps({"method": "grid", "parameters": axes})
    tracemalloc.start()
    try:
        space = parse_space(config)
        assert space.size == 10**9 * (10**9 + 1)
        assert space.draw(10**9 + 2, 0) == {"n": 2, "x": pytest.approx(1e-6)}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


RUNS = """query($filters: JSONString, $after: String, $order: String) {
  project(name: "p", entityName: "local") {
    runCount(filters: $filters)
    runs(filters: $filters, after: $after, order: $order) { edges { node { name } } } } }"""


@pytest.mark.parametrize("operator", ["$in", "$nin"])
@pytest.mark.parametrize("field", ["name", "config.n", "tags", "summary_metrics.x", "created_at"])
@pytest.mark.parametrize("kind", ["text", "numbers", "everything"])
async def test_ten_thousand_values_in_a_filter_work(
    http: httpx.AsyncClient, operator: str, field: str, kind: str
) -> None:
    values: list[Any] = [f"r{n}" for n in range(1, 10_000)]
    if kind == "numbers" or field == "created_at":
        values = [float(n) if n % 2 else n for n in range(1, 10_000)]
    if kind == "everything" and field != "created_at":
        values = [*values[:9_000], *range(1, 900), None, True, [1], {"a": 1}, "a\0b", 2**70]
    answer = await send(http, RUNS, filters=json.dumps({field: {operator: values}}))
    assert answer.status_code == 200, answer.text[:300]
    names = {edge["node"]["name"] for edge in answer.json()["data"]["project"]["runs"]["edges"]}
    expected: set[str] = set()
    if (field == "name" and kind != "numbers") or (field == "config.n" and kind != "text"):
        expected = {"r1", "r2"}
    elif field == "summary_metrics.x" and kind == "everything":
        expected = {"r0", "r1", "r2"}
    assert names == (expected if operator == "$in" else {"r0", "r1", "r2"} - expected)
    assert answer.json()["data"]["project"]["runCount"] == len(names)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"$or": [{"name": f"r{n}"} for n in range(10_000)]}, "use $in"),
        ({"$and": [{"config.n": {"$gt": n}} for n in range(10_000)]}, "use $in"),
        ({f"config.k{n}": 1 for n in range(10_000)}, "use $in"),
        ({"config." + "k" * 1_000_000: 1}, "too long"),
        ({"config." + ".".join("a" * 10_000): 1}, "too long"),
    ],
    ids=["or", "and", "keys", "name", "dots"],
)
async def test_a_filter_that_is_too_large_to_compile_is_refused(
    http: httpx.AsyncClient, filters: dict[str, Any], message: str
) -> None:
    answer = await send(http, RUNS, filters=json.dumps(filters))
    assert answer.status_code == 400
    assert message in answer.text
    assert len(answer.text) < 2_000


@pytest.mark.parametrize(
    "filters", [{"display_name": {"$regex": "((a{1,30}){1,30})b"}}, {"config.n": {"$gt": 1}}]
)
async def test_a_query_that_takes_too_long_is_ended(
    http: httpx.AsyncClient, filters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_INSTRUCTIONS", 1)
    monkeypatch.setattr(metering, "QUERY_S", 1000.0)
    assert (await send(http, RUNS, filters=json.dumps(filters))).status_code == 200
    monkeypatch.setattr(metering, "QUERY_S", 0.0)
    answer = await send(http, RUNS, filters=json.dumps(filters))
    assert answer.status_code == 413
    assert "Filter by less" in answer.text
    monkeypatch.setattr(metering, "QUERY_S", 1000.0)
    assert (await send(http, RUNS, filters=json.dumps(filters))).status_code == 200


async def test_the_queries_of_a_request_are_limited_all_together(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr("time.thread_time", lambda: next(clock))
    monkeypatch.setattr(database, "_INSTRUCTIONS", 1)
    monkeypatch.setattr(metering, "QUERY_S", 1e9)

    async def status(times: int) -> int:
        count = 'project(name: "p", entityName: "local") { runCount }'
        query = " ".join(f"p{number}: {count}" for number in range(times))
        return (await send(http, f"{{ {query} }}")).status_code

    before = next(clock)
    assert await status(1) == 200
    monkeypatch.setattr(metering, "QUERY_S", 5 * (next(clock) - before))
    assert [await status(times) for times in (1, 4, 20, 1)] == [200, 200, 413, 200]


def coded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


ODD_CURSORS = (
    ["x", "12", "ü", "="]
    + [coded(odd) for odd in (1, [1], [1, "a"], [[], 1], [1, 1.5], [1, True])]
    + [coded(odd) for odd in ([float("nan"), 1], [2**63, 1], [1, 2**63])]
)


@pytest.mark.parametrize("cursor", ODD_CURSORS)
async def test_an_odd_cursor_of_runs_is_refused(http: httpx.AsyncClient, cursor: str) -> None:
    answer = await send(http, RUNS, after=cursor)
    assert answer.status_code == 400, answer.text
    assert "not a cursor" in answer.text


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "²", "1" * 40, "1e999"])
@pytest.mark.parametrize(
    "query",
    [
        "query($c: String) { models(after: $c) { edges { cursor } } }",
        'query($c: String) { project(name: "p") { sweeps(after: $c) { edges { cursor } } } }',
        'query($c: String) { project(name: "p") {'
        " artifactTypes(after: $c) { edges { cursor } } } }",
        'query($c: String) { project(name: "p") { run(name: "r0") {'
        " outputArtifacts(after: $c) { edges { cursor } } } } }",
        'query($c: String) { project(name: "p") { run(name: "r0") {'
        " logLines(after: $c) { edges { cursor } } } } }",
    ],
)
async def test_an_odd_cursor_of_other_lists_is_refused(
    http: httpx.AsyncClient, query: str, cursor: str
) -> None:
    answer = await send(http, query, c=cursor)
    assert answer.status_code == 400, answer.text
    assert "not a cursor" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        '{"query": "query($n: Int) { models(first: $n) { edges { cursor } } }",'
        ' "variables": {"n": 1e999}}',
        '{"query": "{ models(first: 1e999) { edges { cursor } } }"}',
        '{"query": "query($n: Int64) { project(name: \\"p\\") { run(name: \\"r0\\") {'
        ' history(minStep: $n) } } }", "variables": {"n": 1e999}}',
        '{"query": "mutation($i: RewindRunInput!) { rewindRun(input: $i) { clientMutationId } }",'
        ' "variables": {"i": {"runName": "r0", "projectName": "p", "metricName": "_step",'
        ' "metricValue": 1e999}}}',
    ],
)
async def test_a_number_without_end_is_refused(http: httpx.AsyncClient, body: str) -> None:
    answer = await http.post("/graphql", content=body)
    assert answer.status_code == 400, answer.text


async def test_a_number_without_end_in_a_filter_is_refused(http: httpx.AsyncClient) -> None:
    for text in ('{"config.n": 1e999}', '{"config.n": {"$lt": -1e999}}', '{"created_at": 1e999}'):
        answer = await send(http, RUNS, filters=text)
        assert answer.status_code == 400, (text, answer.text)
