"""One export at a time in a folder of an object store, which has no locks.

The holder writes down its name and renews it; a lease that was not renewed for a while
is nobody's any more, nor is one whose process has ended on this machine.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from aiowandb.errors import ExportError
from aiowandb.export.folders.holder import Holder, in_use

_RENEWED_EVERY_S = 30.0
_OVER_AFTER = timedelta(seconds=120)


class Leasable(Protocol):
    """A folder whose files can be written and read as a whole."""

    def read(self, name: str) -> bytes: ...

    def write(self, name: str, content: bytes) -> None: ...

    def remove(self, name: str) -> None: ...


@contextmanager
def leased(folder: Leasable, name: str) -> Iterator[None]:
    """Hold the lease while the block runs."""
    before = Holder.read(folder.read(name))
    if before and _is_alive(before):
        raise in_use(folder, before)
    me = Holder.me()
    folder.write(name, me.text)
    if (now := Holder.read(folder.read(name))) != me:
        raise in_use(folder, now)  # both came at the same moment
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(folder, name, me, ended), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        ended.set()
        renewal.join()
        folder.remove(name)


def _renew(folder: Leasable, name: str, me: Holder, ended: threading.Event) -> None:
    while not ended.wait(_RENEWED_EVERY_S):
        with suppress(ExportError):  # the next renewal may go well
            folder.write(name, msgspec.structs.replace(me, seen=datetime.now(UTC)).text)


def _is_alive(holder: Holder) -> bool:
    if holder.host == socket.gethostname() and not _runs(holder.pid):
        return False
    return datetime.now(UTC) - holder.seen < _OVER_AFTER


def _runs(pid: int) -> bool:
    if os.name == "nt":
        return True  # there, this question would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True
