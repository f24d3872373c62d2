"""Runs that do not simply start and finish."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.sdk.conftest import Sdk

pytestmark = [pytest.mark.sdk, pytest.mark.slow]


def read(sdk: Sdk, run_id: str, project: str = "lives") -> dict[str, Any]:
    return sdk.run(f"""
    run = wandb.Api().run("local/{project}/{run_id}")
    report(state=run.state, config=run.config, summary=dict(run.summary._json_dict),
         steps=[row["_step"] for row in run.scan_history()],
         x=[row.get("x") for row in run.scan_history()])
    """)


@pytest.mark.parametrize("mode", ["must", "allow", "auto"])
def test_a_resumed_run_continues(sdk: Sdk, mode: str) -> None:
    script = """
    run = wandb.init(project="lives", id=os.environ["ID"], resume=os.environ.get("MODE"),
                     config={"a": 1} if "MODE" not in os.environ else {"b": 2})
    for x in range(3):
        run.log({"x": x})
    run.finish()
    """
    sdk.run(script, ID=f"resumed-{mode}")
    sdk.run(script, ID=f"resumed-{mode}", MODE=mode)
    found = read(sdk, f"resumed-{mode}")
    assert found["state"] == "finished"
    assert found["steps"] == [0, 1, 2, 3, 4, 5]
    assert found["x"] == [0, 1, 2, 0, 1, 2]
    assert found["config"] == {"a": 1, "b": 2}


def test_resume_must_and_never_refuse(sdk: Sdk) -> None:
    reported = sdk.run("""
    wandb.init(project="lives", id="there").finish()
    refusals = []
    for id, mode in (("not-there", "must"), ("there", "never")):
        try:
            wandb.init(project="lives", id=id, resume=mode)
        except Exception as error:
            refusals.append(type(error).__name__)
    report(refusals=refusals)
    """)
    assert reported["refusals"] == ["UsageError", "UsageError"]


def test_an_exit_code_makes_it_failed(sdk: Sdk) -> None:
    reported = sdk.run("""
    run = wandb.init(project="lives"); run.log({"x": 1}); run.finish(exit_code=1)
    report(id=run.id)
    """)
    assert read(sdk, reported["id"])["state"] == "failed"


def test_an_exception_makes_it_failed(sdk: Sdk) -> None:
    reported = sdk.run(
        'run = wandb.init(project="lives"); run.log({"x": 1}); report(id=run.id); 1 / 0',
        exit_code=1,
    )
    found = read(sdk, reported["id"])
    assert found["state"] == "failed"
    assert found["x"] == [1]


def test_a_killed_process_leaves_what_it_sent(sdk: Sdk) -> None:
    reported = sdk.run(
        """
        run = wandb.init(project="lives")
        run.log({"x": 1})
        report(id=run.id)
        sys.stdout.flush()
        os.kill(os.getpid(), 9)
        """,
        exit_code=-signal.SIGKILL,
    )
    # What is left of the SDK may still say that the run failed; else it crashes by its silence.
    assert read(sdk, reported["id"])["state"] in ("running", "failed")


def test_an_offline_run_can_be_synced(sdk: Sdk) -> None:
    reported = sdk.run(
        """
        run = wandb.init(project="lives", config={"a": 1})
        for x in range(10): run.log({"x": x})
        folder = os.path.dirname(run.dir)
        run.finish()
        report(id=run.id, folder=folder)
        """,
        WANDB_MODE="offline",
    )
    sdk.command("sync", reported["folder"])
    found = read(sdk, reported["id"])
    assert found["state"] == "finished"
    assert found["x"] == list(range(10))
    assert found["config"] == {"a": 1}


def test_define_metric_shapes_the_summary(sdk: Sdk) -> None:
    reported = sdk.run("""
    run = wandb.init(project="lives")
    run.define_metric("x", summary="min")
    for x in (3, 1, 2): run.log({"x": x})
    run.finish()
    report(id=run.id)
    """)
    assert read(sdk, reported["id"])["summary"]["x"] == {"min": 1}


def test_a_rewound_run_forgets(sdk: Sdk) -> None:
    reported = sdk.run("""
    run = wandb.init(project="lives")
    for x in range(10): run.log({"x": x})
    run.finish()
    run = wandb.init(project="lives", resume_from=f"{run.id}?_step=4")
    run.log({"x": 100})
    run.finish()
    report(id=run.id)
    """)
    found = read(sdk, reported["id"])
    assert found["x"] == [0, 1, 2, 3, 4, 100]
    assert found["steps"] == [0, 1, 2, 3, 4, 5]


def test_a_stopped_run_is_interrupted(sdk: Sdk) -> None:
    process = sdk.start("""
    import time
    run = wandb.init(project="lives", id="stopped")
    run.log({"x": 1})
    wandb.Api().run("local/lives/stopped").stop()
    try:
        for second in range(90):
            time.sleep(1)
            run.log({"x": second})
        report(interrupted=False)
    except KeyboardInterrupt:
        report(interrupted=True)
    """)
    assert sdk.reported(process)["interrupted"] is True


def test_many_processes_write_to_one_project(sdk: Sdk) -> None:
    script = """
    run = wandb.init(project="many", config={"n": int(os.environ["N"])})
    for x in range(50): run.log({"x": x * int(os.environ["N"])})
    run.finish()
    """
    processes = [sdk.start(script, N=str(number)) for number in range(6)]
    for process in processes:
        sdk.reported(process)
    reported = sdk.run("""
    runs = wandb.Api().runs("local/many", order="+config.n.value")
    report(count=len(runs), n=[run.config["n"] for run in runs],
         last=[[row["x"] for row in run.scan_history()][-1] for run in runs])
    """)
    assert reported == {"count": 6, "n": [*range(6)], "last": [49 * n for n in range(6)]}


def test_changes_of_a_deleted_run_do_not_affect_others(sdk: Sdk) -> None:
    reported = sdk.run("""
    for name in "ab":
        wandb.init(project="deleted", id=name, config={"of": name}).finish()
    api = Api()
    stale, again = api.run("local/deleted/b"), api.run("local/deleted/b")
    api.run("local/deleted/b").delete()
    for name in "cb":
        wandb.init(project="deleted", id=name, config={"of": name}).finish()
    stale.name, stale.config["of"] = "overwritten", "overwritten"
    refused = []
    try:
        stale.update()
    except Exception as error:
        refused.append(type(error).__name__)
    again.delete()
    runs = Api().runs("local/deleted")
    report(names=sorted(run.id for run in runs), of=sorted(run.config["of"] for run in runs),
         overwritten=[run.id for run in runs if run.name == "overwritten"], refused=len(refused),
         reused=stale.storage_id in [run.storage_id for run in runs])
    """)
    assert reported == {
        "names": ["a", "b", "c"],
        "of": ["a", "b", "c"],
        "overwritten": [],
        "refused": 1,
        "reused": False,
    }
