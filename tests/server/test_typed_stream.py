"""The typed form of the file stream stores what the form in JSON stores, and no half requests."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb_server import Store, protobuf
from aiowandb_server.errors import MoreMemoryError, RequestError
from aiowandb_server.protobuf import ProtobufMessage
from aiowandb_server.store.metering import measured
from aiowandb_server.store.records import RunRow
from aiowandb_server.typed_stream import HISTORY, TYPED, parse_upload
from tests.server.conftest import Client

descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
descriptor_pool = pytest.importorskip("google.protobuf.descriptor_pool")
message_factory = pytest.importorskip("google.protobuf.message_factory")

# As in `wandb.filestream.v1`: number, name, type of protobuf, whether it is repeated.
DOUBLE, INT64, INT32, BOOL, STRING, MESSAGE, UINT32, ENUM, SINT64 = 1, 3, 5, 8, 9, 11, 13, 14, 18
SCHEMA: dict[str, list[tuple[int, str, int, bool, str]]] = {
    "FileStreamChunk": [
        (1, "name", STRING, False, ""),
        (2, "offset", INT64, False, ""),
        (3, "content", STRING, True, ""),
    ],
    "MetricsBatch": [
        (1, "keys", STRING, True, ""),
        (2, "row_ends", UINT32, True, ""),
        (3, "cell_keys", UINT32, True, ""),
        (4, "cell_kinds", UINT32, True, ""),
        (5, "floats", DOUBLE, True, ""),
        (6, "ints", SINT64, True, ""),
        (7, "bools", BOOL, True, ""),
        (8, "strings", STRING, True, ""),
        (9, "jsons", STRING, True, ""),
        (10, "seqs", SINT64, True, ""),
        (11, "has_seq", BOOL, True, ""),
        (12, "seq_key", STRING, False, ""),
    ],
    "MetricsBatchChunk": [
        (1, "offset", INT64, False, ""),
        (2, "row_count", INT64, False, ""),
        (3, "batch", MESSAGE, False, "MetricsBatch"),
    ],
    "FileStreamUpload": [
        (1, "files", MESSAGE, True, "FileStreamChunk"),
        (2, "history", MESSAGE, False, "MetricsBatchChunk"),
        (3, "uploaded", STRING, True, ""),
        (4, "preempting", BOOL, False, ""),
        (5, "complete", BOOL, False, ""),
        (6, "exit_code", INT32, False, ""),
    ],
}
NULL, FLOAT, INT, TRUTH, TEXT, NESTED = range(1, 7)


def _messages() -> dict[str, Any]:
    """The classes of the messages, made by Google's package: a second opinion on the format."""
    file = descriptor_pb2.FileDescriptorProto(
        name="stream.proto", package="wandb.filestream.v1", syntax="proto3"
    )
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for number, field, kind, is_repeated, of in fields:
            message.field.add(
                name=field,
                number=number,
                type=kind,
                label=3 if is_repeated else 1,
                type_name=f".wandb.filestream.v1.{of}" if of else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"wandb.filestream.v1.{name}")
        )
        for name in SCHEMA
    }


MESSAGES = _messages()


def batch_of(rows: list[dict[str, Any]], **changes: Any) -> Any:
    """The rows as a `MetricsBatch`; `changes` replace fields with other ones."""
    keys = sorted({key for row in rows for key in row} - {"_step"})
    fields: dict[str, Any] = {name: [] for _, name, _, repeated, _ in SCHEMA["MetricsBatch"]}
    fields |= {"keys": keys, "seq_key": "_step"}
    for row in rows:
        for key, value in row.items():
            if key == "_step":
                continue
            kind, values = _kind(value)
            fields["cell_keys"].append(keys.index(key))
            fields["cell_kinds"].append(kind)
            if values:
                fields[values].append(json.dumps(value) if kind == NESTED else value)
        fields["row_ends"].append(len(fields["cell_keys"]))
        fields["seqs"].append(row.get("_step", 0))
        fields["has_seq"].append("_step" in row)
    return MESSAGES["MetricsBatch"](**fields | changes)


