"""Runs and artifacts that aiowandb has logged: the official client reads them as its own."""

from __future__ import annotations

import json
import math
from pathlib import Path

import anyio
import pytest

from aiowandb import AsyncApi
from tests.sdk.conftest import Sdk

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

READ = """
run = wandb.Api().run("local/logged/mine")
artifact = wandb.Api().artifact("local/logged/model:best")
folder = artifact.download("down")
same = wandb.Artifact("model", type="model")
same.add_dir("out")
report(
    name=run.name, state=run.state, config=run.config, tags=run.tags, summary=str(run.summary),
    rows=json.dumps(list(run.scan_history())), sample=len(run.history(samples=5, pandas=False)),
    version=artifact.version, kind=artifact.type, metadata=artifact.metadata,
    aliases=sorted(artifact.aliases), digest=artifact.digest, wanted=same.digest,
    files=sorted(str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob("*")
                 if path.is_file()),
    verified=artifact.verify("down") is None, logged_by=artifact.logged_by().id,
    logged=[each.name for each in run.logged_artifacts()],
)
with wandb.init(project="logged", id="user") as user:
    used = user.use_artifact("model:best")
    report(used=used.digest)
with wandb.init(project="logged", id="logs-it-again") as other:
    again = other.log_artifact(same)
    again.wait()
    report(again=again.version)
"""


def test_the_official_client_reads_what_was_logged(sdk: Sdk) -> None:
    out = sdk.folder / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "w.bin").write_bytes(bytes(range(256)) * 1000)
    (out / "notes.txt").write_text("notes")

    async def log() -> None:
        async with (
            AsyncApi(sdk.store.local_key, base_url=sdk.url) as api,
            api.start_run(
                "local/logged", run_id="mine", name="Mine", config={"lr": 0.1}, tags=["a"]
            ) as run,
        ):
            for step in range(20):
                await run.log({"loss": 1 / (step + 1), "nest": {"x": step}})
            await run.log({"odd": math.nan}, step=100)
            await run.log_artifact(
                "model", type="model", files=Path(out), aliases=["best"], metadata={"acc": 1}
            )

    anyio.run(log)
    found = sdk.run(READ)
    assert (found["name"], found["state"]) == ("Mine", "finished")
    assert (found["config"], found["tags"]) == ({"lr": 0.1}, ["a"])
    rows = json.loads(found["rows"])
    assert [row["_step"] for row in rows] == [*range(20), 100]
    assert [row["loss"] for row in rows[:20]] == [1 / (step + 1) for step in range(20)]
    assert (found["version"], found["kind"], found["metadata"]) == ("v0", "model", {"acc": 1})
    assert found["aliases"] == ["best", "latest"]
    assert found["files"] == ["deep/w.bin", "notes.txt"]
    assert found["verified"]
    assert found["logged_by"] == "mine"
    assert found["logged"] == ["model:v0"]
    # The same files are the same version for the official client, too.
    assert found["digest"] == found["wanted"] == found["used"]
    assert found["again"] == "v0"
