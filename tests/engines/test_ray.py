"""Ray for real, two nodes: a worker that is killed, Daft on it, and what its logs show."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb import Api, ReadPart

from .conftest import PATH, Project, rows

pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("default")]

# Daft chooses a runner once a process.
DAFT = """
import sys, daft, pyarrow.parquet as pq, ray
import aiowandb.engines.daft
address, path, out = sys.argv[1:]
ray.init(address, logging_level="ERROR")
assert len(ray.nodes()) == 2
daft.set_runner_ray(address)
frame = aiowandb.engines.daft.read(path, parts=4)
pq.write_table(frame.to_arrow(), out)
assert frame.where(daft.col("run_id") == "plain").select("_step").limit(7).count_rows() == 7
frame.explain(show_all=True)
"""


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_API_KEY", raising=False)
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1)
        ray.init(cluster.address, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def logs(cluster: Any) -> bytes:
    """All that is in Ray's folder of this session."""
    folder = Path(cluster.head_node.get_session_dir_path())
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_worker_that_is_killed_changes_nothing(
    ray_cluster: Any, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def read_part(part: ReadPart) -> pa.Table:
        return part.reader().read_all()

    with Api(project.world.key, base_url=project.url) as api:
        plan = api.runs(PATH).plan()
    expected = project.export("all")
    monkeypatch.delenv("WANDB_API_KEY")
    project.hold_up()
    task = ray.remote(read_part)
    tasks = [task.remote(part) for part in plan.parts(4)]
    found: list[pa.Table] = []
    waiting = threading.Thread(target=lambda: found.extend(ray.get(tasks)))
    waiting.start()
    assert project.reached.wait(120)
    worker = next(
        process
        for process in psutil.Process().children(recursive=True)
        if "read_part" in " ".join(process.cmdline())  # Ray names workers for what they do
    )
    worker.send_signal(signal.SIGKILL)
    worker.wait(60)
    project.go_on()
    waiting.join(240)
    assert rows(pa.concat_tables(found)) == rows(expected)
    assert project.secrets_in(logs(ray_cluster) + repr(tasks).encode()) == []


def test_daft_reads_on_two_workers_of_ray(
    ray_cluster: Any, project: Project, tmp_path: Path
) -> None:
    out = tmp_path / "rows.parquet"
    done = subprocess.run(
        [sys.executable, "-c", DAFT, ray_cluster.address, PATH, out],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert rows(pq.read_table(out)) == rows(project.export("all"))
    assert project.secrets_in(done.stdout + done.stderr) == []
    assert project.secrets_in(logs(ray_cluster)) == []
