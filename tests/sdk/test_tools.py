"""The `wandb` command, and people who share a server with open access."""

from __future__ import annotations

import pytest

from tests.sdk.conftest import Sdk, served

pytestmark = [pytest.mark.sdk, pytest.mark.slow]


def test_wandb_verify_finds_nothing_but_the_missing_https(sdk: Sdk) -> None:
    said = sdk.command("verify", "--host", sdk.url)
    failed = [line.split("...")[0] for line in said.splitlines() if "❌" in line]
    assert failed == [
        "Checking requests to base url",
        "Checking requests made over signed URLs",
        "Checking CORs configuration of the bucket",
    ]


def test_an_offline_run_is_synced_with_its_artifacts(sdk: Sdk) -> None:
    found = sdk.run(
        """
        with wandb.init(project="offline", config={"a": 1}) as run:
            run.log({"x": 1, "t": wandb.Table(columns=["c"], data=[[1]])})
            artifact = Artifact("set", "dataset")
            with artifact.new_file("f") as file: file.write("text")
            run.log_artifact(artifact)
        report(folder=run.settings.sync_dir, id=run.id)
        """,
        WANDB_MODE="offline",
    )
    sdk.command("sync", found["folder"])
    reported = sdk.run(f"""
    run = Api().run("local/offline/{found["id"]}")
    report(state=run.state, x=[row["x"] for row in run.scan_history()], config=run.config,
         artifacts=sorted(a.type for a in run.logged_artifacts()))
    """)
    assert reported == {
        "state": "finished",
        "x": [1],
        "config": {"a": 1},
        "artifacts": ["dataset", "run_table"],
    }


def test_artifacts_from_the_command_line(sdk: Sdk) -> None:
    (sdk.folder / "put.txt").write_text("My Artifact")
    assert "clip/simple:v0" in sdk.command("artifact", "put", "put.txt", "-n", "clip/simple")
    assert "simple:v0" in sdk.command("artifact", "ls", "clip")
    sdk.command("artifact", "get", "clip/simple:v0", "--root", "got")
    assert (sdk.folder / "got" / "put.txt").read_text() == "My Artifact"


def test_with_open_access_a_key_is_a_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    ann, bob = "ann-" + "a" * 40, "bob-" + "b" * 40
    with served(tmp_path_factory.mktemp("open"), open_access=True) as sdk:
        reported = sdk.run(
            """
            with wandb.init(project="p") as run: run.log({"x": 1})
            viewer = Api().viewer
            report(entity=run.entity, viewer=[viewer.username, viewer.teams, viewer.admin],
                 key=viewer.username.startswith(viewer.api_keys[0]),
                 path=f"{run.entity}/p/{run.id}",
                 member=str(Api().team(viewer.username).members[0]))
            """,
            WANDB_API_KEY=ann,
        )
        path = reported.pop("path")
        assert reported == {
            "entity": ann,
            "viewer": [ann, [ann], False],
            "key": True,
            "member": f"<Member {ann} (USER)>",
        }
        seen = sdk.run(
            f"""
            try:
                Api().run("{path}")
                report(seen=True)
            except CommError:
                report(seen=False)
            """,
            WANDB_API_KEY=bob,
        )
        assert seen == {"seen": False}


def test_processes_in_shared_mode_write_one_run(sdk: Sdk) -> None:
    script = """
    number = os.environ["N"]
    settings = wandb.Settings(mode="shared", x_label=number, x_primary=number == "0")
    with wandb.init(project="shared", id="one", settings=settings) as run:
        for i in range(20):
            run.log({f"k{number}": i})
    """
    for process in [sdk.start(script, N=str(number)) for number in range(3)]:
        sdk.reported(process)
    reported = sdk.run("""
    run = Api().run("local/shared/one")
    rows = list(run.scan_history())
    report(rows={key: [row[key] for row in rows if row.get(key) is not None]
               for key in ("k0", "k1", "k2")},
         summary=[run.summary[key] for key in ("k0", "k1", "k2")])
    """)
    assert reported == {
        "rows": {f"k{number}": list(range(20)) for number in range(3)},
        "summary": [19, 19, 19],
    }
