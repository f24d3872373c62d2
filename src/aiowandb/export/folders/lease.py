"""One export at a time in a folder that has no locks, only files that several machines see.

Each holder makes a file with the next number, which only one can, and writes into it again
from time to time. Who comes next makes the file after it, once the last holder has said
that it is done, or has given no sign of life for a while: by the clock of the place where
the files lie, or by our own while we watch. No clock is compared with another.

A holder trusts its lease for half of that while after a sign of life and then makes sure.
So one that slept notices that another has taken over before it writes anything.
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
from aiowandb.export.folders.base import STATE_DIR


class Holder(msgspec.Struct, frozen=True):
    """A process that exports into a folder.

    Its times are those of its own clock and are only shown to people. `renewals` counts its
    signs of life, and no two holders have the same `token`.
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
    def me(cls) -> Holder:
        now = _now()
        token = secrets.token_hex(8)
        return cls(os.getpid(), socket.gethostname(), now, now, token, _machine())

    @classmethod
    def read(cls, text: bytes) -> Holder | None:
        """The holder whose text this is; None if it has not been written yet."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError:
            return None

    @property
    def text(self) -> bytes:
        return msgspec.json.encode(self)

    def renewed(self, *, released: bool = False) -> Holder:
        """The same with another sign of life, which is its last one if it is released."""
        return msgspec.structs.replace(
            self, seen=_now(), renewals=self.renewals + 1, released=released
        )

    @property
    def has_ended(self) -> bool:
        """Whether it is known that it exports no more."""
        return self.released or (self.machine == _machine() and not _runs(self.pid))


def in_use(folder: object, holder: Holder | None) -> ExportError:
    """The error for whoever comes second."""
    return ExportError(f"{folder} is being exported into by {named(holder)}: wait for that.")


def named(holder: Holder | None) -> str:
    """The holder as people know it."""
    if holder is None:
        return "another process"
    return f"process {holder.pid} on {holder.host} since {holder.since:%Y-%m-%d %H:%M:%S} UTC"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@cache
def _machine() -> str:
    """Where process ids mean the same: two containers may have one host name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _runs(pid: int) -> bool:
    if os.name == "nt":
        return True  # there, this question would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # somebody else's, or none that this system could have
    return True


RENEWED_EVERY_S = 30.0
TRUSTED_FOR_S = 60.0
OVER_AFTER_S = 120.0
_LOOKS_EVERY_S = 0.25

_NAME = re.compile(r"lease-(\d{8})\.json")
_OLD_NAME = f"{STATE_DIR}/lease"  # of versions that had but one, and wrote over it
_logger = logging.getLogger(__name__)


class Leasable(Protocol):
    """A folder whose small files are written and read as a whole. Threads may share it."""

    def create(self, name: str, content: bytes) -> bool:
        """Make a file, unless there is one of that name; say whether it was made."""
        ...

    def write(self, name: str, content: bytes) -> None: ...

    def read(self, name: str) -> bytes:
        """The content of a file, nothing if there is none."""
        ...

    def remove(self, name: str) -> None: ...

    def files(self, folder: str) -> dict[str, int]: ...

    def age(self, name: str) -> float | None:
        """How many seconds ago the file was written, by the clock of the place where it lies.

        None if that cannot be known.
        """
        ...


