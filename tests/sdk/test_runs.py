"""Runs that the real SDK writes, read back by the official `wandb.Api`."""

from __future__ import annotations

import json
import math
import signal
from typing import Any

import pytest

from tests.sdk.conftest import Sdk

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

LOG = """
run = wandb.init(project="values", config={"lr": 0.1, "net": {"depth": 3, "dims": [1, 2]}},
                 name="first", notes="note", tags=["t1", "t2"], group="g", job_type="train")
for step in range(25):
    run.log({"loss": 1 / (step + 1), "whole": step, "nest": {"x": step, "y": {"z": math.nan}},
             "inf": math.inf, "s": f"str{step}", "b": step % 2 == 0, "lst": [1, 2, step],
             "a.b": 1, "c/d": 2, "none": None})
run.log({"late": 7}, step=1000, commit=True)
run.log({"h": wandb.Histogram([1, 2, 3]), "t": wandb.Table(columns=["a"], data=[[1], [2]]),
         "html": wandb.Html("<b>x</b>")})
run.summary["best"] = 0.5
run.finish()
tell(id=run.id)
"""


@pytest.fixture(scope="module", params=["parquet", "json", "mixed"], autouse=True)
def history_mode(request: pytest.FixtureRequest) -> str:
    """Each way of handing out histories must read the same."""
    return str(request.param)


