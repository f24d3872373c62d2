"""Lists of runs and what can be changed in them, as the official `wandb.Api` does it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sdk.conftest import Sdk

pytestmark = [pytest.mark.sdk, pytest.mark.slow]


@pytest.fixture(scope="module")
def listed(sdk: Sdk) -> Sdk:
    """A project of five runs."""
    sdk.run("""
    for i in range(5):
        with wandb.init(project="list", config={"i": i, "net": {"depth": i % 2}},
                        group=f"g{i % 2}", tags=["all", f"t{i}"], name=f"run-{i}") as run:
            run.log({"loss": 10 - i, "v/acc": i})
    """)
    return sdk


FILTERS: dict[str, tuple[str, list[int]]] = {
    "none": ("{}", [0, 1, 2, 3, 4]),
    "config": ('{"config.i": {"$gt": 2}}', [3, 4]),
    "nested": ('{"config.net.depth": 1}', [1, 3]),
    "value": ('{"config.net.value.depth": 1}', [1, 3]),
    "tag": ('{"tags": "t2"}', [2]),
    "tags": ('{"tags": {"$in": ["t1", "t3"]}, "state": "finished"}', [1, 3]),
    "group": ('{"group": "g1"}', [1, 3]),
    "summary": ('{"summary_metrics.loss": {"$lte": 7}}', [3, 4]),
    "slash": ('{"summary_metrics.v/acc": 4}', [4]),
    "or": ('{"$or": [{"config.i": 0}, {"config.i": 4}]}', [0, 4]),
    "nin": ('{"state": {"$nin": ["finished"]}}', []),
    "regex": ('{"display_name": {"$regex": "^run-[12]$"}}', [1, 2]),
    "user": ('{"username": "local", "jobType": None}', [0, 1, 2, 3, 4]),
}


def test_filters_select(listed: Sdk) -> None:
    reported = listed.run(f"""
    filters = {{name: eval(text) for name, (text, _) in {FILTERS!r}.items()}}
    report(**{{name: [run.config["i"] for run in Api().runs("local/list", filters=selected)]
           for name, selected in filters.items()}})
    """)
    assert reported == {name: wanted for name, (_, wanted) in FILTERS.items()}


def test_orders_pages_and_slices(listed: Sdk) -> None:
    reported = listed.run("""
    def numbers(**how):
        return [run.config["i"] for run in Api().runs("local/list", **how)]
    runs = Api().runs("local/list", per_page=2)
    frame = Api().runs("local/list").histories(samples=5, format="default")
    report(falling=numbers(order="-summary_metrics.loss"),
         rising=numbers(order="+summary_metrics.loss"),
         by_config=numbers(order="-config.i.value", per_page=2),
         newest=numbers(order="-created_at"),
         length=len(runs), slice=[run.config["i"] for run in runs[1:4]], rows=len(frame))
    """)
    assert sorted(reported.pop("newest"), reverse=True) == [4, 3, 2, 1, 0]
    assert reported == {
        "falling": [0, 1, 2, 3, 4],
        "rising": [4, 3, 2, 1, 0],
        "by_config": [4, 3, 2, 1, 0],
        "length": 5,
        "slice": [1, 2, 3],
        "rows": 5,
    }


def test_missing_objects_are_reported_as_the_sdk_expects(listed: Sdk) -> None:
    reported = listed.run("""
    def refusal(ask):
        try:
            ask()
        except Exception as error:
            return [type(error).__name__, str(error)]
    api = Api()
    report(run=refusal(lambda: api.run("local/list/missing")),
         project=refusal(lambda: len(api.runs("local/missing"))),
         filter=refusal(lambda: len(api.runs("local/list", filters={"summary.x": 1}))),
         key=refusal(lambda: wandb.Api(api_key="0" * 40)))
    """)
    assert reported["run"] == [
        "CommError",
        "Could not find run <Run local/list/missing (not found)>",
    ]
    assert reported["project"] == ["ValueError", "Could not find project missing"]
    assert reported["filter"][0] == "WandbApiFailedError"
    assert "summary_metrics" in reported["filter"][1]
    assert reported["key"][0] == "AuthenticationError"


def test_a_run_is_changed_and_deleted(sdk: Sdk) -> None:
    reported = sdk.run("""
    with wandb.init(project="change", config={"a": 1, "b": {"c": 2}}) as run:
        run.log({"x": 1, "y": 2})
    path = f"local/change/{run.id}"
    run = Api().run(path)
    telemetry = run.rawconfig["_wandb"]
    run.config["a"] = "new"
    run.tags.append("t")
    run.name, run.notes, run.group = "n", "o", "g"
    run.summary["z"] = {"deep": 1}
    del run.summary["x"]
    run.update()
    run = Api().run(path)
    facts = dict(config=run.config, tags=run.tags, name=run.name, notes=run.notes, group=run.group,
                 summary={k: v for k, v in run.summary._json_dict.items() if k[0] != "_"},
                 telemetry=run.rawconfig["_wandb"] == telemetry)
    run.delete()
    left = [run.id for run in Api().runs("local/change")]
    made = Api().create_run(project="change", run_id="made")
    made.update_state("failed")
    report(**facts, left=left, made=Api().run("local/change/made").state)
    """)
    assert reported == {
        "config": {"a": "new", "b": {"c": 2}},
        "tags": ["t"],
        "name": "n",
        "notes": "o",
        "group": "g",
        "summary": {"y": 2, "z": {"deep": 1}},
        "telemetry": True,
        "left": [],
        "made": "failed",
    }


def test_projects_users_and_teams(sdk: Sdk) -> None:
    reported: dict[str, Any] = sdk.run("""
    api = Api()
    api.create_project("new", "local")
    key = api.viewer.generate_api_key("a second one")
    team = api.create_team("crew")
    api.create_user("ann@example.com")
    team.invite("ann@example.com")
    api.project("new", "local")
    report(projects="new" in {project.name for project in api.projects("local")},
         viewer=[api.viewer.username, api.default_entity], length=len(key),
         same=Api(api_key=key).viewer.username, teams="crew" in Api().viewer.teams,
         members=[member.username for member in Api().team("crew").members],
         project_id=bool(api.project("new", "local").id))
    """)
    assert reported == {
        "projects": True,
        "viewer": ["local", "local"],
        "length": 40,
        "same": "local",
        "teams": True,
        "members": ["local", "ann"],
        "project_id": True,
    }


def test_metadata_alerts_and_console(sdk: Sdk) -> None:
    reported = sdk.run("""
    with wandb.init(project="talk", settings=wandb.Settings(console="wrap")) as run:
        print("first line")
        print("on stderr", file=sys.stderr)
        run.alert("title", "text", level=wandb.AlertLevel.WARN)
    run = Api().run(f"local/talk/{run.id}")
    lines = list(run.console_logs())
    report(program=run.metadata["executable"] == sys.executable, system=len(run.history(
            stream="system", pandas=False)) > 0, lines=[line.content for line in lines],
         levels=[line.level for line in lines])
    """)
    assert reported["program"]
    assert reported["system"]
    assert reported["lines"] == ["first line", "on stderr"]
    assert reported["levels"][1] == "error"
    project = sdk.store.projects.get("local", "talk")
    assert project is not None
    (run,) = sdk.store.runs.page(project).items
    assert [alert.title for alert in sdk.store.alerts.of_run(run)] == ["title"]
