"""Reads messages in the wire format of Protocol Buffers.

Written by hand: the few messages of the typed file stream need a fraction of the format, and
Google's package, whose versions are tied to those of generated code, is pinned by other packages
that are installed next to this one, the `wandb` SDK among them.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import TYPE_CHECKING

from aiowandb_server.errors import RequestError
from aiowandb_server.store.metering import charge

if TYPE_CHECKING:
    from collections.abc import Sequence

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
# A field takes two bytes, and fifty times as much memory: more than any client has to send at once.
MAX_FIELDS = 2**20
# What a field, and an integer in a list of them, takes in memory.
_SIZE_OF_FIELD = 150
SIZE_OF_INTEGER = 44
_FIELDS_AT_ONCE = 1_024
# The bytes with which a number does not end.
_NOT_LAST = bytes(range(0x80, 0x100))


class ProtobufMessage:
    """The fields of a message by their numbers, each with all its values.

    Unknown fields, which a newer client may send, are ignored. Values have the type that is
    requested. Raises RequestError if the bytes are not a message.
    """

    def __init__(self, data: bytes) -> None:
        self._values: dict[int, list[tuple[int, int | bytes]]] = {}
        at, end, count = 0, len(data), 0
        charge(end)
        while at < end:
            if count % _FIELDS_AT_ONCE == 0:
                charge(_FIELDS_AT_ONCE * _SIZE_OF_FIELD)
            count += 1
            if count > MAX_FIELDS:
                raise RequestError(f"the message has more than {MAX_FIELDS} fields", 413)
            tag, at = _varint(data, at)
            number, kind = tag >> 3, tag & 7
            value: int | bytes
            if kind == _VARINT:
                value, at = _varint(data, at)
            elif kind in (_FIXED64, _FIXED32, _BYTES):
                size, at = (_SIZES[kind], at) if kind != _BYTES else _varint(data, at)
                if size > end - at:
                    raise RequestError(f"the message ends within field {number}")
                value, at = data[at : at + size], at + size
            else:
                raise RequestError(f"field {number} has the unknown wire type {kind}")
            if not 0 < number < 2**29:
                raise RequestError(f"{number} is not the number of a field")
            self._values.setdefault(number, []).append((kind, value))

    def integer(self, number: int, bits: int = 64) -> int | None:
        """A signed integer of that many bits; None if it is not set."""
        found = self._last(number, _VARINT)
        return None if found is None else _signed(int(found), bits)

    def flag(self, number: int) -> bool | None:
        found = self._last(number, _VARINT)
        return None if found is None else bool(found)

    def text(self, number: int) -> str:
        texts = self.texts(number)
        return texts[-1] if texts else ""

    def texts(self, number: int) -> list[str]:
        pieces = self._pieces(number)
        # A character takes up to four bytes, if there is one among them that needs so many.
        charge(sum(map(len, pieces)) * 4 + len(pieces) * _SIZE_OF_FIELD)
        try:
            return [str(value, "utf-8") for value in pieces]
        except UnicodeDecodeError as error:
            raise RequestError(f"field {number} is not UTF-8: {error}") from error

    def message(self, number: int) -> ProtobufMessage | None:
        # A message that comes in pieces is their sum, by definition of the format.
        pieces = self._pieces(number)
        return ProtobufMessage(b"".join(pieces)) if pieces else None

    def messages(self, number: int) -> list[ProtobufMessage]:
        return [ProtobufMessage(piece) for piece in self._pieces(number)]

    def varints(self, number: int) -> Sequence[int]:
        """A list of unsigned integers, packed or not."""
        values = self._values.get(number, ())
        if len(values) == 1 and values[0][0] == _BYTES:
            return _unpacked(_as_bytes(values[0][1]))
        found: list[int] = []
        for kind, value in values:
            if kind == _VARINT:
                found.append(int(value))
            elif kind == _BYTES:
                found += _unpacked(_as_bytes(value))
            else:
                raise _wrong_type(number)
        return found

    def unsigned(self, number: int) -> Sequence[int]:
        """A list of `uint32`."""
        found = self.varints(number)
        # Longer ones lose their upper bits, by definition of the format.
        if isinstance(found, bytes):
            return found
        charge(len(found) * SIZE_OF_INTEGER)
        return [value & 0xFFFFFFFF for value in found]

    def zigzag(self, number: int) -> list[int]:
        """A list of `sint64`."""
        found = self.varints(number)
        charge(len(found) * SIZE_OF_INTEGER)
        return [(value >> 1) ^ -(value & 1) for value in found]

    def doubles(self, number: int) -> Sequence[float]:
        """A list of `double`, packed or not."""
        found = array("d")
        for kind, value in self._values.get(number, ()):
            piece = _as_bytes(value)
            if kind not in (_BYTES, _FIXED64) or len(piece) % 8:
                raise _wrong_type(number)
            charge(len(piece))
            found.frombytes(piece)
        if sys.byteorder == "big":
            found.byteswap()
        return found

    def _pieces(self, number: int) -> list[bytes]:
        values = self._values.get(number, ())
        if any(kind != _BYTES for kind, _ in values):
            raise _wrong_type(number)
        return [_as_bytes(value) for _, value in values]

    def _last(self, number: int, kind: int) -> int | bytes | None:
        values = self._values.get(number)
        if not values:
            return None
        found, value = values[-1]
        if found != kind:
            raise _wrong_type(number)
        return value


def _wrong_type(number: int) -> RequestError:
    return RequestError(f"field {number} does not have the type of the schema")


def _as_bytes(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else struct.pack("<Q", value)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _unpacked(data: bytes) -> Sequence[int]:
    if data.isascii():
        # Every value has one byte, and `bytes` are a list of integers already.
        return data
    charge(len(data.translate(None, _NOT_LAST)) * SIZE_OF_INTEGER)
    found: list[int] = []
    at, end = 0, len(data)
    while at < end:
        value, at = _varint(data, at)
        found.append(value)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned integer that begins there, and where it ends."""
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise RequestError("the message ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise RequestError("a number of the message is too long")
