"""An empty server, and one with several users, each of whom has a thing of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiowandb_server import Store
from tests.security.neighbourhood import Neighbourhood, build_neighbourhood

_NOW = 1_750_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "data") as store:
        yield store


@pytest.fixture
def town(tmp_path: Path, new_folder: Callable[[Path], Path]) -> Iterator[Neighbourhood]:
    with Store.open(new_folder(tmp_path / "town"), clock=lambda: _NOW) as store:
        yield build_neighbourhood(store)
