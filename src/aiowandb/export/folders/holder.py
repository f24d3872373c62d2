"""Who exports into a folder, and how that is told to the next one."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime

import msgspec

from aiowandb.errors import ExportError


class Holder(msgspec.Struct, frozen=True):
    """A process that exports into a folder. `seen` is its last sign of life."""

    pid: int
    host: str
    since: datetime
    seen: datetime

    @classmethod
    def me(cls) -> Holder:
        now = datetime.now(UTC).replace(microsecond=0)
        return cls(os.getpid(), socket.gethostname(), now, now)

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


def in_use(folder: object, holder: Holder | None) -> ExportError:
    """What is to be said to whoever comes second."""
    who = "another process"
    if holder:
        since = f"{holder.since:%Y-%m-%d %H:%M:%S} UTC"
        who = f"process {holder.pid} on {holder.host} since {since}"
    return ExportError(f"{folder} is being exported into by {who}: wait for that.")
