"""A dataset of an export: what the journal says of it, and the files that make it true.

A part is written as a draft, staged, and committed by a record in the journal. It takes
its place where readers look when nothing is left there that it replaces, and when all
parts have the same columns: readers see the rows as they were, or as they are now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.journal import (
    Committed,
    Dropped,
    Journal,
    Planned,
    Record,
    Rendered,
    Widened,
)
from aiowandb.export.ledger import Ledger
from aiowandb.export.parquet import count_values, opened_parquet
from aiowandb.export.parts import Held, Part
from aiowandb.export.plan import NewPart, Plan
from aiowandb.export.result import Clash
from aiowandb.export.schema import RowSchema

_STAGED = f"{STATE_DIR}/staged"

# Is told which parts are in their place, before those go that were there before.
OnShown = Callable[[RowSchema, Sequence[Part]], None]


class Dataset:
    """Rows that an export has so far. All calls block."""

    def __init__(
        self,
        name: str,
        home: str,
        schema: RowSchema,
        folder: Folder,
        journal: Journal,
        on_shown: OnShown | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self._home = home
        self._journal = journal
        self._on_shown = on_shown
        self._ledger = Ledger(name, schema, journal.records)
        staged = folder.files(_STAGED)
        self._staged = set(staged)
        self._lose(staged)
        self._settle()

    @property
    def parts(self) -> list[Part]:
        """The parts that are committed, in the order of their files.

        While a plan is carried out, those that are to go and those that replace them.
        """
        return sorted(self._ledger.parts.values(), key=lambda part: (part.file, part.number))

    @property
    def schema(self) -> RowSchema:
        return self._ledger.schema

    @property
    def schema_number(self) -> int:
        """How often the columns have changed."""
        return self._ledger.schema_number

    @property
    def next_number(self) -> int:
        """A number that no part has had yet."""
        return self._ledger.next_number

    def batches(self, parts: Iterable[Part]) -> Iterator[pa.RecordBatch]:
        """The rows of the parts."""
        for part in parts:
            with opened_parquet(self.folder, self.path(part)) as file:
                yield from file.iter_batches()

    def clashes(self) -> tuple[Clash, ...]:
        """The columns whose values have no kind in common, and how many values they have."""
        counts = Counter[str]()
        for part in self.parts if self.schema.clashes else ():
            counts += count_values(self.folder, self.path(part), self.schema.clashes)
        return tuple(Clash(name, counts[name]) for name in sorted(self.schema.clashes))

    def widen(self, schema: RowSchema) -> None:
        """Have these columns from now on."""
        if schema != self.schema or not self.schema_number:
            self._record(Widened(self.name, schema.kinds, tuple(sorted(schema.clashes))))

    def begin(self, plan: Plan) -> None:
        """Note which parts will go once the plan is carried out."""
        if plan.drops != self._ledger.drops:
            self._record(Planned(self.name, tuple(sorted(plan.drops))))

    def draft(self, new: NewPart) -> Path:
        """Where the part can be written."""
        return self.folder.draft(self._staged_name(new.number))

    def commit(self, new: NewPart, draft: Path, runs: tuple[Held, ...]) -> Part:
        """Make a part of what was written."""
        size = draft.stat().st_size
        staged = self._staged_name(new.number)
        self.folder.put(draft, f"{_STAGED}/{staged}")
        self._staged.add(staged)
        part = Part(new.number, new.file, self.schema_number, size, runs)
        self._record(Committed(self.name, part))
        self._settle()
        return part

    def end(self) -> None:
        """Let the parts that the plan has replaced go, and show those that it has made."""
        self._drop(self._ledger.drops)
        self._settle()

    def path(self, part: Part) -> str:
        """Where the part's file lies now."""
        staged = self._staged_name(part.number)
        return f"{_STAGED}/{staged}" if staged in self._staged else self.place(part)

    def place(self, part: Part) -> str:
        """Where the part's file lies once it has settled."""
        return f"{self._home}/{part.file}"

    def is_rendered(self, file: str, parts: Iterable[Part]) -> bool:
        """Whether the file is there, and was made of these very parts."""
        rendered = self._ledger.rendered.get(file)
        return (
            rendered is not None
            and rendered.parts == tuple(part.number for part in parts)
            and rendered.size == self.folder.size(file)
        )

    def note_rendered(self, file: str, parts: Iterable[Part]) -> None:
        """Remember what the file was made of."""
        numbers = tuple(part.number for part in parts)
        self._record(Rendered(self.name, file, numbers, self.folder.size(file) or 0))

    def rendered_size(self, file: str) -> int:
        """The size of a file that was made."""
        return self._ledger.rendered[file].size

    def forget_rendered(self, shown: Collection[str]) -> None:
        """Remove the files that were made before and are not among those to be shown."""
        for file in set(self._ledger.rendered).difference(shown):
            self.folder.remove(file)

    def _settle(self) -> None:
        parts = self.parts
        if self._ledger.drops or len({part.schema for part in parts}) > 1:
            return
        for part in parts:
            staged = self._staged_name(part.number)
            if staged in self._staged:
                self.folder.move(f"{_STAGED}/{staged}", self.place(part))
                self._staged.remove(staged)
        if self._on_shown and parts:
            self._on_shown(self.schema, parts)
            return
        stale = self._ledger.files.difference(part.file for part in parts)
        for file in stale.intersection(self.folder.files(self._home)) if stale else ():
            self.folder.remove(f"{self._home}/{file}")

    def _lose(self, staged: Mapping[str, int]) -> None:
        """Forget the parts whose files are not there as they should be."""
        sizes = {f"{_STAGED}/{name}": size for name, size in staged.items()}
        at_home = self.folder.files(self._home)
        sizes |= {f"{self._home}/{name}": size for name, size in at_home.items()}
        self._drop(part.number for part in self.parts if sizes.get(self.path(part)) != part.size)

    def _drop(self, numbers: Iterable[int]) -> None:
        if gone := tuple(sorted(numbers)):
            self._record(Dropped(self.name, gone))

    def _staged_name(self, number: int) -> str:
        return f"{self.name}-{number}.parquet"

    def _record(self, record: Record) -> None:
        self._journal.append(record)
        self._ledger.apply(record)
