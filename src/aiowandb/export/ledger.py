"""What the journal says of a dataset: its parts, its columns, and what was made of them."""

from __future__ import annotations

from collections.abc import Iterable

from aiowandb.export.journal import Committed, Dropped, Planned, Record, Rendered, Widened
from aiowandb.export.parts import Part
from aiowandb.export.schema import RowSchema


class Ledger:
    """The state that the records of one dataset amount to."""

    def __init__(self, name: str, schema: RowSchema, records: Iterable[Record]) -> None:
        self.name = name
        self.schema = schema
        self.schema_number = 0
        self.next_number = 0
        # By number, and so in the order in which they were committed.
        self.parts: dict[int, Part] = {}
        # Parts that go when the plan that is carried out has replaced them.
        self.drops: frozenset[int] = frozenset()
        # Names that any part has ever had.
        self.files: set[str] = set()
        self.rendered: dict[str, Rendered] = {}
        for record in records:
            self.apply(record)

    def apply(self, record: Record) -> None:
        match record:
            case Widened(self.name, kinds, clashes):
                self.schema = type(self.schema)(kinds, clashes)
                self.schema_number += 1
            case Planned(self.name, drops):
                self.drops = frozenset(drops)
            case Committed(self.name, part):
                self.parts[part.number] = part
                self.files.add(part.file)
                self.next_number = part.number + 1
            case Dropped(self.name, numbers):
                self.drops = self.drops.difference(numbers)
                for number in numbers:
                    self.parts.pop(number, None)
            case Rendered(self.name, file):
                self.rendered[file] = record