def _kind(value: Any) -> tuple[int, str]:
    match value:
        case None:
            return NULL, ""
        case bool():
            return TRUTH, "bools"
        case int():
            return INT, "ints"
        case float():
            return FLOAT, "floats"
        case str():
            return TEXT, "strings"
    return NESTED, "jsons"


def upload_of(rows: list[dict[str, Any]], offset: int = 0, **fields: Any) -> bytes:
    chunk = {"offset": offset, "row_count": len(rows), "batch": batch_of(rows)}
    upload = MESSAGES["FileStreamUpload"](history=chunk, **fields)
    return bytes(upload.SerializeToString())


def lines_of(body: bytes) -> list[str]:
    return parse_upload(body).files[HISTORY][1]


ROWS: list[dict[str, Any]] = [
    {"loss": 1.0, "count": 1, "big": 2**62 + 1, "_step": 0},
    {"loss": math.inf, "ok": True, "name": 'a "b" \n é', "_step": 7},
    {"nested": {"a": [1, 2.5, None]}, "gone": None, "small": -(2**63), "_step": 8},
]


async def post(client: Client, body: bytes, kind: str = TYPED) -> httpx.Response:
    headers = {"content-type": kind}
    return await client.http.post("/files/local/demo/r1/file_stream", content=body, headers=headers)


@pytest.mark.anyio
async def test_rows_are_stored_with_the_types_that_they_have(
    client: Client, store: Store, run: RunRow
) -> None:
    response = await post(client, upload_of(ROWS, complete=True, exit_code=3))
    assert response.status_code == 200, response.text
    assert response.json()["exitcode"] == 3
    data = await client.ask(
        'query { project(name: "demo") { run(name: "r1") { state history historyLineCount } } }'
    )
    found = data["project"]["run"]
    assert found["state"] == "failed"
    assert found["historyLineCount"] == 3
    rows = [json.loads(line) for line in found["history"]]
    assert rows == ROWS
    assert [type(rows[0][key]) for key in ("loss", "count")] == [float, int]


@pytest.mark.anyio
async def test_files_come_beside_the_history(client: Client, store: Store, run: RunRow) -> None:
    files = [
        {"name": "output.log", "offset": 0, "content": ["hello", "world"]},
        {"name": "wandb-summary.json", "content": ['{"loss": 2.5}']},
        {"name": "wandb-events.jsonl", "content": ['{"_timestamp": 1, "system.cpu": 3}']},
    ]
    body = upload_of([{"loss": 2.5, "_step": 0}], files=files, preempting=True)
    assert (await post(client, body, f"{TYPED}; charset=x")).status_code == 200
    data = await client.ask(
        'query { project(name: "demo") { run(name: "r1") { state summaryMetrics logLineCount'
        " eventsLineCount } } }"
    )
    assert data["project"]["run"] == {
        "state": "preempting",
        "summaryMetrics": '{"loss": 2.5}',
        "logLineCount": 2,
        "eventsLineCount": 1,
    }


@pytest.mark.anyio
async def test_an_unknown_version_of_the_form_is_refused_as_such(
    client: Client, run: RunRow
) -> None:
    response = await post(client, b"", "application/vnd.wandb.filestream.v2+protobuf")
    assert response.status_code == 415
    assert TYPED in response.json()["error"]


@pytest.mark.anyio
async def test_nothing_of_an_invalid_request_is_stored(
    client: Client, store: Store, run: RunRow
) -> None:
    files = [{"name": "output.log", "content": ["hello"]}, {"name": HISTORY, "content": ["{}"]}]
    response = await post(client, upload_of(ROWS, files=files))
    assert response.status_code == 400
    assert "twice" in response.json()["error"]
    data = await client.ask('query { project(name: "demo") { run(name: "r1") { logLineCount } } }')
    assert data["project"]["run"]["logLineCount"] == 0


