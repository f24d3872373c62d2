"""A long history in many files, whose links expire while it is read."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb.config.settings import Settings
from aiowandb.errors import AiowandbWarning
from aiowandb.history.scan import scan_run
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef

pytestmark = pytest.mark.anyio
FILES, ROWS = 4, 10
# What Google's storage answers for a link that has expired.
EXPIRED = httpx.Response(400, text="<Code>ExpiredToken</Code>")


class Archive:
    """W&B with one run, whose links live as long as it takes to read so many files more."""

    def __init__(self, files_a_plan: int, most_plans: int = 100) -> None:
        self.files_a_plan = files_a_plan
        self.most_plans = most_plans
        self.plans = 0
        self.json_from: int | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/graphql":
            asked = json.loads(request.content)
            if asked["operationName"] == "HistoryPages":
                return httpx.Response(200, json={"data": {"project": {"r0": self._rows(asked)}}})
            self.plans += 1
            return httpx.Response(200, json={"data": {"project": {"r0": self._plan()}}})
        number = int(request.url.path.strip("/"))
        if number >= self.files_a_plan * min(self.plans, self.most_plans):
            return EXPIRED
        file = io.BytesIO()
        steps = range(number * ROWS, (number + 1) * ROWS)
        pq.write_table(pa.table({"_step": steps, "loss": [float(step) for step in steps]}), file)
        return httpx.Response(200, content=file.getvalue())

    def _rows(self, asked: dict[str, Any]) -> dict[str, Any]:
        first, end = sorted(v for v in asked["variables"].values() if isinstance(v, int))[:2]
        self.json_from = first
        rows = [{"_step": step, "loss": float(step)} for step in range(first, end)]
        return {"history": list(map(json.dumps, rows))}

    def _plan(self) -> dict[str, Any]:
        urls = [f"http://store.test/{number}?v={self.plans}" for number in range(FILES)]
        return {
            "historyKeys": {"lastStep": FILES * ROWS - 1},
            "historyLineCount": FILES * ROWS,
            "parquetHistory": {"parquetUrls": urls, "liveData": []},
        }

    async def steps(self) -> list[int]:
        settings = Settings.load(api_key="0" * 40, base_url="http://wandb.test", environ={})
        async with Session(settings, transport=httpx.MockTransport(self)) as session:
            pages = scan_run(session, RunRef("e", "p", "r"), Selection())
            return [row["_step"] async for page in pages for rows in page.rows() for row in rows]


async def test_links_may_expire_as_often_as_they_have_led_to_rows() -> None:
    archive = Archive(files_a_plan=1)
    assert await archive.steps() == list(range(FILES * ROWS))
    assert archive.plans == FILES


async def test_rows_behind_links_that_never_work_are_read_as_json() -> None:
    archive = Archive(files_a_plan=0)
    with pytest.warns(AiowandbWarning, match=r"read as JSON.*store.test/0: W&B answered 400"):
        assert await archive.steps() == list(range(FILES * ROWS))
    assert archive.plans == 2


async def test_rows_before_a_link_that_never_works_are_not_read_again() -> None:
    archive = Archive(files_a_plan=1, most_plans=2)
    with pytest.warns(AiowandbWarning, match=r"read as JSON.*store.test/2: W&B answered 400"):
        assert await archive.steps() == list(range(FILES * ROWS))
    assert archive.json_from == 2 * ROWS
