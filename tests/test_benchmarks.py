"""The benchmarks run: every scene, every contender, at a size too small to measure speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import main
from benchmarks.contenders.clock import Cost
from benchmarks.figures import Costs, Figure
from benchmarks.plot import write_plot
from benchmarks.rounds import Sample, Setting, Traffic
from benchmarks.scenes import SCENES
from benchmarks.written import Written

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
# The scene `latency` is a longer `a`.
@pytest.mark.parametrize("scene", [name for name in SCENES if name != "latency"])
def test_every_scene_can_be_measured(scene: str, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks", scene, "--rounds=1", "--scale=0.001"]
    subprocess.run([*command, f"--json={found}"], cwd=ROOT, check=True)
    report = json.loads(found.read_text())
    assert {figure["scene"] for figure in report["figures"] + report["costs"]} == {scene}


def test_the_latency_scene_becomes_a_picture(tmp_path: Path) -> None:
    cost = Cost(wall=2.0, cpu=1.0, peak_memory=0, rows=1000)
    samples = {
        "aiowandb": [Sample(cost, Written(), Traffic(api=1, refused=0, downloads=1, bytes=1))]
    }
    near = Setting(runs=1, rows=1000)
    costs = [Costs("latency", setting, samples) for setting in (near, near.at(0.05))]
    write_plot(costs, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_is_met_by_its_median() -> None:
    assert Figure("a", "faster", [1.0, 50.0, 60.0], at_least=40).is_met
    assert not Figure("a", "faster", [1.0, 30.0, 60.0], at_least=40).is_met
    assert Figure("a", "cheaper", [1.0, 1.5, 9.0], at_most=1.6).is_met


def test_a_figure_without_a_limit_is_there_to_be_known() -> None:
    assert Figure("i", "rows a second", [1.0]).is_met


def test_an_unknown_scene_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "z"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "there are a, a-tls, b" in capsys.readouterr().err
