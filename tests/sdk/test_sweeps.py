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
before = [[run.name, run.state, run.id == run_id] for run in Api().sweep(
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


def test_a_local_scheduler_enqueues_the_runs_of_an_agent(sdk: Sdk) -> None:
    reported = sdk.run(
        """
from wandb.sdk.sweeps.scheduler.client import run_scheduler
from wandb.sdk.sweeps.scheduler.optimizer import Optimizer, RunSuggestion

results = {}

class Two(Optimizer):
    asked = 0
    def validate_sweep_objective(self): pass
    def has_terminator(self): return False
    def ask_n_runs(self, n):
        new = [RunSuggestion({"x": i}, f"r{i}") for i in range(self.asked, min(2, self.asked + n))]
        self.asked += len(new)
        return new if new or len(results) == 2 else None
    def tell_run(self, run_id, data):
        if data.state.value not in ("pending", "running"):
            results[run_id] = [data.state.value, data.summary_metrics.get("score")]

config = {"method": "custom", "metric": {"name": "score", "goal": "maximize"},
          "parameters": {"x": {"values": [0, 1]}}, "scheduler": {"engine": "optuna"}}
sweep = wandb.sweep(config, project="scheduled")
script = f'''
import wandb
def train():
    with wandb.init() as run:
        run.log({{"score": run.config.x * 10}})
wandb.agent("{sweep}", function=train, project="scheduled")
'''
own = {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"}
agent = subprocess.Popen([sys.executable, "-c", script], env=own)
try:
    run_scheduler(entity="local", project="scheduled", sweep_id=sweep, make_optimizer=Two,
                  batch_size=2, poll_interval=0.2)
    code = agent.wait()
finally:
    agent.kill()
found = Api().sweep(f"local/scheduled/{sweep}")
report(results=results, code=code, state=found.state, count=len(found.runs))
"""
    )
    assert reported == {
        "results": {"r0": ["finished", 0], "r1": ["finished", 10]},
        "code": 0,
        "state": "FINISHED",
        "count": 2,
    }
