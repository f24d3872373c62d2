"""Any data over the wire becomes a value or one of our errors, on both sides."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, get_origin

import anyio
import httpx
import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb import AiowandbError
from aiowandb.config.settings import Settings
from aiowandb.history.decode import RowDecoder, decode_rows
from aiowandb.history.segments import read_segment
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.redaction import Link
from aiowandb.wire import lenient
from aiowandb.wire.graphql import Operation, refusal
from aiowandb.wire.history import history_plans
from aiowandb.wire.manifest import Manifest
from aiowandb.wire.runs import RunQuery, get_run, list_runs
from aiowandb_server import Store, build_sample, create_app
from tests.conftest import KEY, examples
from tests.support.wire_types import JSON, TEXT, data_values, operations, values

REF = RunRef("e", "p", "r")
QUERIES = [
    operation.document
    for operation in (list_runs("e", "p", RunQuery(), None), get_run(REF), history_plans([REF]))
]


@st.composite
def spoilt(draw: st.DrawFn, good: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that were right before some of them were changed, lost or doubled."""
    content = bytearray(draw(good))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        kept = draw(st.integers(place, min(len(content), place + 40)))
        content[place:kept] = draw(st.binary(max_size=6))
    return bytes(content)


@st.composite
def answers(draw: st.DrawFn, operation: Operation[Any]) -> bytes:
    data = draw(data_values(operation) | JSON)
    return msgspec.json.encode({"data": data, "errors": draw(st.none() | JSON)})


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.name)
@examples(5)
@given(data=st.data(), status=st.sampled_from([200, 200, 200, 400, 404, 429, 500]))
def test_any_answer_is_data_or_an_error(
    operation: Operation[Any], data: st.DataObject, status: int
) -> None:
    body = data.draw(st.binary() | answers(operation) | spoilt(answers(operation)))
    with suppress(AiowandbError):
        found = operation.read(status, body)
        assert found is None or isinstance(found, get_origin(operation.answer) or operation.answer)


@given(st.integers(300, 599), st.binary() | JSON.map(orjson.dumps))
def test_any_refusal_is_reported(status: int, body: bytes) -> None:
    assert str(status) in str(refusal(status, body))


@given(st.text() | JSON.map(lambda value: orjson.dumps(value).decode()))
def test_any_text_is_json_or_an_error(text: str) -> None:
    with suppress(AiowandbError):
        lenient.loads(text)


@given(st.binary() | spoilt(values(Manifest).map(msgspec.json.encode)))
def test_any_manifest_is_one_or_an_error(content: bytes) -> None:
    with suppress(AiowandbError):
        Manifest.of(content, "a")


ROWS = st.fixed_dictionaries(
    {"_step": st.integers(0, 100) | JSON},
    optional={name: JSON | st.floats() for name in ("loss", "val", "a", "a.b")},
).map(lenient.dumps)


@examples(40)
@given(st.lists(st.lists(ROWS | st.text(), max_size=4), min_size=1, max_size=3))
def test_any_rows_are_columns_or_an_error(pages: list[list[str]]) -> None:
    decoder = RowDecoder()
    for texts in pages:
        with suppress(AiowandbError):
            rows = decode_rows(texts)
            assert decoder.batch(texts).num_rows == len(rows)


def _parquet() -> bytes:
    rows = [{"_step": i, "loss": 1 / (i + 1), "note": "x" * i, "w": [i]} for i in range(50)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=20)
    return file.getvalue()


@examples(40)
@given(st.binary() | spoilt(st.just(_parquet())))
def test_any_parquet_file_is_rows_or_an_error(content: bytes) -> None:
    async def read() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=content))
        async with Session(Settings.load(api_key=KEY, environ={}), transport=transport) as session:
            async for rows in read_segment(session, Link("http://files.test/x"), Selection()):
                assert rows.page.count >= 0

    with suppress(AiowandbError):
        anyio.run(read)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    with Store.open(tmp_path_factory.mktemp("wandb")) as store:
        build_sample(store, runs=2, rows=5)
        yield create_app(store), store.local_key


def ask(app: tuple[Any, str], method: str, path: str, body: bytes, **headers: str) -> int:
    async def send() -> int:
        transport = httpx.ASGITransport(app[0])
        async with httpx.AsyncClient(
            transport=transport, base_url="http://wandb.test", auth=("api", app[1])
        ) as http:
            response = await http.request(method, path, content=body, headers=headers)
            return response.status_code

    return anyio.run(send)


PLAIN = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)


@examples(25)
@given(
    st.binary()
    | st.fixed_dictionaries(
        {"query": st.sampled_from(QUERIES) | st.text()},
        optional={
            "variables": st.dictionaries(
                st.sampled_from(["entity", "project", "name", "filters", "order", "perPage"]),
                st.sampled_from(["local", "sample"]) | TEXT | JSON | JSON.map(lenient.dumps),
            )
            | JSON,
            "operationName": TEXT,
        },
    ).map(orjson.dumps)
)
def test_the_server_answers_any_question(app: tuple[Any, str], body: bytes) -> None:
    assert ask(app, "POST", "/graphql", body) < 500


CHUNK = st.fixed_dictionaries({}, optional={"offset": JSON, "content": st.lists(JSON) | JSON})
STREAMS = ["wandb-history.jsonl", "wandb-events.jsonl", "output.log", "wandb-summary.json"]


@examples(25)
@given(
    st.binary()
    | st.fixed_dictionaries(
        {},
        optional={
            "files": st.dictionaries(st.sampled_from(STREAMS), CHUNK),
            "exitcode": JSON,
            "complete": JSON,
        },
    ).map(orjson.dumps)
)
def test_the_server_answers_any_stream(app: tuple[Any, str], body: bytes) -> None:
    assert ask(app, "POST", "/files/local/sample/r/file_stream", body) < 500


@examples(25)
@given(
    st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
    st.sampled_from(["files", "artifacts", "exports", "manifests", "x"]),
    st.lists(PLAIN | st.sampled_from(["..", "local", "sample", "%00", "%2e%2e"]), max_size=5),
    st.dictionaries(st.sampled_from(["expires", "signature"]), PLAIN | st.just(str(math.inf))),
    st.dictionaries(
        st.sampled_from(["Range", "Authorization", "Content-Encoding", "If-Range"]), PLAIN
    ),
)
def test_the_server_answers_at_any_address(
    app: tuple[Any, str],
    method: str,
    first: str,
    rest: list[str],
    query: dict[str, str],
    headers: dict[str, str],
) -> None:
    path = httpx.URL("/".join(["", first, *rest]), params=query)
    assert ask(app, method, str(path), b"x", **headers) < 500
