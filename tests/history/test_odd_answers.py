"""Invalid histories from a server are read as far as possible, or an error says why not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import httpx
import orjson
import pytest

from aiowandb.config.settings import Settings
from aiowandb.errors import ServerError
from aiowandb.history.scan import scan_run, scan_system
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef

pytestmark = pytest.mark.anyio


REF = RunRef("e", "p", "r")
PLAN = {"historyKeys": {"lastStep": 9}, "historyLineCount": None, "parquetHistory": None}


class Answering:
    """W&B with one run: its plan as JSON text, and the rows that lie in any window."""

    def __init__(self, *rows: str, plan: str | None = None) -> None:
        self.rows = rows
        self.plan = plan or orjson.dumps(PLAN).decode()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = orjson.loads(request.content)
        variables = asked["variables"]
        found = []
        if asked["operationName"] == "RunSystemHistory":
            found.append(f'"run": {self._history(len(self.rows))}')
        elif asked["operationName"] == "HistoryPlans":
            found.append(f'"r0": {self.plan}')
        else:
            samples = [variables[name] for name in variables if name.startswith("n")]
            found += [f'"r{i}": {self._history(most)}' for i, most in enumerate(samples)]
        return httpx.Response(200, text=f'{{"data": {{"project": {{{", ".join(found)}}}}}}}')

    def _history(self, most: int) -> str:
        return orjson.dumps({"history": self.rows[:most]}).decode()

    async def read(self, *, page_size: int = 1000, system: bool = False) -> list[dict[str, Any]]:
        """All rows, once as rows and once as columns."""
        rows: list[dict[str, Any]] = []
        settings = Settings.load(api_key="0" * 40, base_url="http://wandb.test", environ={})
        async with Session(settings, transport=httpx.MockTransport(self)) as session:
            selection = Selection(page_size=page_size)
            scan = scan_system if system else scan_run
            async with aclosing(scan(session, REF, selection)) as pages:
                async for page in pages:
                    rows += [row for some in page.rows() for row in some]
                    await page.batches()
        return rows


@pytest.mark.parametrize(
    "rows",
    [
        ['{"a": 1}', '{"a": 2}'],
        ['{"_step": 1, "a": 1}', '{"a": 2}'],
        ['{"_step": 0.0, "a": 1}', '{"_step": 3.0, "a": 1}'],
        ['{"_step": "0", "a": 1}', '{"_step": "3", "a": 1}'],
    ],
    ids=["none", "some", "floats", "strings"],
)
async def test_a_window_is_cut_also_where_its_rows_have_no_plain_steps(rows: Sequence[str]) -> None:
    found = await Answering(*rows).read(page_size=1)
    assert len(found) >= len(rows)


@pytest.mark.parametrize("step", ["0.5", "NaN", "[1]", "null", '{"x": 1}'])
@pytest.mark.parametrize("page_size", [1, 1000])
async def test_a_step_that_is_not_a_number_is_a_server_error(step: str, page_size: int) -> None:
    row = f'{{"_step": {step}, "a": 1}}'
    with pytest.raises(ServerError):
        await Answering(row, row).read(page_size=page_size)


@pytest.mark.parametrize("last", [2**63 - 1, 2**64, 10**30])
async def test_a_last_step_beyond_all_steps_is_not_requested(last: int) -> None:
    plan = orjson.dumps(PLAN | {"historyLineCount": 1}).decode().replace("9", str(last))
    assert await Answering('{"_step": 1}', plan=plan).read() == [{"_step": 1}]


@pytest.mark.parametrize("step", ["1e300", "1e999", str(10**30), "-1e300"])
async def test_neither_is_a_live_step(step: str) -> None:
    parquet = f'{{"parquetUrls": [], "liveData": [{{"_step": {step}}}]}}'
    plan = (
        orjson.dumps(PLAN).decode().replace('"parquetHistory":null', f'"parquetHistory":{parquet}')
    )
    try:
        found = await Answering('{"_step": 1}', plan=plan).read()
    except ServerError:
        return
    assert found in ([], [{"_step": 1}])


async def test_keys_that_are_not_text_are_distinguished() -> None:
    rows = [rf'{{"_step": {i}, "\ud800": {i}, "\ud801": "x"}}' for i in range(3)]
    found = await Answering(*rows).read()
    assert [list(row.values()) for row in found] == [[i, i, "x"] for i in range(3)]


@pytest.mark.parametrize("row", ["1", "[]", "null", "{"])
async def test_invalid_system_metrics_are_a_server_error(row: str) -> None:
    with pytest.raises(ServerError):
        await Answering(row).read(system=True)
