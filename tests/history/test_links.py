"""A long history in many files, whose links expire while it is read."""

from __future__ import annotations

import io
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb.config.settings import Settings
from aiowandb.errors import LinkError
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

    def __init__(self, files_a_plan: int) -> None:
        self.files_a_plan = files_a_plan
        self.plans = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/graphql":
            self.plans += 1
            return httpx.Response(200, json={"data": {"project": {"r0": self._plan()}}})
        number = int(request.url.path.strip("/"))
        if number >= self.files_a_plan * self.plans:
            return EXPIRED
        file = io.BytesIO()
        steps = range(number * ROWS, (number + 1) * ROWS)
        pq.write_table(pa.table({"_step": steps, "loss": [float(step) for step in steps]}), file)
        return httpx.Response(200, content=file.getvalue())

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


async def test_links_that_never_work_are_requested_once_more() -> None:
    archive = Archive(files_a_plan=0)
    with pytest.raises(LinkError, match=r"store.test/0: W&B answered 400: <Code>ExpiredToken"):
        await archive.steps()
    assert archive.plans == 2
