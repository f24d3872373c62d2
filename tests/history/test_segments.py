"""Parquet files of finished rows, in all forms that W&B may write."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb.config.settings import Settings
from aiowandb.history.flattening import flatten
from aiowandb.history.scan import scan_run
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef


def flat(**columns: list[Any]) -> dict[str, list[object]]:
    (batch,) = pa.table({name: pa.array(values) for name, values in columns.items()}).to_batches()
    found: dict[str, list[object]] = flatten(batch).to_pydict()
    return found


def test_nested_objects_become_dotted_columns() -> None:
    assert flat(val=[{"loss": 1, "deep": {"er": 2}}]) == {"val.loss": [1], "val.deep.er": [2]}


def test_nested_objects_without_rows_become_dotted_columns_too() -> None:
    none = pa.RecordBatch.from_pylist([], pa.schema([("val", pa.struct([("loss", pa.int64())]))]))
    assert flatten(none).to_pydict() == {"val.loss": []}


def test_media_stay_complete_wherever_they_are() -> None:
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


FILES = [range(100), range(40, 160), range(120, 180)]


def archive(request: httpx.Request) -> httpx.Response:
    """A run whose files overlap: rows were logged again under their steps, after a rewind."""
    if request.url.path == "/graphql":
        urls = [f"http://store.test/{number}" for number in range(len(FILES))]
        plan = {
            "historyKeys": {"lastStep": 179},
            "historyLineCount": 180,
            "parquetHistory": {"parquetUrls": urls, "liveData": []},
        }
        return httpx.Response(200, json={"data": {"project": {"r0": plan}}})
    number = int(request.url.path.strip("/"))
    file = io.BytesIO()
    steps = list(FILES[number])
    table = pa.table({"_step": steps, "file": [number] * len(steps)})
    pq.write_table(table, file, row_group_size=10)
    return httpx.Response(200, content=file.getvalue())


async def rows_of(selection: Selection) -> list[tuple[int, int]]:
    settings = Settings.load(api_key="0" * 40, base_url="http://wandb.test", environ={})
    async with Session(settings, transport=httpx.MockTransport(archive)) as session:
        pages = scan_run(session, RunRef("e", "p", "r"), selection)
        return [
            (row["_step"], row["file"])
            async for page in pages
            for rows in page.rows()
            for row in rows
        ]


@pytest.mark.anyio
async def test_ranges_of_steps_give_the_rows_that_all_together_give() -> None:
    everything = await rows_of(Selection())
    assert [step for step, _ in everything] == list(range(180))
    ranges = [(0, 35), (35, 60), (60, 125), (125, 150), (150, None)]
    found = [
        row
        for first, end in ranges
        for row in await rows_of(Selection(min_step=first, max_step=end))
    ]
    assert found == everything
