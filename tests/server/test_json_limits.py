"""JSON that is parsed at once is bounded: all other threads wait while it is."""

from __future__ import annotations

import gc
import json
import re
import weakref
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb_server import RunChanges, Store, text_limits
from aiowandb_server.errors import MoreMemoryError, RequestError
from aiowandb_server.graphql import context
from aiowandb_server.graphql.documents import Documents, InvalidDocumentError
from aiowandb_server.graphql.execution import load_schema
from aiowandb_server.store import decoding, filters, json_text
from aiowandb_server.store.metering import measured
from aiowandb_server.store.stream import Chunk, StreamUpdate
from tests.server.conftest import Client

pytestmark = pytest.mark.anyio

UPSERT = """mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }"""
RUN = {"name": "r", "modelName": "p", "entityName": "local"}
STREAM = "/files/local/p/r/file_stream"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_limits, "MAX_DOCUMENT", 1_000)
    monkeypatch.setattr(text_limits, "MAX_VALUES", 100)


@pytest.fixture
def run(store: Store) -> None:
    project, _ = store.projects.ensure("local", "p")
    store.runs.upsert(project, "r", RunChanges())


@pytest.mark.usefixtures("small", "run")
@pytest.mark.parametrize("field", ["config", "summaryMetrics"])
async def test_a_document_that_is_too_large_is_refused(client: Client, field: str) -> None:
    async def change(text: str) -> httpx.Response:
        body = {"query": UPSERT, "variables": {"i": {**RUN, field: text}}}
        return await client.http.post("/graphql", json=body)

    assert (await change(json.dumps({"a": "x" * 900}))).status_code == 200
    refused = await change(json.dumps({"a": "x" * 1_000}))
    assert refused.status_code == 413
    assert "1000 are allowed. Store what is large as a file" in refused.text
    refused = await change(json.dumps({"a": [1] * 150}))
    assert refused.status_code == 413
    assert "100 are allowed at once" in refused.text


@pytest.mark.usefixtures("small", "run")
async def test_a_line_that_is_too_large_is_refused(client: Client) -> None:
    async def send(name: str, *lines: Any) -> httpx.Response:
        body = {"files": {name: {"offset": 0, "content": lines}}}
        return await client.http.post(STREAM, json=body)

    for name in ("wandb-history.jsonl", "wandb-summary.json", "wandb-events.jsonl"):
        assert (await send(name, '{"a": 1}', json.dumps({"a": "x" * 900}))).status_code == 200
        assert (await send(name, '{"a": 1}', json.dumps({"a": "x" * 1_000}))).status_code == 413
        refused = await send(name, json.dumps([1] * 150), json.dumps({"a": "x" * 900}))
        assert refused.status_code == 413
        assert f"a line of {name} has about" in refused.text
    assert (await send("output.log", "," * 900)).status_code == 200
    assert (await send("output.log", "," * 1_001)).status_code == 413


@pytest.mark.usefixtures("run")
async def test_rows_of_old_clients_are_stored_as_they_were_sent(
    client: Client, store: Store
) -> None:
    rows = ['{"a":[1,{"b":1e3}],"t":"\\u00e9"}', json.dumps('{"a": "\\ud83d"}')]
    content = ",".join(rows)
    body = f'{{"files":{{"wandb-history.jsonl":{{"content":[{content}]}}}},"complete":true}}'
    assert (await client.http.post(STREAM, content=body)).status_code == 200
    project = store.projects.get("local", "p")
    assert project
    found = store.runs.get(project, "r")
    assert found
    assert found.state == "finished"
    texts = store.history.window(found, 0, 10, 10, lambda _: None)
    assert [json.loads(text) for text in texts] == [
        {"a": [1, {"b": 1000.0}], "t": "é", "_step": 0},
        {"a": "\ufffd", "_step": 1},
    ]


@pytest.mark.usefixtures("small")
def test_a_summary_does_not_grow_beyond_what_can_be_parsed(store: Store) -> None:
    project, _ = store.projects.ensure("local", "p")
    run, _ = store.runs.upsert(project, "r", RunChanges())

    def update(number: int) -> StreamUpdate:
        row = json.dumps({f"k{number}": "x" * 400})
        return StreamUpdate({"history": Chunk(number, [row])}, "{}", derive_summary=True)

    store.stream.apply(run, update(0))
    store.stream.apply(run, update(1))
    with pytest.raises(RequestError, match="the summary has"):
        store.stream.apply(run, update(2))
    after = store.runs.by_id(run.id)
    assert after
    assert after.history_lines == 2
    assert set(json.loads(after.summary)) == {"k0", "k1"}


