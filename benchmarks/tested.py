"""Writes the counts of tests into `docs/testing.md`.

    python -m benchmarks.tested

A case is a test with one set of its parameters. Slow ones take minutes and run in CI; Hypothesis
draws many examples in one case.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "testing.md"
BEGIN, END = "<!-- counts -->\n", "<!-- end of counts -->\n"
# Each folder of tests, and what they try.
TRIED = {
    "api": "what users call, on a real server in the process",
    "chaos": "exports under faults, kills, cancellation and a project that changes",
    "cli": "every command: options, errors, odd streams and arguments, Ctrl-C",
    "concurrency": "tasks, threads, cancellation, on asyncio and trio",
    "config": "settings, keys, netrc",
    "docs": "pages, examples, names in public",
    "engines": "Spark, Sail, Daft, dlt, Dask, Ray, Beam, Iceberg",
    "export": "formats, repeated exports, object stores, full disks",
    "files": "downloads, names of files",
    "history": "rows of runs, in every form that W&B returns",
    "ingest": "copies, restores, imports",
    "net": "retries, limits, connections, TLS, proxies",
    "readplan": "plans of reads in other processes",
    "sdk": "the real `wandb` beside ours, on one server",
    "security": "malicious servers, clients, neighbours and folders; secrets; costs; fuzzing",
    "server": "the embedded W&B",
    "sync": "the client without `await`",
    "verification": "exports that are compared with their manifests and with W&B",
    "wire": "requests and responses",
}


def cases(*marks: str) -> Counter[str]:
    """The number of collected cases in each folder."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", *marks, "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    places = [line.split("::")[0].split("/") for line in done.stdout.splitlines() if "::" in line]
    return Counter(place[1] for place in places if len(place) > 2)


def table() -> str:
    """The table of the page."""
    quick, every = cases(), cases("-m", "")
    lines = ["| folder | tried | cases | of them slow |", "|---|---|---|---|"]
    for folder, tried in TRIED.items():
        slow = every[folder] - quick[folder]
        lines.append(f"| `tests/{folder}` | {tried} | {every[folder]:,} | {slow:,} |")
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
