"""Copies the sweeps of runs. W&B gives each a new id; its description has the original."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import msgspec

from aiowandb.ingest.source import Source
from aiowandb.ingest.target import Target
from aiowandb.net.paging import pages_of
from aiowandb.wire.connection import Connection
from aiowandb.wire.copying import SweepFacts, create_sweep
from aiowandb.wire.sweeps import SweepRecord, list_sweeps

_PER_PAGE = 200
# The end of a copy's description, with which it is found again.
_COPIED_FROM = "Copied from "


class SweepCopier:
    """Finds or creates the sweeps in the target, each once."""

    def __init__(self, source: Source, target: Target) -> None:
        self._source = source
        self._target = target
        self._ids: dict[str, str | None] = {}
        self._copied: dict[str, str] | None = None
        self._lock = anyio.Lock()

    async def copy_of(self, sweep_id: str | None) -> str | None:
        """The id of the copy of a sweep, or None if the source does not have the sweep."""
        if not sweep_id:
            return None
        async with self._lock:
            if sweep_id not in self._ids:
                self._ids[sweep_id] = await self._find_or_make(sweep_id)
            return self._ids[sweep_id]

    async def _find_or_make(self, sweep_id: str) -> str | None:
        identity = f"{self._source.name}/sweeps/{sweep_id}"
        if self._copied is None:
            self._copied = await self._list()
        if identity in self._copied:
            return self._copied[identity]
        sweep = await self._source.sweep(sweep_id)
        if sweep is None:
            return None
        return await self._target.session.ask(
            create_sweep(self._target.entity, self._target.project, _described(sweep, identity))
        )

    async def _list(self) -> dict[str, str]:
        """The existing copies by their origins."""
        session, target = self._target.session, self._target

        async def page(cursor: str | None) -> Connection[SweepRecord]:
            found = await session.ask(list_sweeps(target.entity, target.project, _PER_PAGE, cursor))
            return found.sweeps if found else Connection()

        copied = {}
        async with aclosing(pages_of(f"the sweeps of {target.name}", page)) as pages:
            async for sweeps in pages:
                for sweep in sweeps:
                    _, found, identity = (sweep.description or "").rpartition(_COPIED_FROM)
                    if found:
                        copied[identity] = sweep.id
        return copied


def _described(sweep: SweepFacts, identity: str) -> SweepFacts:
    words = f"{sweep.description}\n\n" if sweep.description else ""
    return msgspec.structs.replace(sweep, description=f"{words}{_COPIED_FROM}{identity}")
