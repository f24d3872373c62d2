"""Parquet files of finished rows, as W&B may write them."""

from __future__ import annotations

import json

import pyarrow as pa

from aiowandb.history.segments import _flat


def flat(**columns: list[object]) -> dict[str, list[object]]:
    (batch,) = pa.table({name: pa.array(values) for name, values in columns.items()}).to_batches()
    found: dict[str, list[object]] = _flat(batch).to_pydict()
    return found


def test_nested_objects_become_dotted_columns() -> None:
    assert flat(val=[{"loss": 1, "deep": {"er": 2}}]) == {"val.loss": [1], "val.deep.er": [2]}


def test_media_stay_whole_wherever_they_are() -> None:
    image = {"_type": "image-file", "path": "p", "size": 3}
    found = flat(img=[image, None], val=[{"img": image, "x": 1}, None])
    assert list(found) == ["img", "val.img", "val.x"]
    for name in ("img", "val.img"):
        text, missing = found[name]
        assert json.loads(str(text)) == image
        assert missing is None


def test_lists_of_anything_but_numbers_are_json() -> None:
    assert flat(words=[["a", "b"]], numbers=[[1, 2]]) == {
        "words": ['["a","b"]'],
        "numbers": [[1, 2]],
    }
