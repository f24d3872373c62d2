"""An export that is cancelled by asyncio itself leaves nothing behind either."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiowandb import AsyncApi
from aiowandb_server import Store, build_sample


@pytest.mark.slow
def test_a_time_out_of_asyncio_at_any_moment_leaves_a_folder_to_go_on_with(tmp_path: Path) -> None:
    with Store.open(tmp_path / "wandb") as store:
        project = build_sample(store, runs=6, rows=200)
    path = f"{project.entity}/{project.project}"

    async def export(out: Path, seconds: float | None) -> int:
        async with AsyncApi.local(tmp_path / "wandb") as api:
            result = await asyncio.wait_for(api.runs(path).export(out), seconds)
            return result.rows

    full = asyncio.run(export(tmp_path / "full", None))
    moments, given_up = 25, 0
    for moment in range(moments):
        out = tmp_path / f"out-{moment}"
        try:
            asyncio.run(export(out, 0.01 * moment))
        except TimeoutError:
            given_up += 1
            assert not list(out.rglob("drafts/*"))
        assert asyncio.run(export(out, None)) == full
    assert given_up
