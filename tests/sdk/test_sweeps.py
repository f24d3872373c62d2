"""Sweeps: made, run by agents, paused, ended, read."""

from __future__ import annotations

import pytest

from tests.sdk.conftest import Sdk

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

GRID = """
config = {"name": "grid", "method": "grid", "metric": {"name": "score", "goal": "maximize"},
          "parameters": {"a": {"values": [1, 2, 3]}}}
"""


def test_an_agent_runs_the_grid(sdk: Sdk) -> None:
    reported = sdk.run(
        GRID
        + """
seen = []
def train():
    with wandb.init(config={"a": "loses", "own": 5}, project="other", id="ignored") as run:
        seen.append([run.project, run.resumed, run.sweep_id == sweep, run.id == "ignored"])
        run.log({"score": run.config.a})
sweep = wandb.sweep(config, project="grid")
before = Api().sweep(f"local/grid/{sweep}")
wandb.agent(sweep, function=train, count=1, project="grid")
during = Api().sweep(f"local/grid/{sweep}").state
wandb.agent(sweep, function=train, project="grid")
after = Api().sweep(f"local/grid/{sweep}")
report(seen=seen, states=[before.state, during, after.state], name=before.name,
     expected=before.expected_run_count, configs=sorted(run.config["a"] for run in after.runs),
     own=after.runs[0].config["own"], best=after.best_run().summary["score"],
     listed=[found.id for found in Api().project("grid", "local").sweeps()] == [sweep])
""",
    )
    assert reported == {
        "seen": [["grid", False, True, False]] * 3,
        "states": ["PENDING", "RUNNING", "FINISHED"],
        "name": "grid",
        "expected": 3,
        "configs": [1, 2, 3],
        "own": 5,
        "best": 3,
        "listed": True,
    }


def test_the_agent_of_the_command_line_starts_a_program(sdk: Sdk) -> None:
    (sdk.folder / "train.py").write_text(
        "import argparse, wandb\n"
        "parser = argparse.ArgumentParser(); parser.add_argument('--a', type=int)\n"
        "with wandb.init(config=parser.parse_args()) as run: run.log({'score': run.config.a})\n"
    )
    config = "program: train.py\nmethod: grid\nparameters: {a: {values: [4, 5]}}\n"
    (sdk.folder / "sweep.yaml").write_text(config)
    said = sdk.command("sweep", "--project", "program", "sweep.yaml")
    sweep = said.split("wandb agent ")[1].split()[0]
    sdk.command("agent", sweep)
    reported = sdk.run("""
    runs = Api().runs("local/program")
    report(scores=sorted(run.summary["score"] for run in runs),
         sweeps=len({run.sweep_name for run in runs}))
    """)
    assert reported == {"scores": [4, 5], "sweeps": 1}


def test_a_sweep_is_paused_resumed_and_stopped(sdk: Sdk) -> None:
    sweep = sdk.run(
        GRID
        + """
sweep = wandb.sweep(config, project="steps")
wandb.agent(sweep, function=lambda: wandb.init().finish(), count=1, project="steps")
report(sweep=sweep)
""",
    )["sweep"]
    states = []
    for verb in ("--pause", "--resume", "--cancel"):
        sdk.command("sweep", verb, f"local/steps/{sweep}")
        states.append(sdk.run(f'report(state=Api().sweep("local/steps/{sweep}").state)')["state"])
    assert states == ["PAUSED", "RUNNING", "CANCELED"]


def test_a_run_that_is_enqueued_by_hand_is_run_by_an_agent(sdk: Sdk) -> None:
    reported = sdk.run(
        GRID
        + """
seen = []
def train():
    with wandb.init() as run:
        seen.append(dict(run.config))
sweep = wandb.sweep(config, project="enqueued")
found = Api().sweep(f"local/enqueued/{sweep}")
run_id = found.enqueue_run({"a": {"value": 7}}, display_name="by hand")
before = [[run.name, run.state, run.storage_id == run_id] for run in Api().sweep(
    f"local/enqueued/{sweep}").runs]
wandb.agent(sweep, function=train, project="enqueued")
runs = Api().sweep(f"local/enqueued/{sweep}").runs
report(before=before, seen=sorted(one["a"] for one in seen),
     states=sorted({run.state for run in runs}), count=len(runs))
"""
    )
    assert reported == {
        "before": [["by hand", "pending", True]],
        "seen": [1, 2, 3, 7],
        "states": ["finished"],
        "count": 4,
    }