@pytest.mark.parametrize("field", ["wandbConfig", "configPreview", 'cells(columns: ["config.a"])'])
async def test_parsing_a_document_again_and_again_costs_more(
    client: Client, store: Store, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _ = store.projects.ensure("local", "p")
    store.runs.upsert(project, "r", RunChanges(config=json.dumps({"a": {"value": "x" * 50_000}})))
    monkeypatch.setattr(context, "_MAX_FIELDS", 2_000)

    async def status(times: int) -> int:
        fields = " ".join(f"a{number}: {field}" for number in range(times))
        query = f'{{project(name: "p", entityName: "local") {{ run(name: "r") {{ {fields} }} }} }}'
        return (await client.http.post("/graphql", json={"query": query})).status_code

    assert await status(20) == 200
    assert await status(60) == 413


async def test_a_graphql_error_keeps_nothing_of_what_was_read(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Large:
        pass

    known: list[weakref.ref[Large]] = []

    def failing(*_: object) -> None:
        large = Large()
        known.append(weakref.ref(large))
        try:
            raise ValueError("not valid")
        except ValueError as error:
            raise RequestError("refused") from error

    monkeypatch.setattr(store.projects, "get", failing)
    gc.disable()
    try:
        body = {"query": '{project(name: "p", entityName: "local") {id}}'}
        assert (await client.http.post("/graphql", json=body)).status_code == 400
        assert known
        assert [one() for one in known] == [None] * len(known)
    finally:
        gc.enable()


def test_documents_are_kept_as_far_as_there_is_room() -> None:
    documents = Documents(load_schema(), max_kept=1_000)
    texts = [f"{{viewer{{a{number}: id {'id ' * 60}}}}}" for number in range(20)]
    first = [documents.find(text, None) for text in texts]
    again = [documents.find(text, None) for text in reversed(texts)]
    known = [one is other for one, other in zip(first, reversed(again), strict=True)]
    assert known == [False] * 15 + [True] * 5
    for _ in range(2):
        with pytest.raises(InvalidDocumentError):
            documents.find("{viewer{nothing}}", None)
    assert "{viewer{nothing}}" not in documents._known


def test_decoders_and_patterns_with_long_names_are_not_kept() -> None:
    before = decoding._decoder.cache_info()
    row = json.dumps({"k" * 30_000: 1})
    (found,) = decoding.decoded([row])
    assert list(found.columns.values()) == [[1]]
    assert decoding._decoder.cache_info() == before
    cached = filters._search_cached.cache_info()
    assert not filters.matches_pattern("x" * 600, "ab")
    assert filters._search_cached.cache_info() == cached


# How it was found before, by looking at every escape.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_PIECES = ["\\", "\\\\", "\\u", "\\ud83d", "\\ude00", "\\uD8", "u", "d83d", "a", "é", "\\n", '"']


@given(st.lists(st.sampled_from(_PIECES), max_size=20).map("".join))
def test_halves_of_pairs_are_found_among_all_escapes(text: str) -> None:
    expected = _ESCAPE.sub(lambda one: r"\ufffd" if one["half"] else one[0], text)
    assert json_text.without_halves(text) == expected


def test_many_halves_are_replaced_in_all_places() -> None:
    text = r"a\ud83d" * 5_000
    assert json_text.without_halves(text) == r"a\ufffd" * 5_000


def test_the_names_of_columns_count_as_memory_before_they_are_written(store: Store) -> None:
    project, _ = store.projects.ensure("local", "p")
    run, _ = store.runs.upsert(project, "r", RunChanges())
    store.history.append(run, [json.dumps({"k" * 40_000: 1, "a": 2})])
    store.stream.finish(run)
    with measured(500_000), pytest.raises(MoreMemoryError):
        store.compaction.compact(run.id)
    with measured(5_000_000):
        store.compaction.compact(run.id)
    assert len(store.history.window(run, 0, 10, 10, lambda _: None)) == 1


def test_long_statements_count_as_memory_and_are_not_kept(store: Store) -> None:
    project, _ = store.projects.ensure("local", "p")
    store.runs.upsert(project, "r", RunChanges(config='{"lr": {"value": 7}}'))
    database = store.projects._database
    database.close()
    for count, kept in ((10, 1), (20_000, 0)):
        numbers = {"config.lr": {"$in": [*range(count)]}}
        with measured(100 << 20) as meter:
            assert store.runs.count(project, numbers) == 1
        assert (meter.used > 5 << 20) != bool(kept)
        assert database._idle.qsize() == kept
    with measured(1 << 20), pytest.raises(MoreMemoryError):
        store.runs.count(project, numbers)


def test_connections_of_a_crowd_are_closed_after_it(store: Store) -> None:
    database = store.projects._database
    with ExitStack() as crowd:
        for _ in range(30):
            crowd.enter_context(database.read())
    assert 0 < database._idle.qsize() <= 10
