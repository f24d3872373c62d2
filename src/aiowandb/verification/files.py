"""Compares files with the manifest and with the journal. All calls block."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

import anyio.from_thread
import msgspec
import pyarrow as pa

from aiowandb.atomic import is_unfinished
from aiowandb.errors import ExportError
from aiowandb.export.claim import JOURNAL
from aiowandb.export.folders.base import STATE_DIR, Folder, read_errors
from aiowandb.export.known_files import KnownFile
from aiowandb.export.manifest import MANIFEST, FileDigest, digest_of
from aiowandb.export.originals import ARTIFACTS_FOLDER
from aiowandb.symlinks import NO_FOLLOW, path_without_links
from aiowandb.trees import walk
from aiowandb.verification.report import Problem, ProblemKind
from aiowandb.verification.tables import check_table, is_parquet, row_counter
from aiowandb.wire.checksum import Checksum, new_hasher

# Small files are checked many at a time: a thread is started for each batch.
_BATCH_FILES = 64
_BATCH_BYTES = 32 << 20
# What systems leave in folders that somebody has looked at; no reader takes it for a table.
_LITTER = re.compile(r"(^|/)(\.DS_Store|\._[^/]*|\.directory|Thumbs\.db|desktop\.ini|\.nfs[^/]*)$")
# Tables up to this size are kept in memory while they are hashed, and not read again.
_IN_MEMORY = 4 << 20


class FileToCheck(msgspec.Struct, frozen=True, gc=False):
    """A file, with what the manifest and the journal say of it.

    `run` is the only run that it is of, if it is not in the journal.
    """

    name: str
    digest: FileDigest | None = None
    known: KnownFile | None = None
    run: str | None = None

    @property
    def known_size(self) -> int | None:
        """The size that it should have."""
        if self.digest:
            return self.digest.size
        return self.known.size if self.known else None

    @property
    def size(self) -> int:
        """The size that it should have, as far as that is known."""
        return self.known_size or 0


class CheckedFile(msgspec.Struct, frozen=True):
    """What was found: the problems, and the SHA-256 of a file that has changed."""

    problems: Sequence[Problem]
    changed: str = ""


# Most files.
_UNCHANGED = CheckedFile(())


def batched(files: Iterable[FileToCheck]) -> Iterator[list[FileToCheck]]:
    """The files in batches that take a thread long enough to be worth it."""
    batch: list[FileToCheck] = []
    size = 0
    for file in files:
        batch.append(file)
        size += file.size
        if len(batch) == _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def check_batch(folder: Folder, files: Sequence[FileToCheck], sizes: Set[int]) -> list[CheckedFile]:
    """Read the files, and compare each with what is known of it. `sizes` are those of the export.

    A file that is larger than it should be is read only if it may be another one of them.
    """
    opener = _Opener(folder)
    return [_check_file(opener, file, sizes) for file in files]


def _check_file(opener: _Opener, file: FileToCheck, sizes: Set[int]) -> CheckedFile:
    try:
        return _check_content(opener, file, sizes)
    except FileNotFoundError:
        return _failed(file, "lost", "it is not there.")
    except ExportError as error:  # it is a symbolic link
        return _failed(file, "unreadable", str(error))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return _failed(file, "unreadable", f"it cannot be read: {reason}.")


def _failed(file: FileToCheck, kind: ProblemKind, text: str) -> CheckedFile:
    return CheckedFile([Problem(kind, file.name, text, affected_runs(file))])


def affected_runs(file: FileToCheck) -> tuple[str, ...] | None:
    """The runs whose data the file has; None for all."""
    if file.known is None:
        return (file.run,) if file.run else None
    return tuple(file.known.runs) or None


def entries_in(folder: Folder) -> set[str]:
    """Everything in the folder that is no folder, links and devices included."""
    root = folder.location("")
    if not isinstance(root, Path):
        return set(folder.files("", recursive=True))
    with read_errors(root):
        return {name for name, entry in walk(root) if not entry.is_dir(follow_symlinks=False)}


def extra_files(names: Set[str], expected: Set[str]) -> tuple[list[str], list[str]]:
    """The files that are in folders of the export and not part of it, and those next to it."""
    folders = {name.partition("/")[0] for name in expected if "/" in name}
    # `restore` takes each of these for an artifact. Only a manifest says which ones there are.
    are_records_known = MANIFEST in expected
    inside: list[str] = []
    beside: list[str] = []
    for name in sorted(names - expected):
        if name in folders:
            continue  # a link in its place: each of its files is named
        top, _, rest = name.partition("/")
        is_record = are_records_known and name.startswith(f"{ARTIFACTS_FOLDER}/")
        if (top == STATE_DIR and not is_record) or is_unfinished(name):
            continue
        is_inside = rest and top in folders and not _LITTER.search(name)
        (inside if is_inside else beside).append(name)
    return inside, beside


def is_journal(name: str) -> bool:
    """Whether the file is part of the journal, which is not in the manifest."""
    return name == JOURNAL or name.startswith(f"{JOURNAL.rpartition('.')[0]}/")


def _check_content(opener: _Opener, file: FileToCheck, sizes: Set[int]) -> CheckedFile:
    checksum = Checksum.parse(file.known.checksum) if file.known and not file.digest else None
    hasher = new_hasher(checksum.algorithm) if checksum else None
    counter = row_counter(file.name) if file.known and file.known.rows is not None else None
    table = _SmallTable() if is_parquet(file.name) else None
    others: list[Any] = [other for other in (hasher, counter, table) if other]
    with opener.open(file.name) as content:
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        is_read = file.known_size is None or size <= file.size or size in sizes
        found = FileDigest(size, "")
        if is_read:
            found = digest_of(content, _Cancellation(), *others, expected=size)
    problems = []
    difference = _difference(file, found)
    if not difference and checksum and hasher and hasher.digest() != checksum.digest:
        difference = f"its {checksum.algorithm} is not that of the file at W&B."
    if not (difference or table or counter):
        return _UNCHANGED
    runs = affected_runs(file)
    if difference:
        problems.append(Problem("changed", file.name, difference, runs))
    if table:
        is_kept = is_read and table.is_kept
        opened = table.open if is_kept else partial(opener.folder.open, file.name)
        is_hashed = file.digest is not None or not is_read
        problems += check_table(opened, file.name, file.known, is_hashed=is_hashed)
    wanted = file.known.rows if file.known else None
    if counter and is_read and wanted is not None and counter.rows != wanted:
        text = f"it has {counter.rows:,} rows instead of {wanted:,}."
        problems.append(Problem("rows", file.name, text, runs))
    return CheckedFile(problems, found.sha256 if difference else "")


def _difference(file: FileToCheck, found: FileDigest) -> str:
    """What is wrong with size and content."""
    if file.known_size not in (None, found.size):
        return f"it has {found.size:,} bytes instead of {file.size:,}."
    if file.digest and found.sha256 != file.digest.sha256:
        return "its content has changed."
    return ""


class _Cancellation:
    """Ends the reading of a large file if the task that waits for it is cancelled."""

    def update(self, _: bytes) -> None:
        anyio.from_thread.check_cancelled()


class _SmallTable:
    """The content of a table, if it is small, so that it is read once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def update(self, data: bytes) -> None:
        self._size += len(data)
        if self.is_kept:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    @property
    def is_kept(self) -> bool:
        return self._size <= _IN_MEMORY

    def open(self) -> pa.NativeFile:
        return pa.BufferReader(b"".join(self._pieces))


class _Opener:
    """Opens files of a folder.

    Files come sorted: the way to the next one is rarely another one that has to be searched for
    symbolic links.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._above = ""
        self._place = folder.location("")

    def open(self, name: str) -> Any:
        above, _, last = name.rpartition("/")
        if above != self._above:
            self._place, self._above = self.folder.location(above), above
        if isinstance(self._place, Path):
            return _open_local(self._place, last)
        return self.folder.open(name)


def _open_local(folder: Path, name: str) -> io.FileIO:
    """Open a file of this folder, unless it is a link or a device."""
    if not NO_FOLLOW:
        return io.FileIO(path_without_links(folder, name))
    try:
        # Without a look at it before, which is half of the work of a small file.
        number = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_NONBLOCK | NO_FOLLOW)
    except OSError:
        path_without_links(folder, name)  # says so if it is a link
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        path_without_links(folder, name)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    # It does not read ahead into a buffer of its own.
    return io.FileIO(number)
