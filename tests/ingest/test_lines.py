"""Columns are converted back to the JSON lines that their rows were."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.history.columns import rows_to_batch
from aiowandb.history.pages import ParquetPage
from aiowandb.ingest.lines import json_lines, with_steps
from aiowandb.ingest.local_files import lines_of
from aiowandb.wire import lenient
from aiowandb.wire.rows import flat_row
from tests.conftest import examples

_KEYS = st.sampled_from(["loss", "val", "val.acc", "a b", 'quo"te', "é", "deep"])
_NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats()
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_LEAVES = _NUMBERS | st.booleans() | _TEXTS | st.lists(st.integers(0, 9)) | st.lists(st.floats())
_VALUES = st.recursive(_LEAVES, lambda inner: st.dictionaries(_KEYS, inner, max_size=3))
_ROWS = st.lists(st.dictionaries(_KEYS, _VALUES, max_size=5), min_size=1, max_size=8)


def shown(rows: list[Any]) -> str:
    """Rows by what is said of them: NaN is like NaN, and 1.0 like 1."""
    flat = [flat_row(row) for row in rows]
    return repr([sorted(row.items()) for row in flat])


@given(_ROWS)
@examples(25)
def test_rows_come_out_as_python_reads_them_from_the_columns(rows: list[dict[str, Any]]) -> None:
    batch = rows_to_batch([{"_step": n, **row} for n, row in enumerate(rows)])
    read = [row for some in ParquetPage(batch).rows() for row in some]
    assert shown([lenient.loads(line) for line in json_lines(batch)]) == shown(read)


@pytest.mark.parametrize(
    "line",
    [
        '{"_step":0,"x":NaN}',
        '{"_step":0,"x":Infinity,"y":-Infinity}',
        '{"_step":0,"x":-0.0}',
        '{"_step":0,"x":1.0,"y":1,"large":1e+16,"list":[1.0,2.0]}',
        '{"_step":0,"nest":{"x":1,"y":{"z":0.5}}}',
        '{"_step":0,"list":[1,2],"floats":[0.5,NaN],"none":[]}',
        '{"_step":0,"text":"a\\"b\\\\\\n","flag":true}',
        '{"_step":0,"image":{"_type":"image-file","path":"a.png"}}',
        '{"_step":0,"empty":{}}',
        '{"_step":0,"val.acc":1,"val":{"acc":2}}',
        '{"_step":0,"large":9223372036854775807,"tiny":5e-324}',
    ],
)
def test_a_line_comes_out_to_the_letter(line: str) -> None:
    assert json_lines(rows_to_batch([lenient.loads(line)])) == [line]


def test_keys_that_a_row_does_not_have_are_not_in_its_line() -> None:
    rows: list[dict[str, Any]] = [
        {"_step": 0, "nest": {"x": 1}},
        {"_step": 1},
        {"_step": 2, "y": 1},
    ]
    lines = json_lines(rows_to_batch(rows))
    assert lines == ['{"_step":0,"nest":{"x":1}}', '{"_step":1}', '{"_step":2,"y":1}']


def test_a_key_with_a_dot_is_distinguished_from_a_nested_key() -> None:
    batch = pa.record_batch({"_step": [0], "a.b": [1], "c.d": [2]})
    assert json_lines(batch, {"a.b"}) == ['{"_step":0,"a.b":1,"c":{"d":2}}']


def test_arrow_types_of_other_programs_become_json() -> None:
    batch = pa.record_batch(
        {
            "word": pa.array(["x", "y"]).dictionary_encode(),
            "half": pa.array([0.5, None], pa.float32()),
            "when": pa.array([datetime(2026, 1, 2), None]),
            "price": pa.array([Decimal("1.5"), None]),
            "both": pa.array([{"a": 1, "b": None}, None]),
            "large": pa.array(["t", None], pa.large_string()),
            "nothing": pa.nulls(2),
        }
    )
    first, second = map(json.loads, json_lines(with_steps(batch, 5)))
    assert first == {
        "_step": 5,
        "word": "x",
        "half": 0.5,
        "when": "2026-01-02 00:00:00",
        "price": "1.5",
        "both": {"a": 1, "b": None},
        "large": "t",
    }
    assert second == {"_step": 6, "word": "y"}


def test_a_slice_has_the_lines_of_its_rows() -> None:
    rows = [{"_step": n, "l": [n], "f": [n / 3], "t": f'"{n}"'} for n in range(9)]
    batch = rows_to_batch(rows)
    assert json_lines(batch.slice(4, 3)) == json_lines(batch)[4:7]
    assert math.isclose(json.loads(json_lines(batch.slice(8))[0])["f"][0], 8 / 3)


def test_converting_rows_does_not_import_pandas() -> None:
    program = """
import io, sys
import pyarrow.csv
from aiowandb.ingest.lines import json_lines, with_steps
rows = pyarrow.csv.read_csv(io.BytesIO(b"loss,text,nest.x\\n0.5,a,1\\n,b,\\n"))
print(json_lines(with_steps(rows.to_batches()[0], 7)), "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    lines = ['{"_step":7,"loss":0.5,"text":"a","nest":{"x":1}}']
    lines += ['{"_step":8,"text":"b"}']
    assert done.stdout.strip() == f"{lines} False", done.stderr


@pytest.mark.anyio
async def test_a_line_of_a_log_that_has_no_end_comes_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "output.log").write_text("first\n" + "x" * (9 << 20) + "\nlast")
    pages = [lines async for lines in lines_of(tmp_path / "output.log")]
    texts = [line.content for lines in pages for line in lines]
    assert (texts[0], "".join(texts[1:-1]), texts[-1]) == ("first", "x" * (9 << 20), "last")
    assert all(sum(len(line.content) for line in lines) <= 8 << 20 for lines in pages)
