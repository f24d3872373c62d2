"""Footers of Parquet files, also those for which pyarrow would end the process."""

from __future__ import annotations

import io
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb.history.footer import Footer
from aiowandb.history.ranges import last_step, read_ranges
from tests.support import forked, processes
from tests.support import thrift as t

ROWS, GROUP = 40, 20


def parquet(**options: Any) -> bytes:
    columns = {
        "_step": pa.array(range(ROWS)),
        "loss": pa.array([1 / (i + 2) for i in range(ROWS)]),
        "lr": pa.array([float(i) for i in range(ROWS)], pa.float32()),
        "epoch": pa.array([None] * GROUP + list(range(-9, 11)), pa.int32()),
        "nan": pa.array([float("nan")] * ROWS),
        "text": pa.array([f"text {i % 5}" for i in range(ROWS)]),
        "list": pa.array([[1.0, 2.0]] * ROWS),
        "val": pa.array([{"a": i, "_step": -i} for i in range(ROWS)]),
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, row_group_size=GROUP, **options)
    return file.getvalue()


OPTIONS: dict[str, dict[str, Any]] = {
    "usual": {},
    "page index": {"write_page_index": True},
    "without dictionaries": {"use_dictionary": False, "compression": "zstd"},
    "second version of pages": {"data_page_version": "2.0"},
    "without statistics": {"write_statistics": False},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_footer_says_the_same_here_as_with_pyarrow(options: dict[str, Any]) -> None:
    content = parquet(**options)
    footer, metadata = Footer(content), pq.read_metadata(io.BytesIO(content))
    for number, group in enumerate(footer.groups):
        known = metadata.row_group(number)
        assert (group.rows, group.size) == (known.num_rows, known.total_byte_size)
        for index, (path, column) in enumerate(zip(footer.paths, group.columns, strict=True)):
            chunk = known.column(index)
            assert path == chunk.path_in_schema
            assert column.start == (chunk.dictionary_page_offset or chunk.data_page_offset)
            assert column.end - column.start == chunk.total_compressed_size


def test_the_ranges_of_numbers_are_those_of_their_values() -> None:
    names = ["_step", "loss", "lr", "epoch", "nan", "text", "list", "missing"]
    content = parquet()
    read = read_ranges(pq.ParquetFile(io.BytesIO(content)), names)
    assert Footer(content).ranges(names) == read
    assert list(read) == names[:6]
    assert read["_step"] == [(0, 19), (20, 39)]
    assert read["epoch"] == [None, (-9, 10)]
    assert last_step(read) == 39
    assert set(Footer(parquet(write_statistics=False)).ranges(["_step"])["_step"]) == {None}


def field(number: int, kind: int, value: Any) -> Any:
    """Sets a field of the metadata of a column."""
    return lambda column: column[3][1].update({number: (kind, value)})


def statistic(size: int) -> Any:
    ends = dict.fromkeys((1, 2, 5, 6), (t.BINARY, b"x" * size))
    return field(12, t.STRUCT, ends)


HOSTILE = {
    "nothing": lambda column: None,
    "no metadata": lambda column: column.pop(3),
    "a key": lambda column: column.update({8: (t.STRUCT, {1: (t.STRUCT, {})})}),
    "another type": field(1, t.I32, 5),
    "an unknown type": field(1, t.I32, 77),
    "no bytes in statistics": statistic(0),
    "few bytes in statistics": statistic(3),
    "many bytes in statistics": statistic(100),
    "a short histogram": field(16, t.STRUCT, {3: (t.LIST, (t.I64, [1]))}),
    "a long histogram": field(16, t.STRUCT, {2: (t.LIST, (t.I64, [1] * 9))}),
    "no path": field(3, t.LIST, (t.BINARY, [])),
    "less than no values": field(5, t.I64, -1),
    "more values than there are": field(5, t.I64, 2**62),
    "less than no bytes": field(7, t.I64, -(2**62)),
    "a place before the file": field(9, t.I64, -9),
    "a dictionary after the file": field(11, t.I64, 2**40),
}


@pytest.fixture
def outcomes() -> Iterator[tuple[Connection, Connection]]:
    ends = processes.FORKS.Pipe(duplex=False)
    with ends[0], ends[1]:
        yield ends


def test_no_footer_ends_the_process(outcomes: tuple[Connection, Connection]) -> None:
    here, there = outcomes
    files = {name: t.changed_footer(parquet(), change) for name, change in HOSTILE.items()}
    process = processes.start(forked.read_files, files, there)
    there.close()
    found = dict[str, set[str]]()
    while len(found) < len(files):
        name, outcome = here.recv()  # raises EOFError if the process ended
        found[name] = outcome
    process.join()
    assert process.exitcode == 0
    assert found.keys() == files.keys()
    assert found["nothing"] == {"read"}
    assert "refused" in found["no metadata"] & found["few bytes in statistics"]


def test_fields_of_another_type_are_as_if_they_were_not_there() -> None:
    odd = t.changed_footer(parquet(), field(12, t.LIST, (t.I64, [1])))
    assert Footer(odd).ranges(["_step"]) == {"_step": [None, None]}
