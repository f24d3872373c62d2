"""Large Parquet files, read in pieces over HTTP."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb.config.settings import Settings
from aiowandb.errors import LinkError, ServerError
from aiowandb.history.segments import read_segment
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.redaction import Link
from tests.support.shelf import Shelf

pytestmark = pytest.mark.anyio
ROWS = 60_000
KEY = "0" * 40


async def read(shelf: Shelf, selection: Selection, *, is_large: bool = True) -> pa.Table:
    settings = Settings.load(api_key=KEY, base_url="http://wandb.test", environ={})
    async with Session(settings, transport=httpx.ASGITransport(shelf)) as session:
        rows = read_segment(session, Link("http://store.test/x"), selection, is_large=is_large)
        batches = [batch async for one in rows for batch in await one.page.batches()]
        return pa.Table.from_batches(batches)


@pytest.fixture(scope="module")
def content() -> bytes:
    noise = np.random.default_rng(3).normal(size=(ROWS, 12))
    names = [f"metric/{i}" for i in range(12)]
    table = pa.table(
        {"_step": np.arange(ROWS)}
        | dict(zip(names, noise.T, strict=True))
        | {"val": [{"acc": i} for i in range(ROWS)], "list": [[i] for i in range(ROWS)]}
        | {"media": [{"_type": "image-file", "path": f"{i}.png"} for i in range(ROWS)]}
    )
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=5_000, use_dictionary=False)
    return file.getvalue()


@pytest.fixture(params=[True, False])
def shelf(request: pytest.FixtureRequest, content: bytes) -> Shelf:
    return Shelf(content, by_pieces=request.param)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(keys=("metric/3", "val.acc")),
        Selection(keys=("list",), min_step=12_345, max_step=12_400),
        pytest.param(Selection(keys=("media",)), marks=pytest.mark.slow),
        pytest.param(Selection(exclude=("metric/*",)), marks=pytest.mark.slow),
    ],
)
async def test_pieces_decode_to_the_same_as_the_complete_text(
    shelf: Shelf, selection: Selection
) -> None:
    full = await read(shelf, selection, is_large=False)
    assert (await read(shelf, selection)).equals(full)
    assert full.num_rows


async def test_a_key_that_does_not_exist_takes_one_request(shelf: Shelf) -> None:
    if shelf.by_pieces:
        with pytest.raises(ValueError, match="schema"):  # a table of no batches
            await read(shelf, Selection(keys=("nothing",)))
        assert len(shelf.sent) == 2


async def test_columns_that_are_not_selected_are_not_transferred(content: bytes) -> None:
    shelf = Shelf(content)
    await read(shelf, Selection(min_step=59_000))
    assert sum(shelf.sent) < len(content)


async def test_the_first_rows_need_no_third_request(content: bytes) -> None:
    shelf = Shelf(content)
    settings = Settings.load(api_key=KEY, base_url="http://wandb.test", environ={})
    async with Session(settings, transport=httpx.ASGITransport(shelf)) as session:
        rows = read_segment(session, Link("http://store.test/x"), Selection(), is_large=True)
        await anext(rows)
        assert len(shelf.sent) == 2
        await rows.aclose()


async def test_a_file_that_is_replaced_while_it_is_read_is_a_link_error(content: bytes) -> None:
    shelf = Shelf(content)
    shelf.replaced = 2
    with pytest.raises(LinkError, match="replaced"):
        await read(shelf, Selection(min_step=1))


@pytest.mark.parametrize("is_large", [True, False])
async def test_a_file_without_steps_is_an_error_that_says_so(is_large: bool) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"loss": np.arange(ROWS) / 7}), file, row_group_size=5_000)
    for selection in (Selection(), Selection(keys=("loss",)), Selection(exclude=("x",))):
        with pytest.raises(ServerError, match="cannot be read: its rows have no steps"):
            await read(Shelf(file.getvalue()), selection, is_large=is_large)


def file_of(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=10)
    return file.getvalue()


@pytest.mark.parametrize("kind", [pa.float64(), pa.int32(), pa.uint64()], ids=str)
@pytest.mark.parametrize("is_large", [True, False])
async def test_steps_are_integers_however_they_were_written(
    kind: pa.DataType, is_large: bool
) -> None:
    steps = pa.array(range(100, 130))
    shelf = Shelf(file_of(pa.table({"_step": steps.cast(kind), "loss": [0.5] * 30})))
    found = await read(shelf, Selection(min_step=105), is_large=is_large)
    assert found.schema.field("_step").type == pa.int64()
    assert found.column("_step").to_pylist() == list(range(105, 130))


@pytest.mark.parametrize("steps", [[0.5] * 30, [float("nan")] * 30, ["x"] * 30, [2.0**80] * 30])
@pytest.mark.parametrize("is_large", [True, False])
async def test_steps_that_are_not_integers_are_a_server_error(
    steps: list[Any], is_large: bool
) -> None:
    shelf = Shelf(file_of(pa.table({"_step": steps, "loss": [0.5] * 30})))
    with pytest.raises(ServerError, match="cannot be read"):
        await read(shelf, Selection(), is_large=is_large)


async def test_so_are_values_that_cannot_be_sent() -> None:
    bad = [[{"x": b"\xff"}]] * 3
    shelf = Shelf(file_of(pa.table({"_step": range(3), "bad": pa.array(bad)})))
    with pytest.raises(ServerError, match="cannot be read"):
        await read(shelf, Selection())
