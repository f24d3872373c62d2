"""An embedded W&B with runs for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiowandb_server import Store

from .world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Store.open(tmp_path / "wandb") as store:
        yield World(store)
