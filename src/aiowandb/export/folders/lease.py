"""A lease: one export at a time in a folder without locks, which several machines may use.

Each holder creates a file with the next number, which only one process can do, and renews its
lease by writing to it. The next process creates the file after it, once the last holder has
released its lease, or has not renewed it for a while: as measured with the storage's clock, or
with our own clock while we watch the file. Times of different clocks are never compared.

After half of that time without a renewal, a holder checks its lease before it writes. So one
whose machine slept notices that another process has taken over the folder.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol

import anyio.from_thread
import msgspec

from aiowandb.errors import ExportError
from aiowandb.export.folders.base import STATE_DIR, state_decoder


class LeaseHolder(msgspec.Struct, frozen=True):
    """A process that exports into a folder.

    Its times are those of its own clock and are only for messages. `renewals` counts how often it
    has renewed its lease, and each holder has another `token`.
    """

    pid: int
    host: str
    since: datetime
    seen: datetime
    token: str = ""
    machine: str = ""
    renewals: int = 0
    released: bool = False

    @classmethod
    def me(cls) -> LeaseHolder:
        now = _now()
        token = secrets.token_hex(8)
        return cls(os.getpid(), socket.gethostname(), now, now, token, _machine())

    @classmethod
    def read(cls, text: bytes) -> LeaseHolder | None:
        """The holder in the content of a lease file; None if it has not been written yet."""
        try:
            return _decode(text)
        except msgspec.MsgspecError:
            return None

    @property
    def text(self) -> bytes:
        return msgspec.json.encode(self)

    def renewed(self, *, released: bool = False) -> LeaseHolder:
        """The holder after another renewal, or after it has released its lease."""
        return msgspec.structs.replace(
            self, seen=_now(), renewals=self.renewals + 1, released=released
        )

    @property
    def has_ended(self) -> bool:
        """Whether it is known to have ended."""
        return self.released or (self.machine == _machine() and not _runs(self.pid))


_decode = state_decoder(msgspec.json.Decoder(LeaseHolder).decode)


def in_use(folder: object, holder: LeaseHolder | None) -> ExportError:
    """The error for a second export into the folder."""
    return ExportError(
        f"{folder} is in use by {named(holder)}. Export again when that export is done."
    )


def named(holder: LeaseHolder | None) -> str:
    """The holder as text for messages."""
    if holder is None:
        return "another process"
    return f"process {holder.pid} on {holder.host} since {holder.since:%Y-%m-%d %H:%M:%S} UTC"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@cache
def _machine() -> str:
    """Identifies the machine, or the container, for which process ids are valid."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _runs(pid: int) -> bool:
    if os.name == "nt":
        return True  # on Windows, os.kill would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # another user's process, or an id that is not possible on this system
    return True


RENEWED_EVERY_S = 30.0
TRUSTED_FOR_S = 60.0
OVER_AFTER_S = 120.0
_LOOKS_EVERY_S = 0.25

_NAME = re.compile(r"lease-(\d{8})\.json")
_OLD_NAME = f"{STATE_DIR}/lease"  # earlier versions had only this file, and overwrote it
_logger = logging.getLogger(__name__)


class Leasable(Protocol):
    """A folder of small files, which are read and written at once. Thread-safe."""

    def create(self, name: str, content: bytes) -> bool:
        """Create the file unless it exists; returns whether it was created."""
        ...

    def write(self, name: str, content: bytes) -> None: ...

    def read(self, name: str) -> bytes:
        """The content of the file; empty if it does not exist."""
        ...

    def remove(self, name: str) -> None: ...

    def files(self, folder: str) -> dict[str, int]: ...

    def age(self, name: str) -> float | None:
        """How many seconds ago the file was written, by the clock of the storage.

        None if the storage does not tell.
        """
        ...


