"""Properties of any history, whichever way it is read and whatever is lost on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import anyio
import httpx
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiowandb import AsyncApi
from aiowandb.history.columns import Kind, kind_of
from aiowandb.net.retry import RetryPolicy
from aiowandb.wire import lenient
from aiowandb.wire.appending import PendingRows
from aiowandb_server import RunChanges, Store, create_app
from aiowandb_server.store.history import HistoryMode
from tests.chaos.faults import Message, Receive, Send
from tests.conftest import examples

PROJECT = "local/p"
_numbers = count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("wandb"), crash_after=float("inf")) as store:
        store.projects.ensure("local", "p")
        yield store


def new_run(store: Store, rows: list[dict[str, Any]], *, finish: bool) -> str:
    project = store.projects.get("local", "p")
    assert project
    name = f"r{next(_numbers)}"
    run, _ = store.runs.upsert(project, name, RunChanges())
    store.history.append(run, [lenient.dumps(row) for row in rows])
    if finish:
        store.finish(run)
    return name


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.integers(-3, 3).map(float)
    # The words NaN and Infinity are left out: beside numbers Parquet has no others than those.
    | st.sampled_from(["", "a", "é☃"])
    | st.lists(st.integers(-5, 5) | st.floats(), min_size=1, max_size=3)
    | st.just({"_type": "image-file", "path": "x.png"})
)
VALUES = LEAVES | st.dictionaries(st.sampled_from("ab"), LEAVES, max_size=2)
STEPS = st.lists(st.integers(0, 3), max_size=12).map(
    lambda gaps: [sum(gaps[: i + 1]) + i for i in range(len(gaps))]
)


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    # Keys that are mostly of one kind, as real ones are, and now and then are not.
    usual = {key: draw(VALUES) for key in ("loss", "val", "a.b", "x/y")}
    rows = []
    for step in draw(STEPS):
        keys = draw(st.sets(st.sampled_from(list(usual))))
        values = {key: draw(st.just(usual[key]) | VALUES) for key in keys}
        rows.append({"_step": step, "_timestamp": 1.75e9 + step, **values})
    return rows


LARGE = {"_step": 0, "_timestamp": 1.75e9, "val": 2**53 + 1}
SMALL = {"_step": 1, "_timestamp": 1.75e9, "val": 0.5}


@examples(15)
@given(histories())
@example([LARGE, SMALL])
def test_rows_and_columns_are_the_same_whether_they_come_as_json_or_as_parquet(
    store: Store, history: list[dict[str, Any]]
) -> None:
    name = new_run(store, history, finish=True)

    async def read(mode: HistoryMode) -> tuple[list[Any], pa.Table | None]:
        transport = httpx.ASGITransport(create_app(store, history=mode))
        async with AsyncApi(
            store.local_key, base_url="http://wandb.test", transport=transport
        ) as api:
            run = await api.run(f"{PROJECT}/{name}")
            rows = [row async for row in run.scan_history()]
            batches = [batch async for batch in run.scan_history_batches()]
            return rows, pa.Table.from_batches(batches) if batches else None

    json_rows, json_table = anyio.run(read, "json")
    parquet_rows, parquet_table = anyio.run(read, "parquet")
    assert list(map(_told, json_rows)) == list(map(_told, parquet_rows))
    assert [row["_step"] for row in json_rows] == [row["_step"] for row in history]
    if json_table is None or parquet_table is None:
        assert json_table is parquet_table is None
        return
    assert _columns(json_table) == _columns(parquet_table)


def _told(row: dict[str, Any]) -> list[str]:
    """What a row says, types and all."""
    return sorted(f"{key}: {_as_a_double(value)!r}" for key, value in row.items())


def _as_a_double(value: Any) -> Any:
    # Columns that have a fraction or an integer beyond 64 bits are doubles in Parquet.
    return float(value) if type(value) is int and abs(value) >= 2**53 else value


def _columns(table: pa.Table) -> dict[str, tuple[Kind, str]]:
    found = {}
    for field in table.schema:
        kind, values = kind_of(field), table[field.name].to_pylist()
        if kind is Kind.JSON:  # there are several ways to write the same
            values = [value and _with_words(lenient.loads(value)) for value in values]
        if any(value is not None for value in values):
            found[field.name] = kind, repr(values)
    return found


def _with_words(value: Any) -> Any:
    """The value with the words that W&B uses for what JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [_with_words(item) for item in value]
    return value


class Unlucky:
    """W&B, whose answers to file streams are lost, or who does not even hear them, as listed."""

    def __init__(self, app: Any, luck: list[str]) -> None:
        self._app = app
        self._luck = list(luck)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        is_stream = scope["path"].endswith("file_stream")
        luck = self._luck.pop(0) if is_stream and self._luck else "good"

        async def nowhere(message: Message) -> None:
            pass

        if luck in ("good", "lost"):
            await self._app(scope, receive, send if luck == "good" else nowhere)
        if luck in ("lost", "unheard"):
            raise httpx.ReadError("the connection broke")
        if luck == "busy":
            await send({"type": "http.response.start", "status": 503, "headers": []})
            body = b"busy, %d to come" % len(self._luck)  # the very same thrice would be final
            await send({"type": "http.response.body", "body": body})


@contextmanager
def small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PendingRows, "batch_rows", 3)
        yield


@examples(15)
@given(
    st.lists(st.sampled_from(["good", "lost", "unheard", "busy"]), max_size=12),
    st.lists(st.floats(allow_nan=False) | st.booleans() | st.none(), max_size=20),
)
def test_rows_appended_with_bad_luck_are_rows_appended_with_good_luck(
    store: Store, luck: list[str], values: list[Any]
) -> None:
    async def append(luck: list[str]) -> list[dict[str, Any]]:
        name = new_run(store, [], finish=False)
        transport = httpx.ASGITransport(Unlucky(create_app(store), luck))
        async with AsyncApi(
            store.local_key,
            base_url="http://wandb.test",
            transport=transport,
            retry=RetryPolicy(random=lambda: 0.0),
        ) as api:
            run = await api.run(f"{PROJECT}/{name}")
            async with run.append(state="finished") as log:
                for value in values:
                    await log({"value": value, "_timestamp": 0, "_runtime": 0})
            assert (await api.run(f"{PROJECT}/{name}")).state == "finished"
            return [row async for row in run.scan_history()]

    with small_batches():
        lucky = anyio.run(append, [])
        assert [row.get("value") for row in lucky] == values
        assert repr(anyio.run(append, luck)) == repr(lucky)
