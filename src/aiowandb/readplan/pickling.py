"""How plans and parts travel: in few bytes, and only to the version that made them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeVar

import msgspec

from aiowandb.errors import UsageError

# To be raised with each change of what is pickled.
FORMAT = 2

D = TypeVar("D", bound=msgspec.Struct)


def pickled(make: Callable[[D], object], data: D) -> tuple[object, ...]:
    """What `__reduce__` gives for an object that is made of a struct."""
    content = zlib.compress(msgspec.msgpack.encode(data), 6)
    return unpickled, (make, type(data), FORMAT, content)


def unpickled(make: Callable[[D], object], kind: type[D], version: int, content: bytes) -> object:
    """What was pickled, if it was by this version of the library."""
    if version == FORMAT:
        try:
            return make(msgspec.msgpack.decode(zlib.decompress(content), type=kind))
        except (msgspec.MsgspecError, zlib.error):
            pass
    raise UsageError(
        f"This {getattr(make, '__name__', 'plan')} was made by another version of aiowandb: make"
        " a new plan, with the version that reads it."
    )
