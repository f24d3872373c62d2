"""If rows are missing or too many, they are requested again, and then the run is reported."""

from __future__ import annotations

import io
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb import AsyncApi, IncompleteHistoryError
from aiowandb_server import Store, create_app
from tests.export.conftest import Project, contents, places, steps
from tests.support.in_process import client_of

pytestmark = pytest.mark.anyio


# What becomes of some rows on their way.
Change = Callable[[list[Any]], list[Any]]


def half(rows: list[Any]) -> list[Any]:
    return rows[: len(rows) // 2]


def doubled(rows: list[Any]) -> list[Any]:
    return [row for row in rows for _ in range(2)]


def without_the_last(rows: list[Any]) -> list[Any]:
    return rows[:-1]


CHANGES = pytest.mark.parametrize("change", [half, doubled, without_the_last])


class Liar(httpx.AsyncBaseTransport):
    """The embedded W&B, whose rows of the run `b` are changed, so many times."""

    def __init__(self, store: Store, history: Any) -> None:
        self._inner = httpx.ASGITransport(create_app(store, history=history))
        self.change: Change = list
        self.times = math.inf
        self._files: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        content = await response.aread()
        if request.method == "POST":
            content = self._answer(orjson.loads(request.content), orjson.loads(content))
        elif request.url.path in self._files and response.status_code == 200 and self._strikes():
            content = _changed_file(content, self.change)
        return httpx.Response(200, stream=httpx.ByteStream(content))

    def _answer(self, asked: Any, answer: Any) -> bytes:
        aliases = {name for name, value in asked["variables"].items() if value == "b"}
        project = answer["data"].get("project") or {}
        for alias in aliases.intersection(project):
            run = project[alias]
            if run.get("history") and self._strikes():
                run["history"] = self.change(run["history"])
            for url in (run.get("parquetHistory") or {}).get("parquetUrls") or ():
                self._files.add(httpx.URL(url).path)
        return orjson.dumps(answer)

    def _strikes(self) -> bool:
        self.times -= 1
        return self.times >= 0


def _changed_file(content: bytes, change: Change) -> bytes:
    table = pq.read_table(io.BytesIO(content))
    kept = change(list(range(table.num_rows)))
    file = io.BytesIO()
    pq.write_table(table.take(pa.array(kept, pa.int64())), file)
    return file.getvalue()


@pytest.fixture(params=["parquet", "json"])
def liar(request: pytest.FixtureRequest, store: Store, project: Project) -> Liar:
    for name in "abc":
        project.log(name, steps(0, 40))
    return Liar(store, request.param)


@pytest.fixture
async def api(store: Store, liar: Liar) -> AsyncIterator[AsyncApi]:
    async with client_of(store, liar) as api:
        yield api


@CHANGES
@pytest.mark.parametrize(
    "options",
    [
        {},
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ({"keys": ["loss"]}, {"format": "csv"})
        ),
    ],
    ids=str,
)
async def test_a_run_whose_rows_do_not_add_up_is_named_until_they_do(
    api: AsyncApi, liar: Liar, out: Path, tmp_path: Path, change: Change, options: dict[str, Any]
) -> None:
    runs = api.runs(Project.path, order="+created_at")
    liar.change = change
    for _ in range(2):
        result = await runs.export(out, **options)
        assert [failure.run for failure in result.failed] == ["b"]
        assert "W&B counts 40 rows of run local/demo/b" in str(result.failed[0].error)
        assert result.rows == 80
    liar.change = list
    assert (await runs.export(out, **options)).failed == ()
    await runs.export(tmp_path / "fresh", **options)
    assert contents(out) == contents(tmp_path / "fresh")


@CHANGES
async def test_rows_that_do_not_add_up_once_are_asked_for_again(
    api: AsyncApi, liar: Liar, out: Path, change: Change
) -> None:
    liar.change, liar.times = change, 1
    result = await api.runs(Project.path, order="+created_at").export(out)
    assert (result.failed, result.rows) == ((), 120)
    assert places(out).count(("b", 39)) == 1


@CHANGES
async def test_a_scan_raises_after_its_last_row_if_rows_are_missing(
    api: AsyncApi, liar: Liar, change: Change
) -> None:
    liar.change = change
    run = await api.run(f"{Project.path}/b")
    with pytest.raises(IncompleteHistoryError, match="counts 40 rows"):
        async for _ in run.scan_history():
            pass
    with pytest.raises(IncompleteHistoryError, match="counts 40 rows"):
        async for _ in run.scan_history_batches(keys=["loss"]):
            pass


async def test_new_rows_that_do_not_add_up_leave_those_that_are_there(
    api: AsyncApi, liar: Liar, project: Project, out: Path
) -> None:
    runs = api.runs(Project.path, order="+created_at")
    await runs.export(out)
    project.post("b", 40, steps(40, 80), finish=True)
    liar.change = half
    result = await runs.export(out)
    assert [failure.run for failure in result.failed] == ["b"]
    assert [step for run, step in places(out) if run == "b"] == list(range(40))
    liar.change = list
    assert (await runs.export(out)).rows == 160
    assert [step for run, step in places(out) if run == "b"] == list(range(80))
