"""What the real SDK logs, read back by the official `wandb.Api`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sdk.conftest import Sdk, served

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

LOG = """
import numpy
run = wandb.init(project="values", config={"lr": 0.1, "net": {"depth": 3, "dims": [1, 2]}},
                 name="first", notes="note", tags=["t1", "t2"], group="g", job_type="train")
for step in range(25):
    run.log({"loss": 1 / (step + 1), "whole": step, "nest": {"x": step, "y": {"z": math.nan}},
             "inf": math.inf, "s": f"str{step}", "b": step % 2 == 0, "lst": [1, 2, step],
             "a.b": 1, "c/d": 2, "none": None})
run.log({"late": 7}, step=1000, commit=True)
run.log({"h": wandb.Histogram([1, 2, 3]), "t": wandb.Table(columns=["a"], data=[[1], [2]]),
         "html": wandb.Html("<b>x</b>"), "img": wandb.Image(numpy.eye(4))})
run.summary["best"] = 0.5
run.finish()
report(id=run.id)
"""


@pytest.fixture(scope="module", params=["parquet", "json", "mixed"])
def history(request: pytest.FixtureRequest) -> str:
    """Each way of handing out histories must read the same."""
    return str(request.param)


@pytest.fixture(scope="module")
def logged(history: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sdk, str]]:
    with served(tmp_path_factory.mktemp("sdk"), history=history) as sdk:
        yield sdk, sdk.run(LOG)["id"]


def test_attributes_config_and_summary_come_back(logged: tuple[Sdk, str]) -> None:
    sdk, run_id = logged
    reported = sdk.run(f"""
    run = wandb.Api().run("local/values/{run_id}")
    report(name=run.name, state=run.state, tags=run.tags, notes=run.notes, group=run.group,
         job=run.job_type, config=run.config, user=run.user.username, last=run.lastHistoryStep,
         loss=run.summary["loss"], nan=math.isnan(run.summary["nest"]["y"]["z"]),
         inf=run.summary["inf"] == math.inf, best=run.summary["best"], step=run.summary["_step"],
         metadata=run.metadata["program"] is not None)
    """)
    assert reported == {
        "name": "first",
        "state": "finished",
        "tags": ["t1", "t2"],
        "notes": "note",
        "group": "g",
        "job": "train",
        "config": {"lr": 0.1, "net": {"depth": 3, "dims": [1, 2]}},
        "user": "local",
        "last": 1001,
        "loss": 1 / 25,
        "nan": True,
        "inf": True,
        "best": 0.5,
        "step": 1001,
        "metadata": True,
    }


def test_a_scan_gives_every_row(logged: tuple[Sdk, str], history: str) -> None:
    # The SDK gives rows twice where file and live rows meet in one page, so in `mixed` mode a
    # page ends there.
    sdk, run_id = logged
    page_size = 13 if history == "mixed" else 10
    reported = sdk.run(f"""
    run = wandb.Api().run("local/values/{run_id}")
    rows = list(run.scan_history(page_size={page_size}))
    with_keys = list(run.scan_history(keys=["loss", "nest.x"], page_size={page_size}))
    part = list(run.scan_history(min_step=5, max_step=8))
    report(steps=[row["_step"] for row in rows], losses=[row.get("loss") for row in rows],
         strings=[row.get("s") for row in rows][:3], inf=rows[3]["inf"] == math.inf,
         keys=[[row.get("loss"), row.get("nest.x")] for row in with_keys],
         part=[row["_step"] for row in part])
    """)
    assert reported["steps"] == [*range(25), 1000, 1001]
    assert reported["losses"][:25] == [1 / (step + 1) for step in range(25)]
    assert reported["strings"] == ["str0", "str1", "str2"]
    assert reported["inf"] is True
    pairs = [pair for pair in reported["keys"] if pair[0] is not None]
    assert pairs == [[1 / (step + 1), step] for step in range(25)]
    assert reported["part"] == [5, 6, 7]


def test_sampled_history_and_events(logged: tuple[Sdk, str]) -> None:
    sdk, run_id = logged
    reported = sdk.run(f"""
    run = wandb.Api().run("local/values/{run_id}")
    some = run.history(samples=4, pandas=False)
    keyed = run.history(keys=["loss", "nest.y.z"], samples=3, pandas=False)
    whole = run.history(keys=["whole"], pandas=False)
    report(some=[row["_step"] for row in some], keyed=[row["_step"] for row in keyed],
         nan=str(keyed[0]["nest.y.z"]), whole=[row["whole"] for row in whole],
         nested=some[0]["nest"]["x"], events=len(run.history(stream="system", pandas=False)))
    """)
    assert reported["some"][0] == 0
    assert reported["some"][-1] == 1001
    assert len(reported["some"]) == 4
    assert reported["keyed"] == [0, 12, 24]
    assert reported["nan"].lower() == "nan"
    assert reported["whole"] == list(range(25))
    assert reported["nested"] == 0
    assert reported["events"] >= 1


def test_media_are_objects_in_the_history_and_files_of_the_run(logged: tuple[Sdk, str]) -> None:
    sdk, run_id = logged
    reported = sdk.run(f"""
    run = wandb.Api().run("local/values/{run_id}")
    row = list(run.scan_history(min_step=1001))[-1]
    sizes = {{key: run.file(row[key]["path"]).size for key in ("img", "t", "html")}}
    table = json.load(run.file(row["t"]["path"]).download(root="down", replace=True))
    report(types=[row[key]["_type"] for key in ("h", "img", "t", "html")],
         same=[row[key]["size"] == sizes[key] for key in sizes],
         bins=len(row["h"]["bins"]) - len(row["h"]["values"]), table=table["data"],
         keys=run.history_keys["keys"]["h"]["typeCounts"])
    """)
    assert reported == {
        "types": ["histogram", "image-file", "table-file", "html-file"],
        "same": [True, True, True],
        "bins": 1,
        "table": [[1], [2]],
        "keys": [{"type": "histogram", "count": 1}],
    }
