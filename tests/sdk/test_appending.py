"""Rows that we add to a run of the SDK, read by the official client and continued by the SDK."""

from __future__ import annotations

import pytest

from aiowandb import Api
from tests.sdk.conftest import Sdk

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

LOG = """
with wandb.init(project="late", config={"lr": 0.1}) as run:
    run.define_metric("accuracy", summary="max")
    for step in range(5):
        run.log({"loss": 1 / (step + 2), "accuracy": step / 8 + 0.1, "val": {"loss": 0.5}})
report(id=run.id)
"""
READ = """
run = wandb.Api().run("local/late/ID")
rows = list(run.scan_history())
report(steps=[row["_step"] for row in rows], late=[row.get("late") for row in rows],
     keyed=[row["late"] for row in run.scan_history(keys=["late"]) if row["late"] is not None],
     state=run.state, summary=run.summary._json_dict, lines=run.history_line_count,
     last=run.lastHistoryStep, config=run.config, started="t" in run.rawconfig["_wandb"])
"""
RESUME = """
with wandb.init(project="late", id="ID", resume="must") as run:
    run.log({"late": 0.75})
"""


@pytest.fixture(scope="module")
def run_id(sdk: Sdk) -> str:
    """A run of the SDK that has ended, and then been given two rows and a value by us."""
    made = str(sdk.run(LOG)["id"])
    with Api(sdk.store.local_key, base_url=sdk.url) as api:
        run = api.run(f"local/late/{made}")
        with run.append() as log:
            log({"late": 0.25, "accuracy": 0.05})
            log({"late": 0.5, "val": {"acc": 1}}, step=100)
        run.config["checked"] = True
        run.update()
    return made


def test_the_official_client_reads_the_new_rows(sdk: Sdk, run_id: str) -> None:
    reported = sdk.run(READ.replace("ID", run_id))
    assert reported["steps"] == [0, 1, 2, 3, 4, 5, 100]
    assert reported["late"] == [None] * 5 + [0.25, 0.5]
    assert reported["keyed"] == [0.25, 0.5]
    assert (reported["state"], reported["lines"], reported["last"]) == ("finished", 7, 100)
    assert (reported["config"], reported["started"]) == ({"lr": 0.1, "checked": True}, True)
    summary = reported["summary"]
    assert (summary["late"], summary["_step"], summary["val"]) == (
        0.5,
        100,
        {"loss": 0.5, "acc": 1},
    )
    assert summary["accuracy"] == {"max": 0.6}


def test_the_sdk_can_resume_after_them(sdk: Sdk, run_id: str) -> None:
    sdk.run(RESUME.replace("ID", run_id))
    with Api(sdk.store.local_key, base_url=sdk.url) as api:
        run = api.run(f"local/late/{run_id}")
        rows = [(row["_step"], row["late"]) for row in run.scan_history(keys=["late"])]
    assert rows == [(5, 0.25), (100, 0.5), (101, 0.75)]
    assert run.state == "finished"


SCAN = """
run = wandb.Api().run("local/late/ID")
report(cached=[row["_step"] for row in run.scan_history()],
     fresh=[row["_step"] for row in run.scan_history(use_cache=False)])
"""


def test_the_official_cache_hides_added_rows_until_it_is_passed_by(sdk: Sdk) -> None:
    """As docs/writing.md says: the address of the file is new, but the cache asks for none."""
    made = str(sdk.run(LOG)["id"])
    before = sdk.run(SCAN.replace("ID", made))
    assert before["cached"] == before["fresh"] == [0, 1, 2, 3, 4]
    with (
        Api(sdk.store.local_key, base_url=sdk.url) as api,
        api.run(f"local/late/{made}").append() as log,
    ):
        log({"late": 0.25})
    after = sdk.run(SCAN.replace("ID", made))
    assert after["cached"] == [0, 1, 2, 3, 4]
    assert after["fresh"] == [0, 1, 2, 3, 4, 5]
