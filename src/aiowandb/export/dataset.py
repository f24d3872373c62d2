"""A dataset of an export: its state in the journal, and its files.

A part is written as a draft, staged, and committed by a record in the journal. It is published,
that is, moved to where readers look, once all parts that it replaces can be dropped and all parts
have the same columns: readers see either the old rows or the new ones.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Never, Protocol

import pyarrow as pa

from aiowandb.concurrency.threads import Inbox
from aiowandb.export.folders.base import Folder
from aiowandb.export.formats import sink_for, write_file
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
from aiowandb.export.names import has_staged_runs, staged_part, staged_runs
from aiowandb.export.options import ExportOptions
from aiowandb.export.parquet import count_values, group_batches, open_parquet
from aiowandb.export.plan import NewPart, Plan, part_name
from aiowandb.export.progress import Clash
from aiowandb.export.schema import RowSchema
from aiowandb.export.staging import STAGED, StagingFile, intact_runs
from aiowandb.export.stored import Part, StagedRun, StoredRun, locate_runs


class Catalogue(Protocol):
    """A catalogue that lists the published parts, as a Delta table does."""

    def publish_as(self, schema: RowSchema, parts: Sequence[Part]) -> None:
        """Make the catalogue list exactly these parts."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """The files that it lists, and the sizes that it has recorded."""
        ...


class Dataset:
    """The rows of one table that were exported so far. All calls block."""

    def __init__(
        self,
        name: str,
        published_folder: str,
        schema: RowSchema,
        folder: Folder,
        journal: Journal,
        catalogue: Catalogue | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.schema = schema
        self._published_folder = published_folder
        self._journal = journal
        self._catalogue = catalogue
        self._state = journal.state.dataset(name)
        if self._state.schema_number:
            self.schema = type(schema)(self._state.kinds, self._state.clashes)
        listing = folder.files(STAGED)
        self._unpublished = {file for file in listing if file.endswith(".parquet")}
        self._forget_missing(listing)
        self._find_lost_columns()
        self._forget_staged(intact_runs(folder, self._state.staged))
        self._remove_orphans(listing)
        self._publish()

    @property
    def parts(self) -> list[Part]:
        """The committed parts, in the order of their files.

        While a plan is executed, both old parts and those that replace them.
        """
        return sorted(self._state.parts.values(), key=lambda part: (part.file, part.number))

    @property
    def staged_runs(self) -> Mapping[str, StagedRun]:
        """The runs whose rows are complete while their parts are not."""
        return self._state.staged

    @property
    def schema_number(self) -> int:
        """The version of the columns: how often they have changed."""
        return self._state.schema_number

    @property
    def next_number(self) -> int:
        """A number that no part has had."""
        return self._state.next_number

    def unique_name(self, number: int) -> str:
        """A file name that no part has had, not even one of an earlier export."""
        begun = self._journal.state.begun
        return part_name(number, begun.token if begun else "")

    def clashes(self) -> tuple[Clash, ...]:
        """The columns whose values clash, and how many values they have."""
        counts = Counter[str]()
        for part in self.parts if self.schema.clashes else ():
            counts += count_values(self.folder, self.path(part), self.schema.clashes)
        return tuple(Clash(name, counts[name]) for name in sorted(self.schema.clashes))

    def widen(self, schema: RowSchema) -> None:
        """Use these columns from now on."""
        if schema != self.schema or not self.schema_number:
            self._record(Widened(self.name, schema.kinds, tuple(sorted(schema.clashes))))
            self.schema = schema

    def begin(self, plan: Plan) -> None:
        """Record which parts will be dropped after the plan was executed."""
        if plan.drops != self._state.drops:
            self._record(Planned(self.name, tuple(sorted(plan.drops))))

    def draft(self, new: NewPart) -> Path:
        """The path to write the part to."""
        return self.folder.draft(staged_part(self.name, new.number))

    def staging_file(self, new: NewPart) -> StagingFile:
        """The file for the part's runs until it is complete."""
        name = f"{STAGED}/{staged_runs(self.name, new.number, secrets.token_hex(4))}"
        return StagingFile(self.folder, name, self._record_staged)

    def forget_staged_run(self, run: str) -> None:
        """Forget the staged rows of the run, because W&B has replaced them."""
        if run in self._state.staged:
            self._record(Unstaged(self.name, (run,)))

    def commit(self, new: NewPart, draft: Path, runs: tuple[StoredRun, ...]) -> Part:
        """Add the draft to the dataset as a part."""
        size = draft.stat().st_size
        name = staged_part(self.name, new.number)
        self.folder.put(draft, f"{STAGED}/{name}")
        self._unpublished.add(name)
        part = Part(new.number, new.file, self.schema_number, size, runs)
        self._record(Committed(self.name, part))
        self._forget_staged(self._state.staged)
        self._publish()
        return part

    def end(self) -> None:
        """Drop the parts that the plan has replaced, and publish the new ones."""
        self._drop(self._state.drops)
        self._publish()

    def path(self, part: Part) -> str:
        """The present path of the part's file."""
        name = staged_part(self.name, part.number)
        return f"{STAGED}/{name}" if name in self._unpublished else self.published_path(part)

    def published_path(self, part: Part) -> str:
        """The path of the part's file after it is published."""
        return f"{self._published_folder}/{part.file}"

    def render(self, options: ExportOptions, inbox: Inbox[Never]) -> dict[str, int]:
        """Write the rows in the format of the options; returns the files by name with sizes."""
        if options.publishes_parts:
            return {self.published_path(part): part.size for part in self.parts}
        files = self._rendered_files(options)
        for file, parts in files.items():
            if not self._is_rendered(file, parts):
                batches = inbox.checked(self.batches(parts))
                write_file(batches, self.schema.arrow, sink_for(options), self.folder, file)
                numbers = tuple(part.number for part in parts)
                self._record(Rendered(self.name, file, numbers, self.folder.size(file) or 0))
        for file in set(self._state.rendered).difference(files):
            self.folder.remove(file)
        return {file: self._state.rendered[file].size for file in files}

    def _rendered_files(self, options: ExportOptions) -> dict[str, list[Part]]:
        """The files made from parts: one from all of them, or one per part."""
        if options.split:
            return {
                f"{self.name}/{Path(part.file).stem}.{options.format}": [part]
                for part in self.parts
            }
        return {f"{self.name}.{options.format}": self.parts}

    def _is_rendered(self, file: str, parts: Iterable[Part]) -> bool:
        """Whether the file exists and was made from exactly these parts."""
        rendered = self._state.rendered.get(file)
        return (
            rendered is not None
            and rendered.parts == tuple(part.number for part in parts)
            and rendered.size == self.folder.size(file)
        )

    def batches(self, parts: Iterable[Part] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of these parts, or all."""
        for part in self.parts if parts is None else parts:
            with open_parquet(self.folder, self.path(part)) as file:
                yield from group_batches(file)

    def _publish(self) -> None:
        parts = self.parts
        if self._state.drops or len({part.schema for part in parts}) > 1:
            return
        for part in parts:
            name = staged_part(self.name, part.number)
            if name in self._unpublished:
                self.folder.move(f"{STAGED}/{name}", self.published_path(part))
                self._unpublished.remove(name)
        if self._catalogue:
            if parts:
                self.folder.check()
                self._catalogue.publish_as(self.schema, parts)
            return
        stale = self._state.files.difference(part.file for part in parts)
        for file in stale.intersection(self.folder.files(self._published_folder)) if stale else ():
            self.folder.remove(f"{self._published_folder}/{file}")

    def _record_staged(self, run: StagedRun, durable: bool) -> None:
        self._journal.append(Staged(self.name, run), durable=durable)

    def _forget_missing(self, listing: Mapping[str, int]) -> None:
        """Forget the parts whose files are missing or have another size."""
        sizes = {f"{STAGED}/{name}": size for name, size in listing.items()}
        published = self.folder.files(self._published_folder)
        sizes |= {f"{self._published_folder}/{name}": size for name, size in published.items()}
        known = self._catalogue.sizes() if self._catalogue else {}
        self._drop(
            part.number
            for part in self.parts
            if sizes.get(self.path(part)) != part.size
            or known.get(part.file, part.size) != part.size
        )

    def _find_lost_columns(self) -> None:
        """Take from the parts the columns whose records a damaged journal has lost."""
        if all(part.schema <= self.schema_number for part in self.parts):
            return
        schema = self.schema
        for part in self.parts:
            with open_parquet(self.folder, self.path(part)) as file:
                schema = schema.holding(file.schema_arrow)
        self.widen(schema)

    def _forget_staged(self, intact: Mapping[str, StagedRun]) -> None:
        """Forget the staged runs that are damaged, or in a part by now."""
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

    def _remove_orphans(self, listing: Collection[str]) -> None:
        """Remove the staged runs that a killed export had no time to record."""
        needed = {run.file for run in self._state.staged.values()}
        for name in listing:
            if has_staged_runs(self.name, name) and (file := f"{STAGED}/{name}") not in needed:
                self.folder.remove(file)

    def _drop(self, numbers: Iterable[int]) -> None:
        if gone := tuple(sorted(numbers)):
            self._record(Dropped(self.name, gone))

    def _record(self, record: Record) -> None:
        self._journal.append(record)
