"""A dataset of an export: its parts and their columns, as the journal tells and the folder holds.

A part is written as a draft, staged, and committed by a record in the journal. It takes
its place where readers look as soon as no part is left there that it replaces: they see
the rows as they were or as they are now, never both.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aiowandb.export.folder import WORKPLACE, Folder
from aiowandb.export.journal import Committed, Dropped, Journal, Planned, Record, Widened
from aiowandb.export.parts import Held, Part
from aiowandb.export.plan import NewPart, Plan
from aiowandb.export.schema import RowSchema


class Dataset:
    """Rows that an export has so far. All calls block."""

    def __init__(self, name: str, home: str, folder: Folder, journal: Journal) -> None:
        self.name = name
        self.folder = folder
        self.schema = RowSchema({})
        self.schema_number = 0
        self.next_number = 0
        self._home = home
        self._journal = journal
        self._parts: dict[int, Part] = {}
        self._drops: frozenset[int] = frozenset()
        self._files: set[str] = set()
        for record in journal.records:
            self._apply(record)
        self._drop(part.number for part in self.parts if not self._is_there(part))
        self._settle()

    @property
    def parts(self) -> list[Part]:
        """The parts that are committed, in the order in which they were."""
        return list(self._parts.values())

    def widen(self, schema: RowSchema) -> None:
        """Have these columns from now on."""
        if schema != self.schema or not self.schema_number:
            self._record(Widened(self.name, schema.kinds, tuple(sorted(schema.clashes))))

    def begin(self, plan: Plan) -> None:
        """Note which parts will go once the plan is carried out."""
        if plan.drops != self._drops:
            self._record(Planned(self.name, tuple(sorted(plan.drops))))

    def draft(self, new: NewPart) -> Path:
        """Where the part can be written."""
        return self.folder.draft(f"{self.name}-{new.number}.parquet")

    def commit(self, new: NewPart, draft: Path, runs: tuple[Held, ...]) -> Part:
        """Make a part of what was written."""
        staged = self._staged(new.number)
        self.folder.put(draft, staged)
        size = self.folder.size(staged) or 0
        part = Part(new.number, new.file, self.schema_number, size, runs)
        self._record(Committed(self.name, part))
        self._settle()
        return part

    def end(self) -> None:
        """Let the parts that the plan has replaced go, and show those that it has made."""
        self._drop(self._drops)
        self._settle()

    def path(self, part: Part) -> str:
        """Where the part's file lies now."""
        staged = self._staged(part.number)
        return self.place(part) if self.folder.size(staged) is None else staged

    def place(self, part: Part) -> str:
        """Where the part's file lies once it has settled."""
        return f"{self._home}/{part.file}"

    def _settle(self) -> None:
        if self._drops:
            return
        for part in self.parts:
            if (path := self.path(part)) != self.place(part):
                self.folder.move(path, self.place(part))
        stale = self._files.difference(part.file for part in self.parts)
        for file in stale.intersection(self.folder.names(self._home)):
            self.folder.remove(f"{self._home}/{file}")

    def _drop(self, numbers: Iterable[int]) -> None:
        if gone := tuple(sorted(numbers)):
            self._record(Dropped(self.name, gone))

    def _is_there(self, part: Part) -> bool:
        return self.folder.size(self.path(part)) == part.size

    def _staged(self, number: int) -> str:
        return f"{WORKPLACE}/staged/{self.name}-{number}.parquet"

    def _record(self, record: Record) -> None:
        self._journal.append(record)
        self._apply(record)

    def _apply(self, record: Record) -> None:
        match record:
            case Widened(self.name, kinds, clashes):
                self.schema = RowSchema(kinds, clashes)
                self.schema_number += 1
            case Planned(self.name, drops):
                self._drops = frozenset(drops)
            case Committed(self.name, part):
                self._parts[part.number] = part
                self._files.add(part.file)
                self.next_number = part.number + 1
            case Dropped(self.name, numbers):
                self._drops = self._drops.difference(numbers)
                for number in numbers:
                    self._parts.pop(number, None)