@pytest.mark.anyio
async def test_the_server_announces_the_form(client: Client) -> None:
    data = await client.ask("query { serverInfo { features { name isEnabled } } }")
    announced = {"name": "AIOWANDB_TYPED_FILE_STREAM", "isEnabled": True}
    assert announced in data["serverInfo"]["features"]


def test_a_row_without_a_step_has_none() -> None:
    rows = [{"a": 1}, {"a": 2, "_step": 5}]
    assert lines_of(upload_of(rows)) == ['{"a":1}', '{"a":2,"_step":5}']
    without = batch_of(rows, seqs=[], has_seq=[])
    chunk = {"row_count": 2, "batch": without}
    body = MESSAGES["FileStreamUpload"](history=chunk).SerializeToString()
    assert lines_of(body) == ['{"a":1}', '{"a":2}']


def test_a_name_that_is_repeated_without_end_takes_too_much_memory() -> None:
    rows = 2_000
    batch = batch_of([{"k": 1}] * rows, keys=["k" * 1_000_000])
    chunk = {"row_count": rows, "batch": batch}
    body = MESSAGES["FileStreamUpload"](history=chunk).SerializeToString()
    assert len(body) < 1_100_000
    with measured(1 << 30), pytest.raises(MoreMemoryError):
        lines_of(body)


ONE = {"a": 1.5, "b": 2, "_step": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row_ends": [1]}, "row_ends ends at cell 1, and there are 2"),
        ({"row_ends": [3]}, "beyond the last cell"),
        ({"row_ends": [2, 1], "seqs": [0, 1], "has_seq": [True, True]}, "row_ends decreases"),
        ({"cell_keys": [0, 2]}, "not among the keys"),
        ({"cell_keys": [0]}, "2 cells have a kind, and 1 have a key"),
        ({"cell_keys": [0, 0]}, "same key twice"),
        ({"cell_kinds": [0, 3]}, "0 is not the kind of a cell"),
        ({"cell_kinds": [2, 7]}, "7 is not the kind of a cell"),
        ({"cell_kinds": [2, 1]}, "ints has 1 values, for 0 cells"),
        ({"floats": []}, "floats has 0 values, for 1 cells"),
        ({"ints": [1, 2]}, "ints has 2 values, for 1 cells"),
        ({"bools": [True]}, "bools has 1 values, for 0 cells"),
        ({"strings": ["x"]}, "strings has 1 values, for 0 cells"),
        ({"jsons": ["{}"]}, "jsons has 1 values, for 0 cells"),
        ({"keys": ["a", ""]}, "a key is empty"),
        ({"keys": ["a", "a"]}, "a key is named twice"),
        ({"keys": ["a", "_step"]}, "is among the keys"),
        ({"seq_key": ""}, "the seq_key of a history is '_step', not ''"),
        ({"seq_key": "_timestamp"}, "the seq_key of a history is '_step'"),
        ({"seqs": [0, 1], "has_seq": [True, True]}, "seqs has 2 values and has_seq 2, for 1 rows"),
        ({"seqs": []}, "seqs has 0 values and has_seq 1"),
        ({"has_seq": []}, "seqs has 1 values and has_seq 0"),
        ({"cell_kinds": [2, 6], "ints": [], "jsons": ["{} {}"]}, "is not JSON"),
        ({"cell_kinds": [2, 6], "ints": [], "jsons": ['1},{"x":1']}, "is not JSON"),
    ],
)
def test_a_batch_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    batch = batch_of([ONE], **changes)
    chunk = {"row_count": len(batch.row_ends), "batch": batch}
    body = MESSAGES["FileStreamUpload"](history=chunk).SerializeToString()
    with pytest.raises(RequestError, match=message):
        parse_upload(body)


def test_a_wrong_number_of_rows_is_refused() -> None:
    chunk = {"row_count": 2, "batch": batch_of([ONE])}
    body = MESSAGES["FileStreamUpload"](history=chunk).SerializeToString()
    with pytest.raises(RequestError, match="the history has 1 rows, and row_count is 2"):
        parse_upload(body)


