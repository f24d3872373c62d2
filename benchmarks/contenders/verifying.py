"""Makes the folder of an export with many files, and verifies or only reads it."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from aiowandb.export.claim import JOURNAL
from aiowandb.export.folders.hashing import HashingFolder
from aiowandb.export.folders.local import LocalFolder
from aiowandb.export.journal import VERSION, Begun, ExportIdentity, Fetched, FetchedFile, Journal
from aiowandb.export.manifest import JOURNAL_COPY, digest_of, write_manifest
from aiowandb.export.options import ExportOptions
from aiowandb.export.stored import RunSnapshot
from aiowandb.sync import verify

_SMALL_BYTES = 5_000
_PIECE = 1 << 20
_THREADS = 4


def make_folder(place: Path, runs: int, small_files: int, large_bytes: int) -> None:
    """An export of files alone: of each run some small ones and a large one."""
    folder = HashingFolder(LocalFolder(place))
    with folder.lock(), closing(Journal(folder, JOURNAL)) as journal:
        identity = ExportIdentity("example.com", "me/many")
        journal.append(Begun(VERSION, identity, ExportOptions(what=("files",))))
        for number in range(runs):
            files = []
            for name, content in _contents(number, small_files, large_bytes):
                path = place / "files" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    file.write(content)
                folder.add(f"files/{name}")
                files.append(FetchedFile(name, len(content)))
            run = RunSnapshot(f"run-{number}", str(number), None, 0)
            journal.append(Fetched("files", run, tuple(files)), durable=False)
        copy = place / JOURNAL_COPY
        copy.write_bytes((place / JOURNAL).read_bytes())
        with copy.open("rb") as file:
            digests = {n: d for n, d in folder.digests.items() if d}
            digests[JOURNAL_COPY] = digest_of(file)
        write_manifest(folder, digests)
    os.sync()


def _contents(run: int, small_files: int, large_bytes: int) -> Iterator[tuple[str, bytes]]:
    seed = sha256(str(run).encode()).digest()
    for number in range(small_files):
        yield f"run-{run}/media/{number}.json", seed * (_SMALL_BYTES // len(seed))
    yield f"run-{run}/model.bin", seed * (large_bytes // len(seed))


def _read_all(folder: Path) -> None:
    def read(path: Path) -> None:
        with path.open("rb", buffering=0) as file:
            while file.read(_PIECE):
                pass

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(read, (path for path in folder.rglob("*") if path.is_file())))


def _main(job: str, folder: Path) -> None:
    began = time.perf_counter()
    if job == "read":
        _read_all(folder)
    else:
        found = verify(folder, offline=True)
        if not found.is_complete:
            raise SystemExit(str(found.problems[:3]))
    wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": used.ru_maxrss * 1024}))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
