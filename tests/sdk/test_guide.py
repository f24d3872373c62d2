"""Code in the style of W&B's import and export guide runs with our client, line for line.

The scripts in `guide/` use the official client; what each prints is what it prints
with `import aiowandb as wandb`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.sdk import worlds

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

SCRIPTS = sorted(Path(__file__).with_name("guide").glob("*.py"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    worlds.build(folder)
    return folder


@pytest.fixture(scope="module")
def official(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    return worlds.said_by("wandb", SCRIPTS, world, tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def ours(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    return worlds.said_by("aiowandb", SCRIPTS, world, tmp_path_factory.mktemp("ours"))


@pytest.mark.parametrize("script", [script.stem for script in SCRIPTS])
def test_a_script_of_the_guide_prints_the_same(
    official: Mapping[str, str], ours: Mapping[str, str], script: str
) -> None:
    assert "Traceback" not in official[script], official[script]
    assert ours[script] == official[script]
