"""JSON as W&B stores it: what strict readers refuse is read, what is none is an error."""

from __future__ import annotations

import math

import pytest

from aiowandb.errors import ServerError
from aiowandb.wire import lenient


def test_bare_words_and_control_characters_are_read() -> None:
    found = lenient.loads('{"a": NaN, "b": -Infinity, "c": "x\ny"}')
    assert math.isnan(found.pop("a"))
    assert found == {"b": -math.inf, "c": "x\ny"}


@pytest.mark.parametrize("beside", ["0", "NaN"])
def test_integers_beyond_64_bits_are_floats_whoever_reads_them(beside: str) -> None:
    large = 10**21
    assert lenient.loads(f"[{beside}, {large}, {-large}, 1]")[1:] == [1e21, -1e21, 1]
    assert lenient.loads(f"[NaN, 1{'0' * 5000}]")[1] == math.inf


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "nan", ""])
def test_what_is_no_json_is_the_servers_mistake(text: str) -> None:
    with pytest.raises(ServerError, match="JSON that cannot be read"):
        lenient.loads(text)


@pytest.mark.parametrize("text", ["1", "[]", "null", '"a"'])
def test_what_has_to_be_an_object_is_one(text: str) -> None:
    assert lenient.loads_object('{"a": 1}') == {"a": 1}
    with pytest.raises(ServerError, match="no object"):
        lenient.loads_object(text)
