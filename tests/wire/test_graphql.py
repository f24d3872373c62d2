"""Responses of W&B, parsed without a network."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from aiowandb import (
    AuthenticationError,
    CommError,
    GraphQLError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from aiowandb.paths import RunRef
from aiowandb.wire.graphql import Operation, data_type
from aiowandb.wire.history import RowTexts, Window, history_pages
from aiowandb.wire.runs import run_state
from tests.support.wire_types import operations


class Thing(msgspec.Struct):
    thing: int


ASK = Operation("Ask", "query Ask { thing }", {"x": None}, Thing)


def test_a_request_names_its_operation() -> None:
    assert msgspec.json.decode(ASK.body()) == {
        "query": "query Ask { thing }",
        "variables": {"x": None},
        "operationName": "Ask",
    }


def test_data_comes_out_typed() -> None:
    assert ASK.read(200, b'{"data": {"thing": 3, "more": []}}') == Thing(3)


AT = Operation("Ask", "query Ask { a { b { thing } } }", {}, Thing, at=("a?", "b"))


def test_a_value_is_taken_from_its_place() -> None:
    assert AT.read(200, b'{"data": {"a": {"b": {"thing": 3}}, "c": 1}}') == Thing(3)
    thing = Operation("Ask", "", {}, int, at=("a?", "b", "thing"))
    assert thing.read(200, b'{"data": {"a": {"b": {"thing": 3}}}}') == 3


def test_a_path_through_null_gives_none() -> None:
    assert AT.read(200, b'{"data": {"a": null}}') is None


@pytest.mark.parametrize("data", ["null", "{}", '{"a": {}}', '{"a": {"b": null}}', '{"a": []}'])
def test_a_step_that_must_be_there_is_an_error_without_it(data: str) -> None:
    with pytest.raises(ServerError, match="Ask: "):
        AT.read(200, b'{"data": %s}' % data.encode())


def test_a_link_in_a_response_is_not_shown_in_reprs() -> None:
    kind = data_type(str, ("artifact?", "directUrl"))
    assert "secret" not in repr(msgspec.convert({"artifact": {"directUrl": "secret"}}, kind))


def test_errors_in_a_200_are_a_failure_with_the_partial_data_attached() -> None:
    body = b'{"data": {"thing": null}, "errors": [{"message": "no"}, {"message": "never"}]}'
    with pytest.raises(GraphQLError, match="Ask: no; never") as caught:
        ASK.read(200, body)
    assert caught.value.data == {"thing": None}
    assert caught.value.operation == "Ask"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, CommError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
    ],
)
def test_a_status_becomes_an_exception(status: int, kind: type[CommError]) -> None:
    with pytest.raises(kind) as caught:
        ASK.read(status, b"")
    assert type(caught.value) is kind
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"errors": [{"message": "a"}, {"message": "b"}]}', "a; b"),
        (b'{"error": "plain"}', "plain"),
        (b'{"error": {"message": "wrapped"}}', "wrapped"),
        (b"just text\nin lines", "just text in lines"),
        (b"", "no message"),
    ],
)
def test_the_message_of_the_server_is_kept_in_every_format(body: bytes, words: str) -> None:
    with pytest.raises(CommError, match=f"W&B answered 400: {words}$"):
        ASK.read(400, body)


@pytest.mark.parametrize(
    "body", [b"<html>Sign in</html>", b'{"data": null}', b'{"data": {"thing": "x"}}', b"[]", b""]
)
def test_invalid_responses_are_a_server_error(body: bytes) -> None:
    with pytest.raises(ServerError):
        ASK.read(200, body)


def test_a_long_answer_is_quoted_in_part() -> None:
    with pytest.raises(ServerError) as caught:
        ASK.read(200, b"x" * 100_000)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("spoilt", [b"\xff", b"\0"])
def test_a_corrupt_byte_is_noticed_even_in_a_key_that_is_skipped(spoilt: bytes) -> None:
    with pytest.raises(ServerError, match="of the wrong form"):
        ASK.read(200, b'{"data": {"thing": 3, "op' + spoilt + b'ional": 4}}')


OTHERS = [
    '{"r0": {"name": "b"}, "r1": {"name": "a"}}',
    '{"r0": {"name": "a"}}',
    '{"r0": {"name": "a"}, "r2": null}',
    "{}",
]


@pytest.mark.parametrize("data", OTHERS)
def test_a_response_about_other_runs_is_an_error(data: str) -> None:
    asked = history_pages([Window(RunRef("e", "p", run), 0, 9, 9) for run in "ab"])
    with pytest.raises(ServerError, match="HistoryPages: W&B sent the response to another request"):
        asked.read(200, b'{"data": {"project": %s}}' % data.encode())
    right = asked.read(200, b'{"data": {"project": {"r0": null, "r1": {"name": "b"}}}}')
    assert right == {"r0": None, "r1": RowTexts(name="b")}


ABOUT_ONE = re.compile(r"\b(run|bucket|sweep|artifact)\((?:name|sweepName|id): \$(?:run|name|id)\b")


def test_every_query_about_one_thing_compares_what_the_response_is_about() -> None:
    compared = {}
    for operation in operations():
        if ABOUT_ONE.search(operation.document):
            assert operation.about, operation.name
        if operation.about:
            document = re.sub(r"\s+", " ", operation.document)
            step, field, expected = operation.about
            variables = operation.variables.get("input", operation.variables)
            assert expected in variables.values()
            asked = rf"\b{step}(\([^)]*\))? {{ (\.\.\.\w+|{field}\b)"
            assert re.search(asked, document), f"{operation.name} does not request {field}"
            compared[operation.name] = step
    assert len(compared) >= 15


def test_responses_about_many_runs_have_their_names() -> None:
    many = [operation for operation in operations() if "r0: run(" in operation.document]
    assert len(many) >= 7
    for operation in many:
        answer = operation.answer.__args__[1].__args__[0]
        assert "name" in answer.__struct_fields__, operation.name


@pytest.mark.parametrize("status", [200, 400])
def test_errors_without_end_are_cut(status: int) -> None:
    problems = [{"message": f"{number} " + "x" * 1_000_000} for number in range(3)]
    problems += [{"message": "more"}] * 10_000
    with pytest.raises(CommError, match="0 xxx.*…; 1 xxx.*; more; and 9,983 errors more") as caught:
        ASK.read(status, json.dumps({"errors": problems}).encode())
    assert len(str(caught.value)) < 10_000


def test_names_that_differ_in_case_are_of_the_same_run() -> None:
    """Databases often ignore case, and return the name as it was made."""
    body = b'{"data": {"project": {"run": {"name": "abc", "state": "failed"}}}}'
    assert run_state(RunRef("e", "p", "ABC")).read(200, body) == "failed"


def test_what_a_response_is_about_may_be_null_or_left_out() -> None:
    asked = run_state(RunRef("e", "p", "r"))
    for data, state in {
        '{"project": null}': None,
        '{"project": {"run": null}}': None,
        '{"project": {"run": {"state": "failed"}}}': "failed",
        '{"project": {"run": {"name": "r", "state": "failed"}}}': "failed",
    }.items():
        assert asked.read(200, b'{"data": %s}' % data.encode()) == state
    with pytest.raises(ServerError, match="another request: it is about run s, not r"):
        asked.read(200, b'{"data": {"project": {"run": {"name": "s", "state": "failed"}}}}')
