"""The files that an export has according to its journal, and what is known of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from aiowandb.export.folders.base import STATE_DIR
from aiowandb.export.journal import DatasetState, ExportState
from aiowandb.export.names import SWEEPS_FILE, staged_part
from aiowandb.export.options import ExportOptions
from aiowandb.export.originals import ORIGINALS_FILE, artifact_path
from aiowandb.export.runs_table import RUNS_FILE
from aiowandb.export.staging import STAGED
from aiowandb.export.stored import Part


class KnownFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of an export. `size`, `checksum` and `rows` are what the journal says of it, if it
    says anything. `kind` is the table or the kind of downloads that it belongs to.

    `parts` are those that the file is or was made of, `run` is the only run that it is of.
    `revision` changes whenever an export writes the file again.
    """

    name: str
    kind: str
    size: int | None = None
    checksum: str = ""
    rows: int | None = None
    parts: Sequence[Part] = ()
    run: str | None = None
    revision: object = None

    @property
    def runs(self) -> Iterator[str]:
        """The runs that it has something of; none if that is all runs."""
        if self.run is not None:
            yield self.run
        for part in self.parts:
            for stored in part.runs:
                yield stored.snapshot.run


def known_files(state: ExportState, staged: frozenset[str] = frozenset()) -> Iterator[KnownFile]:
    """The files that the export must have. `staged` are the names of unpublished parts."""
    if state.begun is None:
        return
    options = state.begun.options
    if "runs" in options.what and options.format != "delta":
        yield KnownFile(name=f"runs.{options.format}", kind="runs")
    if "runs" in options.what and options.format == "parquet":
        yield KnownFile(name=ORIGINALS_FILE, kind="runs")
    elif "runs" in options.what:
        yield KnownFile(name=f"{STATE_DIR}/{RUNS_FILE}", kind="runs")
    if "sweeps" in options.what and options.format != "delta":
        yield KnownFile(name=f"sweeps.{options.format}", kind="sweeps")
    if "sweeps" in options.what and options.format != "parquet":
        yield KnownFile(name=f"{STATE_DIR}/{SWEEPS_FILE}", kind="sweeps")
    for dataset in state.datasets.values():
        yield from _files_of_dataset(dataset, options, staged)
    for (kind, run), fetched in state.fetched.items():
        for file in fetched.files or ():
            yield KnownFile(
                name=f"{kind}/{file.name}",
                kind=kind,
                size=file.size,
                checksum=file.md5,
                run=run,
                revision=(file.size, file.md5 or fetched.run),
            )
        for artifact, facts in (fetched.described or {}).items():
            yield KnownFile(name=artifact_path(artifact), kind=kind, run=run, revision=facts)


def part_path(dataset: str, part: Part, options: ExportOptions) -> str:
    """The path of a published part."""
    home = dataset if options.publishes_parts else f"{STATE_DIR}/{dataset}"
    return f"{home}/{part.file}"


def _files_of_dataset(
    dataset: DatasetState, options: ExportOptions, staged: frozenset[str]
) -> Iterator[KnownFile]:
    for part in dataset.parts.values():
        unpublished = f"{STAGED}/{staged_part(dataset.name, part.number)}"
        is_staged = unpublished in staged
        yield KnownFile(
            name=unpublished if is_staged else part_path(dataset.name, part, options),
            kind=dataset.name,
            size=part.size,
            rows=part.rows,
            parts=(part,),
            revision=part.number,
        )
    for rendered in dataset.rendered.values():
        if not set(rendered.parts) <= dataset.parts.keys():
            continue  # it is of parts that were replaced, and is about to be written again
        parts = [dataset.parts[number] for number in rendered.parts]
        yield KnownFile(
            name=rendered.file,
            kind=dataset.name,
            size=rendered.size,
            rows=sum(part.rows for part in parts),
            parts=parts,
            revision=(rendered.parts, rendered.size),
        )
