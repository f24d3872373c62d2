"""The steps of a verification: files, tables, the list of runs, and then W&B."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import ExportError, NotFoundError, TooLargeError
from aiowandb.export.folders.base import Folder
from aiowandb.export.manifest import JOURNAL_COPY, MANIFEST, SEAL, read_whole
from aiowandb.export.originals import ORIGINALS_FILE
from aiowandb.net import Session, part_of
from aiowandb.suggestions import listed
from aiowandb.verification.contents import Contents, read_contents
from aiowandb.verification.files import (
    CheckedFile,
    FileToCheck,
    batched,
    check_batch,
    entries_in,
    extra_files,
)
from aiowandb.verification.listed_runs import failed_kinds
from aiowandb.verification.project import compare_project
from aiowandb.verification.report import (
    Comparison,
    OnVerifyProgress,
    Problem,
    Verification,
    VerifyProgress,
    verdicts,
)
from aiowandb.verification.source import compare_with_source
from aiowandb.verification.tables import run_ids
from aiowandb.wire.record import RunRecord

# Disks are faster with several reads at a time, object stores much faster.
_BATCHES_AT_ONCE = 4
_BATCHES_AT_ONCE_REMOTE = 16

RunPages = tuple[Session, AsyncIterator[Sequence[RunRecord]]]
# Lists the runs of the export's project at W&B, if that is possible.
ListRuns = Callable[[Contents], Awaitable[RunPages | None]]


async def verify_folder(
    folder: Folder,
    list_runs: ListRuns | None,
    on_progress: OnVerifyProgress | None = None,
) -> Verification:
    """Verify the export in the folder, and with `list_runs` compare it with W&B."""
    began = time.monotonic()
    manifest = await run_sync(read_whole, folder, MANIFEST)
    contents = await run_sync(read_contents, folder)
    result = Verification(folder=str(folder), notes=contents.notes, problems=contents.problems)
    if contents.identity:
        result.source = f"{contents.identity.host}/{contents.identity.project}"
    await _Files(folder, contents, result, on_progress).check()
    runs = await run_sync(_known_runs, folder, contents, result.problems)
    failed = await run_sync(failed_kinds, folder, contents)
    compared: dict[str, Comparison] | None = None
    if list_runs is not None:
        compared = await _compare(folder, contents, list_runs, result)
    if await run_sync(read_whole, folder, MANIFEST) != manifest:
        raise ExportError(f"{folder} has changed meanwhile: an export is writing to it.")
    result.is_compared = compared is not None
    everything = dict.fromkeys((*runs, *(compared or ()), *failed))
    result.runs = verdicts(everything, result.problems, failed, compared)
    result.seconds = time.monotonic() - began
    return result


async def check_files(folder: Folder, contents: Contents, result: Verification) -> None:
    """Check all files of the folder; problems are added to the result."""
    await _Files(folder, contents, result, None).check()


class _Files:
    """Checks all files of the folder, many at a time in threads."""

    def __init__(
        self,
        folder: Folder,
        contents: Contents,
        result: Verification,
        on_progress: OnVerifyProgress | None,
    ) -> None:
        self._folder = folder
        self._contents = contents
        self._result = result
        self._on_progress = on_progress
        self._files = list(contents.files())
        self._total = sum(file.size for file in self._files)
        self._sizes = frozenset(digest.size for digest in contents.manifest.values())
        # Files that have changed, by their SHA-256.
        self._changed: list[tuple[FileToCheck, CheckedFile]] = []

    async def check(self) -> None:
        is_local = isinstance(self._folder.location(MANIFEST), Path)
        at_once = _BATCHES_AT_ONCE if is_local else _BATCHES_AT_ONCE_REMOTE
        await gather(batched(self._files), self._check_batch, at_once)
        self._name_swapped()
        await run_sync(self._find_extra)

    async def _check_batch(self, batch: list[FileToCheck]) -> None:
        checked = await run_sync(check_batch, self._folder, batch, self._sizes)
        for file, found in zip(batch, checked, strict=True):
            if found.changed:
                self._changed.append((file, found))
            else:
                self._result.problems += found.problems
        self._result.files += len(batch)
        self._result.bytes += sum(file.size for file in batch)
        if self._on_progress:
            result = self._result
            self._on_progress(
                VerifyProgress(result.files, len(self._files), result.bytes, self._total)
            )

    def _name_swapped(self) -> None:
        """Say which file a changed one is in truth, if it is another one of the export."""
        names: defaultdict[str, list[str]] = defaultdict(list)
        wanted = {found.changed for _, found in self._changed}
        for name, digest in self._contents.manifest.items():
            if digest.sha256 in wanted:
                names[digest.sha256].append(name)
        for file, found in self._changed:
            problems = list(found.problems)
            if others := names.get(found.changed):
                first = problems[0]
                text = f"it has the content of {others[0]}."
                problems[0] = Problem("changed", file.name, text, first.runs)
            self._result.problems += problems

    def _find_extra(self) -> None:
        expected = self._contents.names | {SEAL, JOURNAL_COPY}
        if self._contents.manifest:
            expected.add(MANIFEST)
        inside, beside = extra_files(entries_in(self._folder), expected)
        text = "it is not part of the export, and readers of the folder see it."
        self._result.problems += [Problem("extra", name, text, ()) for name in inside]
        if beside:
            named = ", ".join(beside[:3])
            self._result.notes.append(
                f"{len(beside):,} files next to the export are not part of it, such as {named}."
            )


def _known_runs(folder: Folder, contents: Contents, problems: list[Problem]) -> list[str]:
    """The runs of the export, in the order of its table of runs."""
    state = contents.state
    stored = dict.fromkeys((*state.stored_runs, *(run for _, run in state.fetched)))
    name = contents.runs_file
    if name is None:
        return list(stored)
    ids = _ids_in(folder, name, problems)
    if ids is None:
        return list(stored)
    known = frozenset(ids)
    if missing := [run for run in stored if run not in known]:
        problems.append(
            Problem("runs", name, f"these runs are missing: {listed(missing)}.", tuple(missing))
        )
    problems += [
        Problem("runs", name, f"run {run} is there twice.", (run,)) for run in ids if ids[run] > 1
    ]
    if ORIGINALS_FILE in contents.names:
        originals = _ids_in(folder, ORIGINALS_FILE, problems)
        if originals is not None and known != frozenset(originals):
            unlike = sorted(known.symmetric_difference(originals))
            text = f"it has other runs than {name}: {listed(unlike)}."
            problems.append(Problem("runs", ORIGINALS_FILE, text, tuple(unlike)))
    return list(dict.fromkeys((*ids, *stored)))


def _ids_in(folder: Folder, name: str, problems: list[Problem]) -> Counter[str] | None:
    try:
        return run_ids(folder, name)
    except (OSError, ValueError, KeyError, TooLargeError):
        if all(problem.where != name for problem in problems):
            problems.append(Problem("unreadable", name, "its runs cannot be read."))
        return None


async def _compare(
    folder: Folder, contents: Contents, list_runs: ListRuns, result: Verification
) -> dict[str, Comparison] | None:
    found = await list_runs(contents)
    if found is None:
        return None
    session, pages = found
    with part_of(session.traffic) as traffic:
        try:
            compared = await compare_with_source(session, pages, folder, contents)
        except NotFoundError as error:
            result.notes.append(
                f"The runs were not compared with W&B: {error} It was deleted or renamed there, or"
                " the API key may not see it."
            )
            return None
        if begun := contents.state.begun:
            project = begun.identity.project
            result.short = await compare_project(session, project, begun.options, folder)
    result.requests = traffic.requests
    for run in contents.state.deleted:
        if run not in compared:
            result.notes.append(f"Run {run} no longer exists at W&B.")
    return compared
