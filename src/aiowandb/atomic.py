"""Writes a file so that it appears complete under its name, or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from aiowandb.concurrency.threads import in_thread_context, run_sync
from aiowandb.trees import make_folders

# What file systems answer that cannot sync a folder.
_NO_SYNC = frozenset({errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
UNFINISHED = ".unfinished"
_TEMPORARY = re.compile(rf"(?:.*/)?\.[0-9a-f]{{16}}{re.escape(UNFINISHED)}", re.DOTALL)


@asynccontextmanager
async def atomic_file(
    path: Path, temporary: Path | None = None, mode: int = 0o666
) -> AsyncIterator[BinaryIO]:
    """A file that is renamed to `path` when the block ends without an error.

    Its folders are created. After an error or a cancellation nothing of it is left. Until then
    its name is `temporary`, or one that no other writer uses. `mode` are its permissions,
    before the umask.
    """
    temporary = temporary or path.with_name(f".{secrets.token_hex(8)}{UNFINISHED}")
    create = partial(_create, temporary, mode)
    async with in_thread_context(create, partial(_discard, temporary)) as file:
        yield file
        await run_sync(_commit, file, temporary, path)


def is_unfinished(name: str) -> bool:
    """Whether this file was being written, as after a kill.

    >>> is_unfinished("files/r/.00112233445566ff.unfinished"), is_unfinished("my.unfinished")
    (True, False)
    """
    return _TEMPORARY.fullmatch(name) is not None


def _create(temporary: Path, mode: int) -> BinaryIO:
    make_folders(temporary.parent)
    return open(temporary, "w+b", opener=lambda path, flags: os.open(path, flags, mode))


def _commit(file: BinaryIO, temporary: Path, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    temporary.replace(path)
    sync_folder(path.parent)


def _discard(temporary: Path, file: BinaryIO) -> None:
    file.close()
    temporary.unlink(missing_ok=True)


def reason_of(error: OSError) -> str:
    """What failed, for the end of a sentence, and what to do if the disk is full."""
    # pyarrow's errors have the same number and another text.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"{reason}. Make room there and try again" if error.errno in _FULL else reason


def is_unicode(path: Path) -> bool:
    """Whether Arrow can open the file: names in another encoding have halves of surrogates."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make renames in the folder survive a power failure, where the file system can.

    Windows has no such call, and some network file systems refuse it: their server decides.
    """
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise
        finally:
            os.close(descriptor)
