"""The keys of runs as W&B announces them before rows are read: names, and kinds of values."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from aiowandb.export.schema import RowSchema
from aiowandb.history.columns import Kind
from aiowandb.history.selection import Selection
from aiowandb.wire.dotted import OWN_KEYS
from aiowandb.wire.record import HistoryKeys

# The names that W&B gives to the types of history values. Numbers may turn out to
# be floats in any run, so that they are floats from the start.
_KINDS = {
    "number": Kind.FLOAT,
    "string": Kind.TEXT,
    "boolean": Kind.BOOL,
    "bool": Kind.BOOL,
}
# W&B's media types, besides which there are the types of files.
_MEDIA = frozenset(
    {
        "histogram",
        "images",
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
# Besides media, these values are JSON.
_OBJECTS = _MEDIA | {"list", "map"}
_NOTHING = frozenset({"nil", "null"})


def is_media(called: str) -> bool:
    """Whether W&B gives this name to values that are media."""
    return called in _MEDIA or called.endswith("-file")


class AnnouncedKeys(msgspec.Struct):
    """The keys of some runs. The types of `unknown_keys` are not known to us."""

    keys: set[tuple[str, Kind]] = set()
    unknown_keys: set[str] = set()

    @property
    def names(self) -> frozenset[str]:
        """All names of keys; empty if W&B knows none."""
        names = frozenset(name for name, _ in self.keys) | self.unknown_keys
        return names.union(OWN_KEYS) if names else names

    def add(self, history_keys: HistoryKeys | None) -> None:
        """Add the keys of a run."""
        for name, called in _key_types(history_keys):
            if called in _KINDS:
                self.keys.add((name, _KINDS[called]))
            elif called in _OBJECTS or is_media(called):
                self.keys.add((name, Kind.JSON))
            else:
                self.unknown_keys.add(name)

    def selected(self, selection: Selection) -> AnnouncedKeys:
        """The keys that are selected."""
        names = {name for name, _ in self.keys} | self.unknown_keys
        wanted = set(selection.columns(names) or ())
        keys = {(name, kind) for name, kind in self.keys if name in wanted}
        return AnnouncedKeys(keys, self.unknown_keys & wanted)

    def widen(self, schema: RowSchema) -> RowSchema:
        """The schema with columns for all of these keys.

        If rows are passed on before all are read, a key of unknown type becomes a column of JSON
        text, which can have any value.
        """
        unknown = self.unknown_keys - {name for name, _ in self.keys}
        return schema.widened([*self.keys, *((name, Kind.JSON) for name in sorted(unknown))])


def _key_types(history_keys: HistoryKeys | None) -> Iterator[tuple[str, str]]:
    for name, info in (history_keys.keys if history_keys else {}).items():
        for count in info.type_counts:
            if count.type not in _NOTHING:
                yield name, count.type
