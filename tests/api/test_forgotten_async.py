"""A forgotten `async` or `await` is an error at once, where Python would loop for ever."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiowandb import AsyncApi
from aiowandb_server import Store
from aiowandb_server.sample import build_sample

pytestmark = pytest.mark.anyio


def loop(items: Any) -> None:
    for _ in items:
        break


USES: list[Callable[[Any], Any]] = [
    loop,
    list,
    tuple,
    set,
    sorted,
    reversed,
    len,
    bool,
    sum,
    lambda items: 1 in items,
    lambda items: [*items],
    lambda items: dict.fromkeys(items),
    lambda items: zip(items, "a", strict=True),
    operator.not_,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wandb")
    with Store.open(folder) as store:
        build_sample(store, runs=1, rows=3)
    return folder


async def every_stream(api: AsyncApi) -> list[Any]:
    """Everything public that is gone through with `async for`."""
    run = await api.runs("local/sample")[0]
    project = await api.project("local/sample")
    lists: list[Any] = [
        api.runs("local/sample"),
        api.projects(),
        api.artifacts("model", "local/sample/a"),
        project.runs(),
        project.sweeps(),
        run.files(),
        run.logged_artifacts(),
        run.used_artifacts(),
    ]
    return [
        *lists,
        run.scan_history(),
        run.scan_history(stream="system"),
        run.scan_history_batches(),
        run.console_logs(),
        *[aiter(one) for one in lists],
        *[one.pages() for one in lists],
    ]


@pytest.mark.parametrize("is_entered", [True, False])
async def test_a_loop_without_async_says_so(folder: Path, is_entered: bool) -> None:
    api = AsyncApi.local(folder)
    if is_entered:
        await api.__aenter__()
    every = await every_stream(api)
    if is_entered:
        every.append(api.scan_histories(api.runs("local/sample")))
    for one in every:
        for use in USES:
            with pytest.raises(TypeError, match=r"`async for`"):
                use(one)
    await api.aclose()


async def test_a_list_also_says_how_to_have_all_of_it(folder: Path) -> None:
    api = AsyncApi.local(folder)
    runs: Any = api.runs("local/sample")
    with pytest.raises(TypeError, match=r"Runs .* `async for` .* `await \.\.\.\.to_list\(\)`"):
        list(runs)
    with pytest.raises(TypeError, match=r"count\(\)"):
        len(runs)
    await api.aclose()
