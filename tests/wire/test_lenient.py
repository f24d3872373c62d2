"""JSON as W&B stores it: values that strict parsers refuse are read, invalid JSON is an error."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.errors import ServerError
from aiowandb.wire import lenient
from aiowandb.wire.history import HistorySource


def test_bare_nan_and_control_characters_are_read() -> None:
    found = lenient.loads('{"a": NaN, "b": -Infinity, "c": "x\ny"}')
    assert math.isnan(found.pop("a"))
    assert found == {"b": -math.inf, "c": "x\ny"}


@pytest.mark.parametrize("beside", ["0", "NaN", '"x\ny"'])
@given(st.integers(-(2**70), 2**70) | st.integers())
def test_integers_are_exact_whatever_other_values_there_are(beside: str, number: int) -> None:
    (_, found) = lenient.loads(f"[{beside}, {number}]")
    assert (found, type(found)) == (number, int)


def test_an_integer_of_more_digits_than_python_takes_is_kept_as_text() -> None:
    assert lenient.loads(f"[{'9' * 5000}, 1]") == ["9" * 5000, 1]


def test_half_a_surrogate_is_written_as_an_escape() -> None:
    assert lenient.dumps({"\ud800": "\udc00 ☃"}) == '{"\\ud800":"\\udc00 ☃"}'


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "nan", ""])
def test_invalid_json_is_a_server_error(text: str) -> None:
    with pytest.raises(ServerError, match="JSON that cannot be decoded"):
        lenient.loads(text)


@pytest.mark.parametrize("text", ["1", "[]", "null", '"a"'])
def test_text_that_is_not_an_object_is_refused(text: str) -> None:
    assert lenient.loads_object('{"a": 1}') == {"a": 1}
    with pytest.raises(ServerError, match="not an object"):
        lenient.loads_object(text)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, "9" * 30, "9" * 9000])
def test_a_count_that_no_table_can_have_is_a_server_error(number: int | str) -> None:
    with pytest.raises(ServerError, match="a number that is none: '-?9"):
        lenient.as_integer(number)


@given(st.integers(2**63) | st.integers(max_value=-(2**63) - 1))
def test_a_response_with_such_a_count_has_the_wrong_form(number: int) -> None:
    with pytest.raises(msgspec.ValidationError, match="historyLineCount"):
        msgspec.json.decode(f'{{"historyLineCount": {number}}}', type=HistorySource)