def seconds() -> float:
    """A clock that goes on while the machine sleeps, and is never set."""
    clock = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Lease:
    """What the holder of a folder has until somebody else takes it over."""

    def __init__(self, folder: Leasable, number: int, me: Holder, confirmed: float) -> None:
        self._folder = folder
        self._number = number
        self._me = me
        self._confirmed = confirmed
        self._lost_to: ExportError | None = None
        self._renewing = threading.Lock()

    @property
    def token(self) -> str:
        """What no other holder has."""
        return self._me.token

    def check(self) -> None:
        """Raise if somebody else has taken the folder over."""
        with self._renewing:
            if self._lost_to is None and seconds() - self._confirmed < TRUSTED_FOR_S:
                return
            self._renew()

    def renew(self) -> None:
        """Give a sign of life, and make sure that nobody else has taken the folder over."""
        with self._renewing:
            self._renew()

    def release(self) -> None:
        """Say that we are done."""
        with self._renewing:
            if self._lost_to is None:
                with suppress(ExportError):  # what was exported is there; the lease runs out
                    self._folder.write(_name(self._number), self._me.renewed(released=True).text)

    def lost(self) -> ExportError:
        """The error for a holder that has found something of another one."""
        last = max(_numbers(self._folder), default=self._number)
        holder = Holder.read(self._folder.read(_name(last)))
        is_me = holder is not None and holder.token == self.token
        return ExportError(
            f"{self._folder} was taken over by {named(None if is_me else holder)}, because this"
            " export gave no sign of life for too long. Export again when the other one is done."
        )

    def _renew(self) -> None:
        if self._lost_to is None:
            asked = seconds()
            name = _name(self._number)
            there = Holder.read(self._folder.read(name))
            if there is None or there.token == self.token:
                # In this order: who takes over looks for signs of life after making its file.
                self._me = self._me.renewed()
                self._folder.write(name, self._me.text)
                if max(_numbers(self._folder), default=self._number) <= self._number:
                    self._confirmed = asked
                    return
            self._lost_to = self.lost()
        raise ExportError(*self._lost_to.args)


@contextmanager
def leased(folder: Leasable) -> Iterator[Lease]:
    """Hold the lease while the block runs."""
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
        with suppress(Exception):  # whoever writes next makes sure, and fails if need be
            lease.renew()


def _take(folder: Leasable) -> Lease:
    """Become the holder, or say who it is."""
    me = Holder.me()
    refused = 0
    while True:
        last = max(_numbers(folder), default=0)
        last = max(last, refused)  # a network file system may show an old list
        name = _name(last) if last else _OLD_NAME
        before = folder.read(name)
        if last and not before and last not in _numbers(folder):
            refused = 0
            continue  # somebody was quicker
        if (last or before) and _is_alive(folder, name, before):
            raise in_use(folder, Holder.read(before))
        mine = last + 1
        asked = seconds()
        if not folder.create(_name(mine), me.text):
            refused = mine
            continue
        _make_sure(folder, me, mine, name, before)
        _remove_older(folder, mine)
        return Lease(folder, mine, me, asked)


def _make_sure(folder: Leasable, me: Holder, mine: int, name: str, before: bytes) -> None:
    """Withdraw if, between our look and our file, somebody came or the last one woke up."""
    newest = max(_numbers(folder), default=mine)
    if newest > mine:
        folder.remove(_name(mine))
        raise in_use(folder, Holder.read(folder.read(_name(newest))))
    if (now := folder.read(name)) not in (before, b""):
        folder.remove(_name(mine))
        raise in_use(folder, Holder.read(now))
    # Where two can make one file, the later one has it.
    if (now := folder.read(_name(mine))) != me.text:
        raise in_use(folder, Holder.read(now))


def _is_alive(folder: Leasable, name: str, text: bytes) -> bool:
    holder = Holder.read(text)
    if holder and holder.has_ended:
        return False
    age = folder.age(name)
    if age is not None:
        return age < OVER_AFTER_S
    _logger.warning(
        "%s was left by %s. Waiting up to %d seconds for a sign of life.",
        folder,
        named(holder),
        OVER_AFTER_S,
    )
    return _changes(folder, name, text)


def _changes(folder: Leasable, name: str, text: bytes) -> bool:
    """Watch the file for as long as a holder may be silent."""
    started = seconds()
    while seconds() - started < OVER_AFTER_S:
        with suppress(RuntimeError):  # not called from an event loop
            anyio.from_thread.check_cancelled()
        time.sleep(_LOOKS_EVERY_S)
        if (now := folder.read(name)) != text:
            holder = Holder.read(now)
            return not (holder and holder.has_ended)
    return False


def _remove_older(folder: Leasable, mine: int) -> None:
    for name in folder.files(STATE_DIR):
        path = f"{STATE_DIR}/{name}"
        match = _NAME.fullmatch(name)
        if path == _OLD_NAME or (match and int(match[1]) < mine):
            folder.remove(path)


def _numbers(folder: Leasable) -> list[int]:
    return [int(match[1]) for name in folder.files(STATE_DIR) if (match := _NAME.fullmatch(name))]


def _name(number: int) -> str:
    return f"{STATE_DIR}/lease-{number:08}.json"
