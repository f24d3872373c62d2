"""A project copied from one server to another, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec
import orjson
import psutil

from aiowandb_server import RunChanges, Store
from benchmarks.contenders.clock import Cost, Job
from benchmarks.figures import Costs, Effort, Figure, Findings, ratios
from benchmarks.rounds import ROOT, Sample, Setting, Traffic
from benchmarks.written import Written

_KEYS = 20
_LINES_AT_ONCE = 5_000
_SERVE = """
import sys
from aiowandb_server import Store, create_app, serve_in_thread
with Store.open(sys.argv[1]) as store, serve_in_thread(create_app(store)) as url:
    print(url, store.local_key, flush=True)
    sys.stdin.read()
"""
_OURS, _SCRIPT, _POOL = "aiowandb", "wandb.init and log", "the same in 8 processes"
# The module and the job of each.
_JOBS = {
    _OURS: ("copying", "copy"),
    _SCRIPT: ("copy_script", "script"),
    _POOL: ("copy_script", "script_pooled"),
}
_WHAT: tuple[tuple[str, Literal["wall", "cpu"]], ...] = (("wall", "wall"), ("CPU", "cpu"))


def beside_the_script(effort: Effort) -> Findings:
    """200 runs x 5,000 rows x 20 keys, beside the official client in one process and in 8."""
    setting = Setting(effort.of(200), 5_000)
    samples = _race(setting, list(_JOBS), effort.rounds)
    figures = [
        Figure("copy", f"{what}, {name} / aiowandb", ratios(samples, cost, name, _OURS), limit)
        for name, limit in ((_SCRIPT, 20), (_POOL, None))
        for what, cost in _WHAT
    ]
    return Findings(figures, [Costs("copy", setting, samples)])


def ten_times_the_data(effort: Effort) -> Findings:
    """The memory of a copy of 40 runs and of 400."""
    peaks, costs = [], []
    for runs in (effort.of(40), 10 * effort.of(40)):
        setting = Setting(runs, 5_000)
        samples = _race(setting, [_OURS], effort.rounds)
        costs.append(Costs("copy-memory", setting, samples))
        peaks.append([sample.cost.peak_memory for sample in samples[_OURS]])
    growth = [high / low for low, high in zip(*peaks, strict=True)]
    figure = Figure("copy-memory", "peak memory of a copy, at 10x / at 1x", growth, at_most=1.25)
    return Findings([figure], costs)


def _race(setting: Setting, names: list[str], rounds: int) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    with TemporaryDirectory(prefix="aiowandb-bench-") as folder:
        _write_source(Path(folder, "source"), setting)
        for number in range(rounds):
            start = number % len(names)
            for name in (*names[start:], *names[:start]):
                home = Path(folder, f"{number}-{_JOBS[name][1]}")
                cost, servers = _copy(Path(folder, "source"), home, *_JOBS[name], setting)
                assert cost.rows == setting.runs * setting.rows, (name, cost)
                samples[name].append(Sample(cost, Written(), Traffic(0, 0, 0, 0, cpu=servers)))
    return samples


def _copy(source: Path, home: Path, module: str, job: str, setting: Setting) -> tuple[Cost, float]:
    with ExitStack() as stack:
        url, key, source_process = stack.enter_context(_served(source))
        target_url, target_key, target_process = stack.enter_context(_served(home / "target"))
        asked = msgspec.json.encode(Job(job, url, str(home), setting.runs)).decode()
        environment = {n: value for n, value in os.environ.items() if not n.startswith("WANDB_")}
        environment |= {"SOURCE_KEY": key, "TARGET_KEY": target_key, "TARGET_URL": target_url}
        environment |= {"PYTHONPATH": str(ROOT), "HOME": str(home), "WANDB_SILENT": "true"}
        environment |= {"WANDB_DIR": str(home), "WANDB_CACHE_DIR": str(home / "cache")}
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.contenders.{module}", asked],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
        )
        times = [each.cpu_times() for each in (source_process, target_process)]
    if done.returncode:
        raise RuntimeError(f"{job} failed:\n{done.stdout}\n{done.stderr}")
    cost = msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=Cost)
    return cost, sum(each.user + each.system for each in times)


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, str, psutil.Process]]:
    folder.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdin
        url, _, key = process.stdout.readline().strip().partition(" ")
        try:
            yield url, key, psutil.Process(process.pid)
        finally:
            process.stdin.close()


def _write_source(folder: Path, setting: Setting) -> None:
    with Store.open(folder) as store:
        project, _ = store.projects.ensure("local", "source")
        user = store.accounts.ensure_user("ada").id
        for number in range(setting.runs):
            config = orjson.dumps({"lr": {"value": number / 7}}).decode()
            changes = RunChanges(config=config, summary='{"metric_0":1}', tags=("a",), user_id=user)
            run, _ = store.runs.upsert(project, f"run{number}", changes)
            for first in range(0, setting.rows, _LINES_AT_ONCE):
                last = min(first + _LINES_AT_ONCE, setting.rows)
                store.history.append(run, [_line(step, number) for step in range(first, last)])
            store.finish(run, exit_code=0)


def _line(step: int, run: int) -> str:
    row = {"_step": step, "_timestamp": 1.75e9 + step, "_runtime": step * 0.1}
    row |= {f"metric_{key}": 1 / (step + key + run + 1.5) for key in range(_KEYS)}
    return orjson.dumps(row).decode()
