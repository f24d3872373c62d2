"""A project of the real SDK, copied to another server: the official client reads the same there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiowandb import Api
from tests.sdk.conftest import Sdk, served

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

WRITE = """
import numpy as np

def init(**facts):
    settings = wandb.Settings(x_file_stream_transmit_interval=0.2)
    return wandb.init(project="varied", settings=settings, **facts)

with init(
    id="rich", name="A rich run", notes="two\\nlines", tags=["b", "a"], group="g",
    job_type="train", config={"lr": 0.1, "net": {"depth": 3, "dims": [1, 2]}, "none": None},
) as run:
    run.define_metric("loss", summary="min")
    run.define_metric("epoch")
    run.define_metric("val/*", step_metric="epoch")
    for n in range(30):
        row = {"loss": 1 / (n + 1), "nest": {"x": n, "y": {"z": float("nan")}}, "word": f"w{n}"}
        row |= {"inf": float("inf"), "low": float("-inf"), "flag": n % 2 == 0, "dot.key": n}
        row |= {"val/acc": n / 7, "epoch": n // 3, "list": [n, 2.5]}
        run.log(row)
    run.log({"image": wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8), caption="black")})
    run.log({"hist": wandb.Histogram([1, 2, 3])})
    run.log({"table": wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]])})
    run.log({"late": 1}, step=100)
    print("said on stdout")
    print("said on stderr", file=sys.stderr)
    pathlib.Path("saved").mkdir()
    pathlib.Path("saved/weights.bin").write_bytes(bytes(range(256)) * 9000)
    run.save("saved/weights.bin")
    for version in range(3):
        artifact = wandb.Artifact("weights", type="model", description=f"number {version}",
                                  metadata={"version": version, "nan": float("nan")})
        pathlib.Path("saved/w").write_text(f"weights {version}")
        artifact.add_file("saved/w", name="deep/w.txt")
        artifact.add_reference("s3://bucket/elsewhere", name="far", checksum=False)
        run.log_artifact(artifact, aliases=["best"] if version == 1 else [])
        artifact.wait()
    run.summary["chosen"] = {"by": "hand", "nan": float("nan")}
with init(id="reader") as run:
    run.use_artifact("weights:v1")
    run.log({"x": 1})
with init(id="rich", resume="must") as run:
    run.log({"resumed": 1})
try:
    with init(id="broken") as run:
        run.log({"x": 1})
        raise ValueError("broken")
except ValueError:
    pass
with init(id="empty") as run:
    pass
"""
READ = """
ATTRIBUTES = ("id name display_name state tags group job_type notes commit rawconfig config"
              " system_metrics lastHistoryStep username sweep_name created_at").split()
api, found = wandb.Api(), {}
for run in api.runs(os.environ["READ"], order="+created_at"):
    run = api.run("/".join(run.path))
    facts = {name: getattr(run, name) for name in ATTRIBUTES}
    for config in (facts["rawconfig"], facts["config"]):
        config.pop("_aiowandb", None)
    facts["summary"] = dict(run.summary._json_dict)
    facts["rows"] = list(run.scan_history())
    facts["system"] = run.history(samples=10000, stream="system", pandas=False)
    facts["sample"] = run.history(samples=7, pandas=False)
    facts["keys"] = run.history(samples=9, keys=["loss", "nest.x"], pandas=False)
    facts["files"] = sorted((file.name, file.size, file.md5) for file in run.files())
    facts["console"] = [(line.content, line.level, str(line.timestamp))
                        for line in run.console_logs()]
    facts["metadata"] = run.metadata
    facts["logged"] = {
        artifact.name: [artifact.type, artifact.version, sorted(artifact.aliases), artifact.digest,
                        artifact.description, artifact.metadata, artifact.size,
                        sorted((name, entry.digest, entry.size, entry.ref, entry.extra)
                               for name, entry in artifact.manifest.entries.items())]
        for artifact in run.logged_artifacts()}
    facts["used"] = sorted(artifact.name for artifact in run.used_artifacts())
    for artifact in run.logged_artifacts():
        if artifact.type == "model":
            file = artifact.get_entry("deep/w.txt").download(f"down/{artifact.name}")
            facts[artifact.name] = pathlib.Path(file).read_text()
            facts[f"{artifact.name} used by"] = [user.id for user in artifact.used_by()]
            facts[f"{artifact.name} logged by"] = artifact.logged_by().id
    found[run.id] = facts
report(runs=json.dumps(found, default=str, sort_keys=True))
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    with served(tmp_path_factory.mktemp("other")) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def written(sdk: Sdk) -> str:
    sdk.run(WRITE)
    return "local/varied"


def read(sdk: Sdk, project: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sdk.run(READ, READ=project)["runs"])
    return found


def test_the_official_client_reads_the_same_of_a_copy(
    sdk: Sdk, other: Sdk, written: str, tmp_path: Path
) -> None:
    with (
        Api(sdk.store.local_key, base_url=sdk.url) as source,
        Api(other.store.local_key, base_url=other.url) as target,
    ):
        report = source.runs(written).copy_to("local/copied", api=target, verify=True)
    assert (report.failed, report.differences) == ([], [])
    assert report.carried["artifacts"] == 4
    originals, copies = read(sdk, written), read(other, "local/copied")
    assert set(copies) == set(originals) == {"rich", "reader", "broken", "empty"}
    for name, original in originals.items():
        for fact, value in original.items():
            assert copies[name][fact] == value, (name, fact)


def test_the_official_client_reads_the_same_of_a_mirror(
    sdk: Sdk, written: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "aiowandb", "mirror", written, str(tmp_path / "data")]
    for _ in range(2):  # brought up to date, it is still the same
        environment = sdk.environment() | {"WANDB_SILENT": "false"}
        done = subprocess.run(
            [*command, "--verify", "--json"], env=environment, capture_output=True, check=True
        )
    finished = json.loads(done.stdout.splitlines()[-1])
    assert (finished["counts"], finished["differences"]) == ({"unchanged": 4}, [])
    originals = read(sdk, written)
    with served(tmp_path) as mirrored:
        copies = read(mirrored, written)
    assert set(copies) == set(originals)
    for name, original in originals.items():
        for fact, value in original.items():
            assert copies[name][fact] == value, (name, fact)


def test_the_official_client_reads_the_same_of_a_restored_export(
    sdk: Sdk, other: Sdk, written: str, tmp_path: Path
) -> None:
    with (
        Api(sdk.store.local_key, base_url=sdk.url) as source,
        Api(other.store.local_key, base_url=other.url) as target,
    ):
        what = ["runs", "history", "system", "logs", "files", "artifacts"]
        source.runs(written).export(tmp_path / "backup", what=what)  # type: ignore[arg-type]
        report = target.restore(tmp_path / "backup", "local/restored")
        assert report.failed == []
        again = target.restore(tmp_path / "backup", "local/restored")
        assert (again.counts, again.carried) == ({"unchanged": 4}, {})
    originals, copies = read(sdk, written), read(other, "local/restored")
    assert set(copies) == set(originals)
    for name, original in originals.items():
        for fact, value in original.items():
            assert copies[name][fact] == value, (name, fact)
