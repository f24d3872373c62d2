"""Who exports into a folder, and what the next one reads of that."""

from __future__ import annotations

import os
import secrets
import socket
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import msgspec

from aiowandb.errors import ExportError


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
