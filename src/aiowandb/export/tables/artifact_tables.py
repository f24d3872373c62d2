"""The tables in the artifacts that runs have logged: where they are, for the index of media.

Each logged table is in an artifact of its own, too; those are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Any

import anyio

from aiowandb.errors import CommError
from aiowandb.export.tables.table_files import is_table, table_name
from aiowandb.files.artifact_lists import RunArtifacts
from aiowandb.files.artifact_reader import ArtifactReader
from aiowandb.net import BatchSize, Session, ask_all
from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.artifact_record import ArtifactNode, ArtifactRecord
from aiowandb.wire.artifacts import ArtifactsByAlias, artifacts_of_runs
from aiowandb.wire.connection import Connection
from aiowandb.wire.history import alias
from aiowandb.wire.manifest import ArtifactFileRef, Manifest
from aiowandb.wire.runs import run_not_found

# The types of artifacts that W&B's client makes of logged tables.
_OF_LOGGED_TABLES = frozenset({"run_table", "wandb-run-incremental-table"})
_RUNS_AT_ONCE = 50

Row = dict[str, Any]


class ArtifactTables:
    """Lists the tables in the artifacts of runs, which are asked for in about this order."""

    def __init__(self, session: Session, refs: Collection[RunRef]) -> None:
        self._session = session
        self._reader = ArtifactReader(session)
        self._coming = iter(refs)
        self._size = BatchSize(25, _RUNS_AT_ONCE)
        self._listed: dict[RunRef, list[ArtifactRecord] | CommError] = {}
        self._lock = anyio.Lock()

    async def of(self, ref: RunRef) -> list[Row]:
        """The tables in the artifacts of a run, as rows of the index of media."""
        async with self._lock:
            while ref not in self._listed:
                if not (coming := list(islice(self._coming, self._size.now))):
                    break
                await self._list(coming)
        artifacts = self._listed.pop(ref, [])
        if isinstance(artifacts, CommError):
            raise artifacts
        rows: list[Row] = []
        for artifact in artifacts:
            if artifact.type not in _OF_LOGGED_TABLES:
                self._reader.knows(artifact.id, artifact.source)
                manifest = await self._reader.manifest(artifact.id)
                parts = await self._parts(artifact.id, manifest)
                rows += _rows(artifact, manifest, parts)
        return rows

    async def _list(self, refs: Sequence[RunRef]) -> None:
        def pick(
            found: ArtifactsByAlias | None, index: int, ref: RunRef
        ) -> Connection[ArtifactNode] | CommError:
            run = (found or {}).get(alias(index))
            return run.artifacts if run else run_not_found(ref, "RunsOutputArtifacts")

        answers = await ask_all(self._session, refs, artifacts_of_runs, pick, self._size)
        for ref, answer in zip(refs, answers, strict=True):
            if isinstance(answer, CommError):
                self._listed[ref] = answer
            elif answer.page_info.has_next_page:
                self._listed[ref] = await self._all_of(ref)
            else:
                self._listed[ref] = [node.record() for node in answer.nodes]

    async def _all_of(self, ref: RunRef) -> list[ArtifactRecord] | CommError:
        try:
            async with aclosing(
                RunArtifacts(self._session, ref, "output", fresh=True).pages()
            ) as pages:
                return [artifact async for page in pages for artifact in page]
        except CommError as error:
            return error

    async def _parts(self, artifact_id: str, manifest: Manifest) -> tuple[str, ...]:
        """The folders of the parts of partitioned tables, which are not tables of their own."""
        folders = []
        for name, entry in manifest.entries.items():
            if name.endswith(".partitioned-table.json") and entry.ref is None:
                content = await self._reader.read(ArtifactFileRef(artifact_id, name))
                folders.append(f"{lenient.loads_object(content).get('parts_path')}/")
        return tuple(folders)


def _rows(artifact: ArtifactRecord, manifest: Manifest, parts: tuple[str, ...]) -> Iterator[Row]:
    place = ArtifactFileRef(artifact.id, "").url
    for name, entry in manifest.entries.items():
        if is_table(name) and not name.startswith(parts):
            checksum = entry.checksum
            yield {
                "key": f"{artifact.source.collection}/{table_name(name)}",
                "type": name.split(".")[-2],
                "size": entry.size,
                "md5": checksum.text if checksum and checksum.algorithm == "MD5" else None,
                "artifact": f"{artifact.source.collection}:{artifact.source.version}",
                "artifact_path": f"{place}{name}",
            }
