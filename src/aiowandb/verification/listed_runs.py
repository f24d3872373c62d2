"""What the table of runs says of each run: its names, and what could not be exported. Blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.concurrency.threads import until_cancelled
from aiowandb.export.folders.base import Folder
from aiowandb.export.names import RUN_KINDS
from aiowandb.export.parquet import bounded_rows, open_parquet
from aiowandb.export.runs_table import EXPORTED, RUN_ID
from aiowandb.verification.contents import Contents
from aiowandb.wire.record import RunRecord

Facts = Mapping[str, Any]

# What may change of runs that have ended. Earlier versions did not write all of it.
_NAMED: Mapping[str, Callable[[RunRecord], object]] = {
    "name": lambda run: run.name,
    "state": lambda run: run.state,
    "tags": lambda run: run.tags,
    "group": lambda run: run.group,
    "job_type": lambda run: run.job_type,
    "notes": lambda run: run.notes,
    "description": lambda run: run.description,
    "sweep": lambda run: run.sweep_name,
    "commit": lambda run: run.commit,
    "user": lambda run: run.username,
    "created_at": lambda run: run.created_at,
}


class RunsAsListed:
    """The names of all runs, to be compared with W&B's. Only digests are kept in memory."""

    def __init__(self, folder: Folder, name: str | None) -> None:
        self._folder = folder
        self._name = name
        self._digests: dict[str, bytes] = {}
        self._columns: list[str] = []
        try:
            for run, facts in self._rows():
                self._digests[run] = _digest(facts)
        except (pa.ArrowException, OSError, KeyError):
            self._name = None  # reported as a file that has changed

    def differences(self, record: RunRecord) -> list[str]:
        """What differs at W&B."""
        here = self._digests.get(record.id)
        there = {name: _NAMED[name](record) for name in self._columns}
        if here is None or here == _digest(there):
            return []
        known = next((facts for _, facts in self._rows(record.id)), {})
        unlike = [name for name in known if _plain(known[name]) != _plain(there[name])]
        return [f"runs: {', '.join(unlike)} differ at W&B."] if unlike else []

    def _rows(self, run: str | None = None) -> Iterator[tuple[str, Facts]]:
        if self._name is None:
            return
        with open_parquet(self._folder, self._name) as file:
            self._columns = [name for name in _NAMED if name in file.schema_arrow.names]
        batches = bounded_rows(self._folder, self._name, [RUN_ID, *self._columns])
        for batch in until_cancelled(batches):
            if run is not None:
                batch = batch.filter(pc.equal(batch.column(RUN_ID), pa.scalar(run)))
            for row in batch.to_pylist():
                yield str(row[RUN_ID]), {name: row[name] for name in self._columns}


def failed_kinds(folder: Folder, contents: Contents) -> Mapping[str, Sequence[str]]:
    """What the export could not read all of, by the ids of runs.

    The journal has it. Earlier versions have it only in the table of runs, if at all.
    """
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for known, runs in contents.state.failed.items():
        for run in runs:
            found[run][known] = None
    with suppress(pa.ArrowException, OSError, KeyError):  # reported as a file that has changed
        for run, kind in _failed_in(folder, contents.runs_file):
            found[run][kind] = None
    return {run: list(kinds) for run, kinds in found.items()}


def _failed_in(folder: Folder, name: str | None) -> Iterator[tuple[str, str]]:
    if name is None:
        return
    with open_parquet(folder, name) as file:
        kinds = [kind for kind in RUN_KINDS if f"{EXPORTED}{kind}" in file.schema_arrow.names]
    columns = [RUN_ID, *(f"{EXPORTED}{kind}" for kind in kinds)]
    for batch in until_cancelled(bounded_rows(folder, name, columns)):
        for kind in kinds:
            is_failed = pc.equal(batch.column(f"{EXPORTED}{kind}"), pa.scalar("failed"))
            for run in batch.column(RUN_ID).filter(is_failed).to_pylist():
                yield str(run), kind


def _plain(value: Any) -> Any:
    """The value, so that it is equal to what means the same."""
    if isinstance(value, datetime):
        return value.timestamp()
    return (sorted(value) if isinstance(value, list) else value) or None


def _digest(facts: Facts) -> bytes:
    text = msgspec.json.encode([_plain(value) for value in facts.values()])
    return blake2b(text, digest_size=16).digest()
