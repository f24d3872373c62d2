"""What the table of runs says of each run, compared with W&B: its names and what failed. Blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.export.folders.base import Folder
from aiowandb.export.names import RUN_KINDS
from aiowandb.export.parquet import open_parquet
from aiowandb.export.runs_table import EXPORTED, RUN_ID
from aiowandb.wire.record import RunRecord

# What people change of runs that have ended.
_NAMED = ("name", "tags", "group", "job_type", "notes")
_RUNS_AT_ONCE = 1024

Facts = Mapping[str, Any]


class RunsAsListed:
    """The rows of all runs. Only digests are kept in memory, and what failed."""

    def __init__(self, folder: Folder, name: str | None) -> None:
        self._folder = folder
        self._name = name
        self._digests: dict[str, bytes] = {}
        self._failed: dict[str, tuple[str, ...]] = {}
        try:
            for run, facts, failed in self._rows():
                self._digests[run] = _digest(facts)
                if failed:
                    self._failed[run] = failed
        except (pa.ArrowException, OSError, KeyError):
            self._name = None  # reported as a file that has changed

    def differences(self, record: RunRecord) -> list[str]:
        """What is not in the export, or differs at W&B."""
        failed = self._failed.get(record.id, ())
        found = [f"{kind}: the export could not read all of it." for kind in failed]
        here = self._digests.get(record.id)
        there = {name: getattr(record, name) for name in _NAMED}
        if here is None or here == _digest(there):
            return found
        known = next((facts for _, facts, _ in self._rows(record.id)), {})
        unlike = [name for name in known if _plain(known[name]) != _plain(there[name])]
        if unlike:
            found.append(f"runs: {', '.join(unlike)} differ at W&B.")
        return found

    def _rows(self, run: str | None = None) -> Iterator[tuple[str, Facts, tuple[str, ...]]]:
        if self._name is None:
            return
        with open_parquet(self._folder, self._name) as file:
            there = set(file.schema_arrow.names)
            # Earlier versions did not write what failed.
            failing = [kind for kind in RUN_KINDS if f"{EXPORTED}{kind}" in there]
            columns = [RUN_ID, *_NAMED, *(f"{EXPORTED}{kind}" for kind in failing)]
            for batch in file.iter_batches(_RUNS_AT_ONCE, columns=columns):
                if run is not None:
                    batch = batch.filter(pc.equal(batch.column(RUN_ID), pa.scalar(run)))
                for row in batch.to_pylist():
                    failed = tuple(kind for kind in failing if row[f"{EXPORTED}{kind}"] == "failed")
                    yield str(row[RUN_ID]), {name: row[name] for name in _NAMED}, failed


def _plain(value: Any) -> Any:
    """The value, so that it is equal to what means the same."""
    return (sorted(value) if isinstance(value, list) else value) or None


def _digest(facts: Facts) -> bytes:
    text = msgspec.json.encode([_plain(facts[name]) for name in _NAMED])
    return blake2b(text, digest_size=16).digest()