@pytest.fixture(scope="module")
def sdk_in_mode(history_mode: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from aiowandb.local import Store, create_app, serve_in_thread

    folder = tmp_path_factory.mktemp("sdk")
    with Store.open(folder / "data") as store:
        app = create_app(store, history=history_mode)  # type: ignore[arg-type]
        with serve_in_thread(app) as url:
            yield Sdk(url, store, folder)


@pytest.fixture(scope="module")
def logged(sdk_in_mode: Sdk) -> tuple[Sdk, str]:
    return sdk_in_mode, sdk_in_mode.run(LOG)["id"]


def test_attributes_config_and_summary_come_back(logged: tuple[Sdk, str]) -> None:
    sdk, run_id = logged
    told = sdk.run(f"""
    run = wandb.Api().run("local/values/{run_id}")
    tell(name=run.name, state=run.state, tags=run.tags, notes=run.notes, group=run.group,
         job=run.job_type, config=run.config, user=run.user.username, last=run.lastHistoryStep,
         loss=run.summary["loss"], nan=math.isnan(run.summary["nest"]["y"]["z"]),
         inf=run.summary["inf"] == math.inf, best=run.summary["best"], step=run.summary["_step"],
         metadata=run.metadata["program"] is not None)
    """)
    assert told == {
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


def test_a_scan_gives_every_row(logged: tuple[Sdk, str], history_mode: str) -> None:
    # The SDK gives rows twice where file and live rows meet in one page, so in `mixed` mode a
    # page ends there.
    sdk, run_id = logged
    page_size = 13 if history_mode == "mixed" else 10
    told = sdk.run(f"""
    run = wandb.Api().run("local/values/{run_id}")
    rows = list(run.scan_history(page_size={page_size}))
    with_keys = list(run.scan_history(keys=["loss", "nest.x"], page_size={page_size}))
    part = list(run.scan_history(min_step=5, max_step=8))
    tell(steps=[row["_step"] for row in rows], losses=[row.get("loss") for row in rows],
         strings=[row.get("s") for row in rows][:3], inf=rows[3]["inf"] == math.inf,
         keys=[[row.get("loss"), row.get("nest.x")] for row in with_keys],
         part=[row["_step"] for row in part])
    """)
    assert told["steps"] == [*range(25), 1000, 1001]
    assert told["losses"][:25] == [1 / (step + 1) for step in range(25)]
    assert told["strings"] == ["str0", "str1", "str2"]
    assert told["inf"] is True
    pairs = [pair for pair in told["keys"] if pair[0] is not None]
    assert pairs == [[1 / (step + 1), step] for step in range(25)]
    assert told["part"] == [5, 6, 7]


def test_sampled_history_and_events(logged: tuple[Sdk, str]) -> None:
    sdk, run_id = logged
    told = sdk.run(f"""
    run = wandb.Api().run("local/values/{run_id}")
    some = run.history(samples=4, pandas=False)
    keyed = run.history(keys=["loss", "nest.y.z"], samples=3, pandas=False)
    whole = run.history(keys=["whole"], pandas=False)
    tell(some=[row["_step"] for row in some], keyed=[row["_step"] for row in keyed],
         nan=str(keyed[0]["nest.y.z"]), whole=[row["whole"] for row in whole],
         nested=some[0]["nest"]["x"], events=len(run.history(stream="system", pandas=False)))
    """)
    assert told["some"][0] == 0
    assert told["some"][-1] == 1001
    assert len(told["some"]) == 4
    assert told["keyed"] == [0, 12, 24]
    assert told["nan"].lower() == "nan"
    assert told["whole"] == list(range(25))
    assert told["nested"] == 0
    assert told["events"] >= 1


def test_media_are_files_and_objects_in_the_history(logged: tuple[Sdk, str]) -> None:
    sdk, run_id = logged
    project = sdk.store.projects.get("local", "values")
    assert project is not None
    run = sdk.store.runs.get(project, run_id)
    assert run is not None
    row = json.loads(sdk.store.history.tail(run, "history") or "")
    assert row["h"]["_type"] == "histogram"
    assert row["t"]["_type"] == "table-file"
    assert row["html"]["_type"] == "html-file"
    for key in ("t", "html"):
        assert sdk.store.files.get(run, row[key]["path"]) is not None
    kinds = json.loads(sdk.store.history.keys(run.id))["keys"]
    assert kinds["h"]["typeCounts"] == [{"type": "histogram", "count": 1}]
    assert math.isclose(kinds["loss"]["previousValue"], 1 / 25)


class TestOtherLives:
    """Runs that do not simply start and finish."""

    @pytest.fixture(autouse=True)
    def _once(self, history_mode: str) -> None:
        if history_mode != "parquet":
            pytest.skip("reading is what differs between the modes")

    def read(self, sdk: Sdk, run_id: str, project: str = "lives") -> dict[str, Any]:
        return sdk.run(f"""
        run = wandb.Api().run("local/{project}/{run_id}")
        tell(state=run.state, config=run.config, summary=dict(run.summary._json_dict),
             steps=[row["_step"] for row in run.scan_history()],
             x=[row.get("x") for row in run.scan_history()])
        """)

    @pytest.mark.parametrize("mode", ["must", "allow", "auto"])
    def test_a_resumed_run_goes_on(self, sdk_in_mode: Sdk, mode: str) -> None:
        script = """
        run = wandb.init(project="lives", id=os.environ["ID"], resume=os.environ.get("MODE"),
                         config={"a": 1} if "MODE" not in os.environ else {"b": 2})
        for x in range(3):
            run.log({"x": x})
        run.finish()
        """
        sdk_in_mode.run(script, ID=f"resumed-{mode}")
        sdk_in_mode.run(script, ID=f"resumed-{mode}", MODE=mode)
        read = self.read(sdk_in_mode, f"resumed-{mode}")
        assert read["state"] == "finished"
        assert read["steps"] == [0, 1, 2, 3, 4, 5]
        assert read["x"] == [0, 1, 2, 0, 1, 2]
        assert read["config"] == {"a": 1, "b": 2}

    def test_resume_must_and_never_refuse(self, sdk_in_mode: Sdk) -> None:
        told = sdk_in_mode.run("""
        wandb.init(project="lives", id="there").finish()
        refusals = []
        for id, mode in (("not-there", "must"), ("there", "never")):
            try:
                wandb.init(project="lives", id=id, resume=mode)
            except Exception as error:
                refusals.append(type(error).__name__)
        tell(refusals=refusals)
        """)
        assert told["refusals"] == ["UsageError", "UsageError"]

    def test_an_exit_code_makes_it_failed(self, sdk_in_mode: Sdk) -> None:
        told = sdk_in_mode.run("""
        run = wandb.init(project="lives"); run.log({"x": 1}); run.finish(exit_code=1)
        tell(id=run.id)
        """)
        assert self.read(sdk_in_mode, told["id"])["state"] == "failed"

    def test_an_exception_makes_it_failed(self, sdk_in_mode: Sdk) -> None:
        told = sdk_in_mode.run(
            'run = wandb.init(project="lives"); run.log({"x": 1}); tell(id=run.id); 1 / 0',
            exit_code=1,
        )
        read = self.read(sdk_in_mode, told["id"])
        assert read["state"] == "failed"
        assert read["x"] == [1]

    def test_a_killed_process_leaves_what_it_sent(self, sdk_in_mode: Sdk) -> None:
        told = sdk_in_mode.run(
            """
            run = wandb.init(project="lives")
            run.log({"x": 1})
            tell(id=run.id)
            sys.stdout.flush()
            os.kill(os.getpid(), 9)
            """,
            exit_code=-signal.SIGKILL,
        )
        project = sdk_in_mode.store.projects.get("local", "lives")
        assert project is not None
        run = sdk_in_mode.store.runs.get(project, told["id"])
        assert run is not None
        assert run.state in ("running", "failed", "crashed")

    def test_an_offline_run_can_be_synced(self, sdk_in_mode: Sdk) -> None:
        told = sdk_in_mode.run(
            """
            run = wandb.init(project="lives", config={"a": 1})
            for x in range(10): run.log({"x": x})
            folder = os.path.dirname(run.dir)
            run.finish()
            tell(id=run.id, folder=folder)
            """,
            WANDB_MODE="offline",
        )
        sdk_in_mode.command("sync", told["folder"])
        read = self.read(sdk_in_mode, told["id"])
        assert read["state"] == "finished"
        assert read["x"] == list(range(10))
        assert read["config"] == {"a": 1}

    def test_define_metric_shapes_the_summary(self, sdk_in_mode: Sdk) -> None:
        told = sdk_in_mode.run("""
        run = wandb.init(project="lives")
        run.define_metric("x", summary="min")
        for x in (3, 1, 2): run.log({"x": x})
        run.finish()
        tell(id=run.id)
        """)
        assert self.read(sdk_in_mode, told["id"])["summary"]["x"] == {"min": 1}

    def test_a_rewound_run_forgets(self, sdk_in_mode: Sdk) -> None:
        told = sdk_in_mode.run("""
        run = wandb.init(project="lives")
        for x in range(10): run.log({"x": x})
        run.finish()
        run = wandb.init(project="lives", resume_from=f"{run.id}?_step=4")
        run.log({"x": 100})
        run.finish()
        tell(id=run.id)
        """)
        read = self.read(sdk_in_mode, told["id"])
        assert read["x"] == [0, 1, 2, 3, 4, 100]
        assert read["steps"] == [0, 1, 2, 3, 4, 5]

    def test_a_stopped_run_is_interrupted(self, sdk_in_mode: Sdk) -> None:
        process = sdk_in_mode.start("""
        import time
        run = wandb.init(project="lives", id="stopped")
        run.log({"x": 1})
        wandb.Api().run("local/lives/stopped").stop()
        try:
            for second in range(90):
                time.sleep(1)
                run.log({"x": second})
            tell(interrupted=False)
        except KeyboardInterrupt:
            tell(interrupted=True)
        """)
        assert sdk_in_mode.told(process)["interrupted"] is True

    def test_many_processes_write_to_one_project(self, sdk_in_mode: Sdk) -> None:
        script = """
        run = wandb.init(project="many", config={"n": int(os.environ["N"])})
        for x in range(50): run.log({"x": x * int(os.environ["N"])})
        run.finish()
        """
        processes = [sdk_in_mode.start(script, N=str(number)) for number in range(6)]
        for process in processes:
            sdk_in_mode.told(process)
        told = sdk_in_mode.run("""
        runs = wandb.Api().runs("local/many", order="+config.n.value")
        tell(count=len(runs), n=[run.config["n"] for run in runs],
             last=[[row["x"] for row in run.scan_history()][-1] for run in runs])
        """)
        assert told == {"count": 6, "n": [*range(6)], "last": [49 * n for n in range(6)]}
