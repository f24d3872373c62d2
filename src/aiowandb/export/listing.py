"""Which runs are exported, and what is known of their columns before a row is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import msgspec

from aiowandb.export.runs_table import ArchiveTable
from aiowandb.export.stored import RunSnapshot
from aiowandb.history.kinds import Kind
from aiowandb.paths import RunRef
from aiowandb.threads import run_sync
from aiowandb.wire.dotted import OWN_KEYS
from aiowandb.wire.record import HistoryKeys, RunRecord

# The names that W&B gives to the types of history values. Numbers may turn out to
# be floats in any run, so that they are floats from the start.
_KINDS = {
    "number": Kind.FLOAT,
    "string": Kind.TEXT,
    "boolean": Kind.BOOL,
    "bool": Kind.BOOL,
}
# Lists, objects, and the media that W&B itself knows: beside them there are the types of files.
_OBJECTS = frozenset(
    {
        "list",
        "map",
        "histogram",
        "images/separated",
        "audio",
        "videos",
        "html",
        "object3D",
        "molecule",
        "joined-table",
        "partitioned-table",
    }
)
_NOTHING = frozenset({"nil", "null"})


class SelectedRuns(msgspec.Struct):
    """The runs of an export in their order, a table of them, and what W&B says of their keys.

    `heartbeats` has them as they are known where steps say nothing. `keys` are the columns
    whose kinds W&B tells; of `unknown_keys` it tells types that we do not know.
    """

    histories: dict[RunRef, RunSnapshot] = {}
    heartbeats: dict[RunRef, RunSnapshot] = {}
    table: ArchiveTable = msgspec.field(default_factory=ArchiveTable)
    keys: set[tuple[str, Kind]] = set()
    unknown_keys: set[str] = set()

    @property
    def key_names(self) -> frozenset[str]:
        """What can be named of the rows; nothing if W&B knows no key at all."""
        names = frozenset(name for name, _ in self.keys) | self.unknown_keys
        return names.union(OWN_KEYS) if names else names

    def add(self, page: Sequence[RunRecord]) -> None:
        """Add the runs of a page. This takes a while: a thread does it."""
        # The order may have changed while we read, and a run have come once more.
        new = list({run.ref: run for run in page if run.ref not in self.histories}.values())
        self.table.add(new)
        for run in new:
            self.histories[run.ref] = RunSnapshot.of_history(run)
            self.heartbeats[run.ref] = RunSnapshot.from_heartbeat(run)
            for name, called in _key_types(run.history_keys):
                if called in _KINDS:
                    self.keys.add((name, _KINDS[called]))
                elif called in _OBJECTS or called.endswith("-file"):
                    self.keys.add((name, Kind.JSON))
                else:
                    self.unknown_keys.add(name)


async def select_runs(pages: AsyncIterator[Sequence[RunRecord]]) -> SelectedRuns:
    """Read all pages; of each run only what is listed and one table row are kept."""
    runs = SelectedRuns()
    async for page in pages:
        await run_sync(runs.add, page)
    return runs


def _key_types(history_keys: HistoryKeys | None) -> Iterator[tuple[str, str]]:
    for name, info in (history_keys.keys if history_keys else {}).items():
        for count in info.type_counts:
            if count.type not in _NOTHING:
                yield name, count.type
