"""Verifying the folder of an export, beside a program that only reads its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.contenders.verifying import make_folder
from benchmarks.figures import Effort, Figure, Findings
from benchmarks.rounds import ROOT

_MB = 1e6
_RUNS = 2_000
_SMALL_FILES = 40
_LARGE_FILE = 4_800_000


class _Took(NamedTuple):
    wall: float
    cpu: float
    peak: float


def of_many_files(effort: Effort) -> Findings:
    """2,000 runs with 41 files each, 10 GB: cold files verified, and only read."""
    with TemporaryDirectory(prefix="aiowandb-verify-") as place:
        folder, small = Path(place, "full"), Path(place, "tenth")
        make_folder(folder, effort.of(_RUNS), _SMALL_FILES, _LARGE_FILE)
        # As many files, with a tenth of the bytes.
        make_folder(small, effort.of(_RUNS), _SMALL_FILES, _LARGE_FILE // 10)
        pairs = [
            (_run("verify", folder), _run("read", folder), _run("verify", small))
            for _ in range(effort.rounds)
        ]
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9
    figures = [
        Figure(
            "verify",
            "verified / only read from the disk, wall",
            [verified.wall / read.wall for verified, read, _ in pairs],
            at_most=2,
        ),
        Figure("verify", "CPU per GB, s", [v.cpu / size for v, _, _ in pairs], at_most=2),
        Figure(
            "verify",
            "peak memory, at 10x the bytes / at 1x",
            [verified.peak / tenth.peak for verified, _, tenth in pairs],
            at_most=1.15,
        ),
        Figure("verify", "peak memory, MB", [v.peak / _MB for v, _, _ in pairs], at_most=350),
    ]
    return Findings(figures)


def _run(job: str, folder: Path) -> _Took:
    """Do it in a process of its own, with no file in the cache of the system."""
    for path in folder.rglob("*"):
        if path.is_file():
            _evict(path)
    command = [sys.executable, "-m", "benchmarks.contenders.verifying", job, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return _Took(**json.loads(done.stdout))


def _evict(path: Path) -> None:
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
