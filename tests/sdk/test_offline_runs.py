"""Offline runs of the real SDK: imported, they are what `wandb sync` makes of the same folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aiowandb import Api
from tests.sdk.conftest import Sdk, served
from tests.sdk.test_copies import READ

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

WRITE = """
import numpy as np

with wandb.init(
    project="off", id="rich", mode="offline", name="A rich run", notes="two\\nlines",
    tags=["b", "a"], group="g", job_type="train",
    config={"lr": 0.1, "net": {"depth": 3, "dims": [1, 2]}, "none": None},
) as run:
    run.define_metric("loss", summary="min,max")
    run.define_metric("hid", hidden=True, step_metric="epoch", summary="none")
    run.define_metric("loss", summary="first", overwrite=True)
    run.define_metric("val/*", step_metric="epoch", step_sync=False)
    for n in range(300):
        row = {"loss": 1 / (n + 1), "nest": {"x": n, "y": {"z": float("nan")}}, "word": f"w{n}"}
        row |= {"inf": float("inf"), "low": float("-inf"), "flag": n % 2 == 0, "dot.key": n}
        row |= {"val/acc": n / 7, "epoch": n // 3, "list": [n, 2.5], "none": None, "hid": n}
        run.log(row)
    run.log({"image": wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8), caption="black")})
    run.log({"hist": wandb.Histogram([1, 2, 3])})
    run.log({"table": wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]])})
    run.log({"late": 1}, step=1000)
    for n in range(3):
        print(f"\\rprogress {n}", end="", flush=True)
    print()
    print("said on stderr", file=sys.stderr)
    pathlib.Path("saved").mkdir()
    pathlib.Path("saved/weights.bin").write_bytes(bytes(range(256)) * 9000)
    run.save("saved/weights.bin")
    for version in range(2):
        artifact = wandb.Artifact("weights", type="model", description=f"number {version}",
                                  metadata={"version": version})
        pathlib.Path("saved/w").write_text(f"weights {version}")
        artifact.add_file("saved/w", name="deep/w.txt")
        artifact.add_reference("s3://bucket/elsewhere", name="far", checksum=False)
        run.log_artifact(artifact, aliases=["best"] if version == 1 else [])
    run.config.update({"later": {"deep": [1, {"x": None}]}, "lr": 0.2}, allow_val_change=True)
    run.summary["chosen"] = {"by": "hand"}
    run.summary["gone"] = 1
    del run.summary["gone"]
try:
    with wandb.init(project="off", id="broken", mode="offline") as run:
        run.log({"x": 1})
        raise ValueError("broken")
except ValueError:
    pass
with wandb.init(project="off", id="empty", mode="offline") as run:
    pass
"""
TABLE = """
run = wandb.Api().run(os.environ["READ"])
table = next(a for a in run.logged_artifacts() if a.type == "run_table").get("table")
report(data=table.data, columns=table.columns)
"""


def read(sdk: Sdk, project: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sdk.run(READ, READ=project)["runs"])
    for facts in found.values():
        own = facts["rawconfig"]["_wandb"]
        own["e"] = list(own["e"].values())
        own["m"] = metrics(own["m"])
        own["t"].pop("3", None), own["t"].pop("12", None)
        facts["console"] = [[line, level] for line, level, _ in facts["console"]]
        facts["files"] = [file for file in facts["files"] if file[0] not in WRITTEN_ANEW]
        facts.pop("created_at")
        for kind in ("rows", "sample", "keys", "system"):
            facts[kind] = [dict(sorted(row.items())) for row in facts[kind]]
    return found


# These have the same content, in an order that is different each time.
WRITTEN_ANEW = {"config.yaml", "wandb-summary.json", "wandb-metadata.json", "output.log"}


def metrics(encoded: list[dict[str, Any]]) -> dict[str, Any]:
    """The definitions, which wandb writes in another order each time."""
    names = [str(entry.get("1", entry.get("2"))) for entry in encoded]
    return {
        name: entry | ({"5": names[entry["5"] - 1]} if "5" in entry else {})
        for name, entry in zip(names, encoded, strict=True)
    }


def test_offline_runs_are_imported_as_wandb_syncs_them(sdk: Sdk, tmp_path: Path) -> None:
    sdk.run(WRITE)
    with Api(sdk.store.local_key, base_url=sdk.url) as api:
        report = api.import_runs(sdk.folder / "wandb", "local/imported", verify=True)
        assert (report.failed, report.differences) == ([], [])
        assert report.counts == {"created": 3}
        again = api.import_runs(sdk.folder / "wandb", "local/imported")
        assert (again.counts, again.carried) == ({"unchanged": 3}, {})
    imported = read(sdk, "local/imported")
    # Tables are found under the ids that rows name them by.
    assert sdk.run(TABLE, READ="local/imported/rich")["data"] == [[1, "x"], [2, "y"]]
    # On a server of its own, as there is one artifact of such an id.
    with served(tmp_path) as other:
        for folder in sorted(sdk.folder.glob("wandb/offline-run-*")):
            other.command("sync", str(folder))
        synced = read(other, "local/off")
    assert set(imported) == set(synced) == {"rich", "broken", "empty"}
    for name, facts in synced.items():
        for fact, value in facts.items():
            assert imported[name][fact] == value, (name, fact)
