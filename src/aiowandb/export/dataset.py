"""A dataset of an export: its parts and their columns, as the journal tells and the folder holds.

A part is written as a draft, staged, and committed by a record in the journal. It takes
its place where readers look as soon as no part is left there that it replaces: they see
the rows as they were or as they are now, never both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aiowandb.export.folder import WORKPLACE, Folder
from aiowandb.export.journal import (
    Committed,
    Dropped,
    Journal,
    Planned,
    Record,
    Rendered,
    Widened,
)
from aiowandb.export.parquet import count_values
from aiowandb.export.parts import Held, Part
from aiowandb.export.plan import NewPart, Plan
from aiowandb.export.result import Clash
from aiowandb.export.schema import RowSchema


class Dataset:
    """Rows that an export has so far. All calls block."""

    def __init__(
        self, name: str, home: str, schema: RowSchema, folder: Folder, journal: Journal
    ) -> None:
        self.name = name
        self.folder = folder
        self.schema = schema
        self.schema_number = 0
        self.next_number = 0
        self._home = home
        self._journal = journal
        self._parts: dict[int, Part] = {}
        self._drops: frozenset[int] = frozenset()
        self._files: set[str] = set()
        self._rendered: dict[str, Rendered] = {}
        for record in journal.records:
            self._apply(record)
        self._drop(part.number for part in self.parts if not self._is_there(part))
        self._settle()

    @property
    def parts(self) -> list[Part]:
        """The parts that are committed, in the order of their files.

        While a plan is carried out, those that are to go and those that replace them.
        """
        return sorted(self._parts.values(), key=lambda part: (part.file, part.number))

    def batches(self, parts: Iterable[Part]) -> Iterator[pa.RecordBatch]:
        """The rows of the parts."""
        for part in parts:
            with pq.ParquetFile(self.folder.path(self.path(part))) as file:
                yield from file.iter_batches()

    def clashes(self) -> tuple[Clash, ...]:
        """The columns whose values have no kind in common, and how many values they have."""
        counts = Counter[str]()
        for part in self.parts if self.schema.clashes else ():
            counts += count_values(self.folder.path(self.path(part)), self.schema.clashes)
        return tuple(Clash(name, counts[name]) for name in sorted(self.schema.clashes))

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

    def is_rendered(self, file: str, parts: Iterable[Part]) -> bool:
        """Whether the file is there, and was made of these very parts."""
        rendered = self._rendered.get(file)
        return (
            rendered is not None
            and rendered.parts == tuple(part.number for part in parts)
            and rendered.size == self.folder.size(file)
        )

    def note_rendered(self, file: str, parts: Iterable[Part]) -> None:
        """Remember what the file was made of."""
        numbers = tuple(part.number for part in parts)
        self._record(Rendered(self.name, file, numbers, self.folder.size(file) or 0))

    def forget_rendered(self, shown: Collection[str]) -> None:
        """Remove the files that were made before and are not among those to be shown."""
        for file in set(self._rendered).difference(shown):
            self.folder.remove(file)

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
                self.schema = type(self.schema)(kinds, clashes)
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
            case Rendered(self.name, file):
                self._rendered[file] = record