MANY = 40_000
HUGE_BATCHES: dict[str, dict[str, Any]] = {
    "cells": {"cell_keys": [0] * 4 * MANY, "cell_kinds": [NULL] * 4 * MANY},
    "floats": {"floats": [1.25e-300] * MANY},
    "ints": {"ints": [2**62 + 1] * MANY},
    "bools": {"bools": [True] * MANY},
    "strings": {"strings": ["\x01" * 400] * (MANY // 80)},
    "wide strings": {"strings": ["x" * 500_000 + "\U0001f600"]},
    "JSON": {"jsons": ["[" + "[]," * MANY + "1]"]},
    "keys": {"keys": [str(number) for number in range(MANY)]},
    "row ends": {"row_ends": list(range(MANY))},
    "steps": {"seqs": [2**62] * MANY, "has_seq": [True] * MANY},
}


@pytest.mark.parametrize("what", HUGE_BATCHES)
def test_no_field_takes_more_memory_than_is_counted(what: str) -> None:
    batch = batch_of([], **HUGE_BATCHES[what])
    chunk = {"row_count": 1, "batch": batch}
    body: bytes = MESSAGES["FileStreamUpload"](history=chunk).SerializeToString()
    limit = 1 << 20
    tracemalloc.start()
    try:
        with measured(limit), pytest.raises((MoreMemoryError, RequestError)):
            parse_upload(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit + len(body)


def test_a_file_that_comes_twice_is_refused() -> None:
    files = [{"name": "output.log", "content": ["a"]}, {"name": "output.log", "content": ["b"]}]
    body = MESSAGES["FileStreamUpload"](files=files).SerializeToString()
    with pytest.raises(RequestError, match=r"output\.log occurs twice"):
        parse_upload(body)


def test_a_message_of_endless_fields_is_refused_before_it_takes_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protobuf, "MAX_FIELDS", 100)
    assert parse_upload(b"\x20\x01" * 100).preempting
    with pytest.raises(RequestError, match="more than 100 fields") as caught:
        parse_upload(b"\x20\x01" * 101)
    assert caught.value.status == 413


def test_lists_that_are_not_packed_and_unknown_fields_are_read() -> None:
    unpacked = b"\x10\x01\x10\x80\x01" + b"\xfa\x07\x03new"  # field 2 twice, field 127
    packed = b"\x12\x03\x01\x80\x01"
    assert (
        list(ProtobufMessage(unpacked).unsigned(2))
        == list(ProtobufMessage(packed).unsigned(2))
        == [1, 128]
    )
    single = b"\x29" + b"\x00" * 6 + b"\xf0\x3f"
    assert list(ProtobufMessage(single + single).doubles(5)) == [1.0, 1.0]


keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.lists(st.integers(), max_size=3)
)
rows = st.lists(
    st.dictionaries(keys.filter(lambda key: key != "_step"), values, max_size=5), max_size=5
)


@pytest.mark.examples
@given(rows=rows, steps=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=5, max_size=5))
def test_any_rows_arrive_as_they_were_sent(rows: list[dict[str, Any]], steps: list[int]) -> None:
    sent = [row | {"_step": step} for row, step in zip(rows, steps, strict=False)]
    found = [json.loads(line) for line in lines_of(upload_of(sent))]
    assert found == sent
    assert [list(map(type, row.values())) for row in found] == [
        list(map(type, row.values())) for row in sent
    ]


@pytest.mark.examples
@given(body=st.binary(max_size=60), at=st.integers(0, 200))
def test_any_bytes_are_parsed_or_refused(body: bytes, at: int) -> None:
    valid = upload_of(ROWS, files=[{"name": "output.log", "content": ["x"]}])
    for damaged in (body, valid[:at] + body + valid[at:], valid[:at]):
        try:
            parse_upload(damaged)
        except RequestError as refusal:
            assert str(refusal)  # noqa: PT017 - either is right
