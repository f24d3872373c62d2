"""Decodes protobuf messages by field numbers.

The numbers in W&B's schema never change, and an importer needs few of them. So logs of any version
can be read without the wandb package, whose modules each need a certain version of protobuf.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIGN = 1 << 63
# Integers have 64 bits, of which each byte has seven.
_LAST_SHIFT = 63


class MalformedMessage(ValueError):
    """Bytes that are not a message."""


class Message:
    """A message: the values of its fields, by number."""

    __slots__ = ("_fields",)

    def __init__(self, data: bytes) -> None:
        self._fields: defaultdict[int, list[int | bytes]] = defaultdict(list)
        for number, value in _fields(data):
            self._fields[number].append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of the fields that are set, in their order."""
        return list(self._fields)

    def data(self, number: int) -> bytes:
        """The last value of a field of bytes, empty if it is not set."""
        found = self._fields.get(number)
        return found[-1] if found and isinstance(found[-1], bytes) else b""

    def text(self, number: int) -> str:
        """The last value of a text field."""
        return self.data(number).decode(errors="replace")

    def texts(self, number: int) -> list[str]:
        """All values of a text field."""
        return [value.decode(errors="replace") for value in self.blobs(number)]

    def blobs(self, number: int) -> list[bytes]:
        """All values of a field of bytes."""
        return [value for value in self._fields.get(number, ()) if isinstance(value, bytes)]

    def integer(self, number: int) -> int:
        """The last value of an integer field, 0 if it is not set."""
        found = self._fields.get(number)
        value = found[-1] if found else 0
        return _signed(value) if isinstance(value, int) else 0

    def flag(self, number: int) -> bool:
        """The last value of a boolean field."""
        return bool(self.integer(number))

    def numbers_as(self, number: int, kind: str) -> list[float]:
        """All numbers of fixed size in a field: `d` for doubles, `f` for floats."""
        data = b"".join(self.blobs(number))
        count = len(data) // struct.calcsize(kind)
        return list(struct.unpack_from(f"<{count}{kind}", data))

    def integers(self, number: int) -> list[int]:
        """All integers in a field, whether they are packed or not."""
        found = list[int]()
        for value in self._fields.get(number, ()):
            place = 0
            while isinstance(value, bytes) and place < len(value):
                try:
                    integer, place = _varint(value, place)
                except IndexError:
                    raise MalformedMessage("a list of integers ends within one") from None
                found.append(_signed(integer))
            if isinstance(value, int):
                found.append(_signed(value))
        return found

    def message(self, number: int) -> Message:
        """The message in a field, an empty one if it is not set."""
        return Message(self.data(number))

    def messages(self, number: int) -> Iterator[Message]:
        """All messages in a field."""
        return map(Message, self.blobs(number))

    def nanoseconds(self, number: int) -> int | None:
        """The timestamp in a field, in nanoseconds since 1970."""
        if number not in self:
            return None
        moment = self.message(number)
        return moment.integer(1) * 10**9 + moment.integer(2)


def _signed(value: int) -> int:
    return value - 2 * _SIGN if value >= _SIGN else value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    place, end = 0, len(data)
    try:
        while place < end:
            key, place = _varint(data, place)
            kind = key & 7
            value: int | bytes
            if kind == _VARINT:
                value, place = _varint(data, place)
            elif kind == _BYTES:
                size, place = _varint(data, place)
                value = data[place : place + size]
                place += size
            elif kind == _FIXED64:
                value, place = data[place : place + 8], place + 8
            elif kind == _FIXED32:
                value, place = data[place : place + 4], place + 4
            else:
                raise MalformedMessage(f"a field has the unknown wire type {kind}")
            if place > end:
                break
            yield key >> 3, value
    except IndexError:
        place = end + 1
    if place > end:
        raise MalformedMessage("a message ends within a field")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    byte = data[place]
    if byte < 0x80:
        return byte, place + 1
    value, shift = byte & 0x7F, 7
    while shift <= _LAST_SHIFT:
        place += 1
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2 * _SIGN - 1), place + 1
        shift += 7
    raise MalformedMessage("an integer has more than 64 bits")
