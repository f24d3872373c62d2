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
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import anyio.from_thread

from aiowandb.errors import ExportError
from aiowandb.export.folders.base import STATE_DIR
from aiowandb.export.folders.holder import Holder, in_use, named

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
