"""A dataset of an export: what the journal says of it, and the files that make it true.

A part is written as a draft, staged, and committed by a record in the journal. It is published,
which is to say moved to where readers look, when nothing is left there that it replaces, and
when all parts have the same columns: readers see the rows as they were, or as they are now.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from aiowandb.export.folders.base import Folder
from aiowandb.export.journal import (
    Committed,
    Dropped,
    Journal,
    Planned,
    Record,
    Rendered,
    Staged,
    Unstaged,
    Widened,
)
from aiowandb.export.parquet import count_values, opened_parquet
from aiowandb.export.plan import NewPart, Plan, part_name
from aiowandb.export.progress import Clash
from aiowandb.export.schema import RowSchema
from aiowandb.export.staging import STAGED, StagingFile, intact_runs
from aiowandb.export.stored import Part, StagedRun, StoredRun, locate_runs


class Table(Protocol):
    """What knows of the parts beside the folder, as a Delta table does."""

    def publish(self, schema: RowSchema, parts: Sequence[Part]) -> None:
        """Have these parts, and no others."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """The files that it knows, and what it takes for their sizes."""
        ...


class Dataset:
    """Rows that an export has so far. All calls block."""

    def __init__(
        self,
        name: str,
        home: str,
        schema: RowSchema,
        folder: Folder,
        journal: Journal,
        table: Table | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.schema = schema
        self._home = home
        self._journal = journal
        self._table = table
        self._state = journal.state.dataset(name)
        if self._state.schema_number:
            self.schema = type(schema)(self._state.kinds, self._state.clashes)
        staged = folder.files(STAGED)
        self._staged = {file for file in staged if file.endswith(".parquet")}
        self._forget_missing(staged)
        self._forget_staged(intact_runs(folder, self._state.staged))
        self._remove_orphans(staged)
        self._publish()

    @property
    def parts(self) -> list[Part]:
        """The parts that are committed, in the order of their files.

        While a plan is carried out, those that are to go and those that replace them.
        """
        return sorted(self._state.parts.values(), key=lambda part: (part.file, part.number))

    @property
    def staged_runs(self) -> Mapping[str, StagedRun]:
        """The runs whose rows are complete, and whose parts are not."""
        return self._state.staged

    @property
    def schema_number(self) -> int:
        """How often the columns have changed."""
        return self._state.schema_number

    @property
    def next_number(self) -> int:
        """A number that no part has had yet."""
        return self._state.next_number

    def unique_name(self, number: int) -> str:
        """A file name that no part has had yet, not even one of an earlier export."""
        begun = self._journal.state.begun
        return part_name(number, begun.token if begun else "")

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
            self.schema = schema

    def begin(self, plan: Plan) -> None:
        """Note which parts will go once the plan is carried out."""
        if plan.drops != self._state.drops:
            self._record(Planned(self.name, tuple(sorted(plan.drops))))

    def draft(self, new: NewPart) -> Path:
        """Where the part can be written."""
        return self.folder.draft(self._staged_name(new.number))

    def staging_file(self, new: NewPart) -> StagingFile:
        """Where the part's runs can be kept until it is complete."""
        name = f"{STAGED}/{self.name}-{new.number}-{secrets.token_hex(4)}"
        return StagingFile(self.folder, name, self._keep)

    def forget_staged_run(self, run: str) -> None:
        """The staged rows of the run are not W&B's any more, if there are any."""
        if run in self._state.staged:
            self._record(Unstaged(self.name, (run,)))

    def commit(self, new: NewPart, draft: Path, runs: tuple[StoredRun, ...]) -> Part:
        """Make a part of what was written."""
        size = draft.stat().st_size
        staged = self._staged_name(new.number)
        self.folder.put(draft, f"{STAGED}/{staged}")
        self._staged.add(staged)
        part = Part(new.number, new.file, self.schema_number, size, runs)
        self._record(Committed(self.name, part))
        self._forget_staged(self._state.staged)
        self._publish()
        return part

    def end(self) -> None:
        """Let the parts that the plan has replaced go, and publish those that it has made."""
        self._drop(self._state.drops)
        self._publish()

    def path(self, part: Part) -> str:
        """Where the part's file lies now."""
        staged = self._staged_name(part.number)
        return f"{STAGED}/{staged}" if staged in self._staged else self.place(part)

    def place(self, part: Part) -> str:
        """Where the part's file lies once it is published."""
        return f"{self._home}/{part.file}"

    def is_rendered(self, file: str, parts: Iterable[Part]) -> bool:
        """Whether the file is there, and was made of these very parts."""
        rendered = self._state.rendered.get(file)
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
        return self._state.rendered[file].size

    def forget_rendered(self, published: Collection[str]) -> None:
        """Remove the files that were made before and are not among those to be published."""
        for file in set(self._state.rendered).difference(published):
            self.folder.remove(file)

    def _publish(self) -> None:
        parts = self.parts
        if self._state.drops or len({part.schema for part in parts}) > 1:
            return
        for part in parts:
            staged = self._staged_name(part.number)
            if staged in self._staged:
                self.folder.move(f"{STAGED}/{staged}", self.place(part))
                self._staged.remove(staged)
        if self._table:
            if parts:
                self.folder.check()
                self._table.publish(self.schema, parts)
            return
        stale = self._state.files.difference(part.file for part in parts)
        for file in stale.intersection(self.folder.files(self._home)) if stale else ():
            self.folder.remove(f"{self._home}/{file}")

    def _keep(self, run: StagedRun, is_in_place: bool) -> None:
        # A sync for each run would take longer than the run. In an object store there is none.
        self._journal.append(Staged(self.name, run), durable=not is_in_place)

    def _forget_missing(self, staged: Mapping[str, int]) -> None:
        """Forget the parts whose files are not there as they should be."""
        sizes = {f"{STAGED}/{name}": size for name, size in staged.items()}
        at_home = self.folder.files(self._home)
        sizes |= {f"{self._home}/{name}": size for name, size in at_home.items()}
        known = self._table.sizes() if self._table else {}
        self._drop(
            part.number
            for part in self.parts
            if sizes.get(self.path(part)) != part.size
            or known.get(part.file, part.size) != part.size
        )

    def _forget_staged(self, intact: Mapping[str, StagedRun]) -> None:
        """Forget the staged runs that are lost, or lie in a part by now."""
        stored = locate_runs(self.parts)
        gone = {
            name: run
            for name, run in self._state.staged.items()
            if intact.get(name) != run
            or (name in stored and stored[name].stored.snapshot == run.stored.snapshot)
        }
        if gone:
            self._record(Unstaged(self.name, tuple(gone)))
            needed = {run.file for run in self._state.staged.values()}
            for file in {run.file for run in gone.values()} - needed:
                self.folder.remove(file)

    def _remove_orphans(self, staged: Collection[str]) -> None:
        """Remove the staged runs that a killed export had no time to note."""
        needed = {run.file for run in self._state.staged.values()}
        for name in staged:
            is_ours = name.startswith(f"{self.name}-") and name.endswith(".arrows")
            if is_ours and (file := f"{STAGED}/{name}") not in needed:
                self.folder.remove(file)

    def _drop(self, numbers: Iterable[int]) -> None:
        if gone := tuple(sorted(numbers)):
            self._record(Dropped(self.name, gone))

    def _staged_name(self, number: int) -> str:
        return f"{self.name}-{number}.parquet"

    def _record(self, record: Record) -> None:
        self._journal.append(record)
