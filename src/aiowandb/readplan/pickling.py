"""Pickles plans and parts in few bytes, and unpickles those of the same version only.

Plans are sent between processes that run the same code at the same time, and are not stored:
an error that says so is safer than reading the data of another version.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeVar

import msgspec

from aiowandb.errors import UsageError

# Increase this with every change of the pickled structs.
FORMAT = 3

D = TypeVar("D", bound=msgspec.Struct)


def pickled(make: Callable[[D], object], data: D) -> tuple[object, ...]:
    """The result of `__reduce__` for an object that `make` creates from a struct."""
    content = zlib.compress(msgspec.msgpack.encode(data), 6)
    return unpickled, (make, type(data), FORMAT, content)


def unpickled(make: Callable[[D], object], kind: type[D], version: int, content: bytes) -> object:
    """The object; raises if it was pickled by another version of the library.

    Pickles refer to this function by its name, so keep it where it is.
    """
    if version == FORMAT:
        try:
            return make(msgspec.msgpack.decode(zlib.decompress(content), type=kind))
        except (msgspec.MsgspecError, zlib.error):
            pass
    raise UsageError(
        f"This {getattr(make, '__name__', 'plan')} was made by another version of aiowandb: make"
        " a new plan with the version that reads it."
    )
