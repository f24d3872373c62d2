"""Repairs an export: what is not whole is set aside, and the next export fetches it again.

Nothing is deleted: damaged files are moved into `.aiowandb-export/set-aside`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path

from aiowandb.concurrency.threads import entered_in_thread, run_sync
from aiowandb.errors import ExportError
from aiowandb.export.claim import JOURNAL, check_same
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.journal import Dropped, ExportIdentity, ExportState, record_lines
from aiowandb.export.manifest import DamagedManifestError, read_manifest, write_manifest
from aiowandb.export.names import DELTA_LOG, REPORTS
from aiowandb.export.options import ExportOptions
from aiowandb.export.originals import ARTIFACTS_FOLDER
from aiowandb.export.rebuilding import rebuilt_state
from aiowandb.export.salvage import salvage_copy, salvage_journal
from aiowandb.export.stored import RunSnapshot
from aiowandb.verification.contents import Contents, contents_of
from aiowandb.verification.report import Verification
from aiowandb.verification.verify import check_files

SET_ASIDE = f"{STATE_DIR}/set-aside"
_logger = logging.getLogger(__name__)

# The runs as W&B lists them now; asked only if no journal can be read.
ListSnapshots = Callable[[], Awaitable[Mapping[str, RunSnapshot]]]


async def repair_folder(
    folder: Folder, identity: ExportIdentity, options: ExportOptions, listed: ListSnapshots
) -> list[str]:
    """Make a state of the files that are whole. Returns the files that are not."""
    locked: AbstractContextManager[None] = folder.lock()
    async with entered_in_thread(locked):
        state = await run_sync(_readable_state, folder, identity, options)
        if state is None:
            state = await run_sync(rebuilt_state, folder, identity, options, await listed())
        contents = await run_sync(_contents, folder, state)
        found = Verification(folder=str(folder))
        await check_files(folder, contents, found)
        damaged = sorted(
            {
                problem.where
                for problem in found.problems
                if problem.kind != "extra" or _is_in_the_way(contents, problem.where)
            }
        )
        aside = await run_sync(_with_whole_logs, folder, damaged)
        await run_sync(_write, folder, contents, aside)
    if damaged:
        some = ", ".join(damaged[:3]) + (", ..." if len(damaged) > 3 else "")
        _logger.warning(
            "%s: these are damaged or missing, and are exported again: %s. What there was of them"
            " was moved to %s.",
            folder,
            some,
            folder.location(SET_ASIDE),
        )
    return damaged


def _readable_state(
    folder: Folder, identity: ExportIdentity, options: ExportOptions
) -> ExportState | None:
    """The state in the journal, or in its copy; None if neither can be read."""
    journal, copy = salvage_journal(folder, JOURNAL), salvage_copy(folder)
    refused: ExportError | None = None
    for found in (journal, copy):
        if found is None or found.state.begun is None:
            continue
        try:
            check_same(folder, found.state.begun, identity, options)
        except ExportError as error:
            refused = error
        else:
            if not found.errors:
                return found.state
    if refused:
        raise refused
    return None


def _contents(folder: Folder, state: ExportState) -> Contents:
    try:
        manifest = read_manifest(folder) or {}
    except DamagedManifestError:
        manifest = {}
    return contents_of(folder, state, manifest)


def _with_whole_logs(folder: Folder, damaged: list[str]) -> list[str]:
    """These files, with all of the log of a Delta table if one of them is of it: without that the
    table has no list of its parts, and gets a new one."""
    tables = {name.partition(f"/{DELTA_LOG}/")[0] for name in damaged if f"/{DELTA_LOG}/" in name}
    logs = [f"{table}/{DELTA_LOG}" for table in tables]
    found = {f"{log}/{name}" for log in logs for name in folder.files(log, recursive=True)}
    return sorted(found.union(damaged))


def _write(folder: Folder, contents: Contents, damaged: list[str]) -> None:
    """Set the damaged files aside, and write the journal and the manifest without them."""
    for name in damaged:
        if folder.size(name) is not None:
            folder.move(name, f"{SET_ASIDE}/{name}")
    _forget(contents, set(damaged))
    with closing(folder.log(JOURNAL, fresh=True)) as log:
        log.replace(record_lines(contents.state.records()))
    if contents.manifest:
        left = {name: contents.manifest[name] for name in contents.manifest.keys() - set(damaged)}
        write_manifest(folder, left, len(contents.state.failed_runs))


def _is_in_the_way(contents: Contents, name: str) -> bool:
    """Whether a file that is not part of the export looks to its readers as if it were.

    A Delta table has a list of its own. If the journal does not know the downloaded files, or the
    manifest the reports, they are not known to be wrong.
    """
    state = contents.state
    folder, kind = name.rpartition("/")[0], name.split("/")[0]
    if any(kind == of for of, _ in state.fetched) or folder == ARTIFACTS_FOLDER:
        return True
    if kind == REPORTS:
        return any(each.startswith(f"{REPORTS}/") for each in contents.manifest)
    is_delta = state.begun is not None and state.begun.options.format == "delta"
    known = {*state.datasets, *(name.split("/")[0] for name in state.datasets)}
    return not is_delta and (folder in known or kind in known)


def _forget(contents: Contents, damaged: set[str]) -> None:
    """Forget what the damaged files had."""
    state = contents.state
    for known in (contents.known[name] for name in damaged & contents.known.keys()):
        if known.kind not in state.datasets:
            state.fetched.pop((known.kind, known.run or ""), None)
            continue
        dataset = state.datasets[known.kind]
        if dataset.rendered.pop(known.name, None) is None:
            dataset.apply(Dropped(dataset.name, tuple(part.number for part in known.parts)))
    described = {Path(name).stem for name in damaged if name.startswith(ARTIFACTS_FOLDER)}
    for (kind, run), fetched in list(state.fetched.items()):
        folders = {file.name.split("/")[0] for file in fetched.files or ()}
        if kind == "artifacts" and not described.isdisjoint(folders):
            del state.fetched[kind, run]