def seconds() -> float:
    """A clock that continues while the machine sleeps, and is never adjusted."""
    clock = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Lease:
    """The lease of a folder, which its holder has until another process takes over."""

    def __init__(self, folder: Leasable, number: int, me: LeaseHolder, confirmed: float) -> None:
        self._folder = folder
        self._number = number
        self._me = me
        self._confirmed = confirmed
        self._lost_to: ExportError | None = None
        self._renewing = threading.Lock()

    @property
    def token(self) -> str:
        """Identifies the holder."""
        return self._me.token

    def check(self) -> None:
        """Raise if another process has taken over the folder."""
        with self._renewing:
            if self._lost_to is None and seconds() - self._confirmed < TRUSTED_FOR_S:
                return
            self._renew()

    def renew(self) -> None:
        """Renew the lease; raises if another process has taken over the folder."""
        with self._renewing:
            self._renew()

    def release(self) -> None:
        """Let other processes use the folder."""
        with self._renewing:
            if self._lost_to is None:
                with suppress(ExportError):  # the export is complete, and the lease will expire
                    self._folder.write(_name(self._number), self._me.renewed(released=True).text)

    def lost(self) -> ExportError:
        """The error for a holder that has noticed another one."""
        holder = _newest_holder(self._folder, self._number)
        is_me = holder is not None and holder.token == self.token
        return ExportError(
            f"{self._folder} was taken over by {named(None if is_me else holder)}, because this"
            " export did not respond for too long. Export again when the other one is done."
        )

    def _renew(self) -> None:
        if self._lost_to is None:
            asked = seconds()
            name = _name(self._number)
            there = LeaseHolder.read(self._folder.read(name))
            if there is None or there.token == self.token:
                # In this order: a process that takes over checks for renewals after it has
                # created its file.
                self._me = self._me.renewed()
                self._folder.write(name, self._me.text)
                if max(_numbers(self._folder), default=self._number) <= self._number:
                    self._confirmed = asked
                    return
            self._lost_to = self.lost()
        raise ExportError(*self._lost_to.args)


@contextmanager
def leased(folder: Leasable) -> Iterator[Lease]:
    """Take the lease, and renew it while the block runs."""
    lease = _take(folder)
    ended = threading.Event()
    renewal = threading.Thread(target=_keep, args=(lease, ended), daemon=True)
    renewal.start()
    try:
        yield lease
    finally:
        ended.set()
        renewal.join()
        lease.release()


def _keep(lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(RENEWED_EVERY_S):
        with suppress(Exception):  # the next write checks the lease, and fails if it is lost
            lease.renew()


def _take(folder: Leasable) -> Lease:
    """Take the lease; raises if another process has it."""
    me = LeaseHolder.me()
    refused = 0
    while True:
        last = max(_numbers(folder), default=0)
        last = max(last, refused)  # a network file system may return an outdated list
        name = _name(last) if last else _OLD_NAME
        before = folder.read(name)
        if last and not before and last not in _numbers(folder):
            refused = 0
            continue  # another process was faster
        if (last or before) and _is_alive(folder, name, before):
            raise in_use(folder, LeaseHolder.read(before))
        mine = last + 1
        asked = seconds()
        if not folder.create(_name(mine), me.text):
            refused = mine
            continue
        _make_sure(folder, me, mine, name, before)
        _remove_older(folder, mine)
        return Lease(folder, mine, me, asked)


def _make_sure(folder: Leasable, me: LeaseHolder, mine: int, name: str, before: bytes) -> None:
    """Withdraw if another process came, or the last one woke up, before our file was created."""
    if max(_numbers(folder), default=mine) > mine:
        folder.remove(_name(mine))
        raise in_use(folder, _newest_holder(folder, mine))
    if (now := folder.read(name)) not in (before, b""):
        folder.remove(_name(mine))
        raise in_use(folder, LeaseHolder.read(now))
    # If the storage lets two processes create the same file, the later one wins.
    if folder.read(_name(mine)) != me.text:
        raise in_use(folder, _newest_holder(folder, mine))


def _is_alive(folder: Leasable, name: str, text: bytes) -> bool:
    holder = LeaseHolder.read(text)
    if holder and holder.has_ended:
        return False
    age = folder.age(name)
    if age is not None:
        return age < OVER_AFTER_S
    _logger.warning(
        "%s was left by %s. Waiting up to %d seconds to see whether it is still running.",
        folder,
        named(holder),
        OVER_AFTER_S,
    )
    return _changes(folder, name, text)


def _changes(folder: Leasable, name: str, text: bytes) -> bool:
    """Whether the holder renews its lease; waits until it would have expired."""
    started = seconds()
    while seconds() - started < OVER_AFTER_S:
        with suppress(RuntimeError):  # not called from an event loop
            anyio.from_thread.check_cancelled()
        time.sleep(_LOOKS_EVERY_S)
        if (now := folder.read(name)) != text:
            holder = LeaseHolder.read(now)
            return not (holder and holder.has_ended)
    return False


def _remove_older(folder: Leasable, mine: int) -> None:
    for name in folder.files(STATE_DIR):
        path = f"{STATE_DIR}/{name}"
        match = _NAME.fullmatch(name)
        if path == _OLD_NAME or (match and int(match[1]) < mine):
            folder.remove(path)


def _newest_holder(folder: Leasable, mine: int) -> LeaseHolder | None:
    """The last holder that there is, with a file after ours or in its place."""
    return LeaseHolder.read(folder.read(_name(max(_numbers(folder), default=mine))))


def _numbers(folder: Leasable) -> list[int]:
    return [int(match[1]) for name in folder.files(STATE_DIR) if (match := _NAME.fullmatch(name))]


def _name(number: int) -> str:
    return f"{STATE_DIR}/lease-{number:08}.json"
