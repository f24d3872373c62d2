"""Reads TensorBoard's event files, as far as possible and without TensorBoard.

A file is a list of records, each with its length and two checksums; a record is a protobuf message
`Event`. Few of its fields matter, and their numbers never change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec

from aiowandb.ingest.sources.protobuf import Message
from aiowandb.wire.rows import plain_value

_LENGTH = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_CASTAGNOLI = 0x82F63B78
_MASK = 0xA282EAD8
# Checksums are computed in Python: for images that would take longer than everything else.
_CHECKED_BYTES = 16 << 10
_LARGEST_RECORD = 256 << 20

# How tensors of these types are packed, and the field of their values if they are not.
_PACKED = {1: "f", 2: "d", 3: "i", 9: "q", 19: "e"}
_FLOATS = {1: (5, "f"), 2: (6, "d")}
_INTEGERS = {3: 7, 9: 10, 4: 7, 5: 7, 6: 7}
_TEXT = 7


class Image(msgspec.Struct, frozen=True):
    """An image, encoded, with its size in pixels."""

    content: bytes
    width: int
    height: int

    @property
    def suffix(self) -> str:
        """The file name suffix of its format."""
        for start, name in _FORMATS.items():
            if self.content.startswith(start):
                return name
        return "img"


_FORMATS = {b"\x89PNG": "png", b"\xff\xd8": "jpg", b"GIF8": "gif"}


class Histogram(msgspec.Struct, frozen=True):
    """The number of values between each pair of edges."""

    edges: Sequence[float]
    counts: Sequence[float]


class HParams(msgspec.Struct, frozen=True):
    """The hyperparameters of a run."""

    values: Mapping[str, Any]


Value: TypeAlias = float | int | str | Image | Histogram | HParams


class Event(msgspec.Struct, frozen=True):
    """A value of a tag at a step; None if it is of a kind that cannot be imported."""

    time: float
    step: int
    tag: str
    value: Value | None
    plugin: str = ""


class EventFile:
    """Reads one file. Afterwards, `is_cut` and `damaged` show what is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_cut = False
        self.damaged = 0

    @property
    def damage(self) -> list[str]:
        """What could not be read, as text."""
        found = []
        if self.damaged:
            found.append(f"{self.damaged} damaged records of {self.path.name}")
        if self.is_cut:
            found.append(f"the end of {self.path.name}, which is cut off or damaged")
        return found

    def __iter__(self) -> Iterator[Event]:
        """The values. Blocks."""
        self.is_cut, self.damaged = False, 0
        with self.path.open("rb") as file:
            for data in self._records(file):
                try:
                    yield from _events(Message(data))
                except (ValueError, IndexError, struct.error):
                    self.damaged += 1

    def _records(self, file: BinaryIO) -> Iterator[bytes]:
        while header := file.read(_LENGTH.size):
            if len(header) < _LENGTH.size:
                self.is_cut = True
                return
            size, checksum = _LENGTH.unpack(header)
            if size > _LARGEST_RECORD or checksum != masked_checksum(header[:8]):
                self.is_cut = True  # the start of the next record is not known
                return
            data = file.read(size + _CHECKSUM.size)
            if len(data) < size + _CHECKSUM.size:
                self.is_cut = True
                return
            content, (checksum,) = data[:size], _CHECKSUM.unpack(data[size:])
            if size <= _CHECKED_BYTES and checksum != masked_checksum(content):
                self.damaged += 1
                continue
            yield content


def masked_checksum(data: bytes) -> int:
    """The checksum in records."""
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum = _TABLE[(checksum ^ byte) & 0xFF] ^ (checksum >> 8)
    checksum ^= 0xFFFFFFFF
    return ((checksum >> 15 | checksum << 17) + _MASK) & 0xFFFFFFFF


def _entry(number: int) -> int:
    for _ in range(8):
        number = number >> 1 ^ (_CASTAGNOLI if number & 1 else 0)
    return number


_TABLE = [_entry(number) for number in range(256)]


def _events(event: Message) -> Iterator[Event]:
    (time,) = event.numbers_as(1, "d") or [0.0]
    for value in event.message(5).messages(1):
        plugin = value.message(9).message(1)
        name = plugin.text(1)
        found = HParams(_hparams(plugin)) if name == "hparams" else _value(value, name)
        yield Event(time, event.integer(2), value.text(1), found, name)


def _value(value: Message, plugin: str) -> Value | None:
    if 2 in value:
        return value.numbers_as(2, "f")[0]
    if 4 in value:
        image = value.message(4)
        return Image(image.data(4), image.integer(2), image.integer(1))
    if 5 in value:
        return _histogram(value.message(5))
    if 8 in value:
        return _tensor(value.message(8), plugin)
    return None


def _histogram(histogram: Message) -> Histogram | None:
    limits, counts = histogram.numbers_as(6, "d"), histogram.numbers_as(7, "d")
    used = [index for index, count in enumerate(counts) if count]
    if not used or len(limits) != len(counts):
        return None
    least, largest = (next(iter(histogram.numbers_as(end, "d")), 0.0) for end in (1, 2))
    first, last = used[0], used[-1]
    # The outermost edges are the minimum and the maximum: the limits go to infinity.
    edges = [least, *limits[first:last], largest]
    return Histogram(edges, counts[first : last + 1])


def _tensor(tensor: Message, plugin: str) -> Value | None:
    kind = tensor.integer(1)
    if kind == _TEXT:
        return _of_texts(tensor, plugin)
    if content := tensor.data(4):
        packed = _PACKED.get(kind)
        if packed is None:
            return None
        count = len(content) // struct.calcsize(packed)
        values: Sequence[float] = struct.unpack_from(f"<{count}{packed}", content)
    elif kind in _FLOATS:
        values = tensor.numbers_as(*_FLOATS[kind])
    else:
        values = tensor.integers(_INTEGERS.get(kind, 0))
    if plugin == "histograms":
        return _of_buckets(values)
    return values[0] if len(values) == 1 else None


def _of_texts(tensor: Message, plugin: str) -> Value | None:
    texts = tensor.texts(8)
    if plugin == "images" and len(texts) > 2:
        width, height = (int(text) for text in texts[:2])
        # One of a batch represents all of them, as in TensorBoard.
        return Image(tensor.blobs(8)[2], width, height)
    return "\n\n".join(texts) if texts else None


def _of_buckets(values: Sequence[float]) -> Histogram | None:
    buckets = [values[place : place + 3] for place in range(0, len(values) - 2, 3)]
    buckets = [bucket for bucket in buckets if bucket[2]]
    if not buckets:
        return None
    edges = [buckets[0][0], *(right for _, right, _ in buckets)]
    return Histogram(edges, [count for _, _, count in buckets])


def _hparams(plugin: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    started = Message(plugin.data(2)).message(3)
    for entry in started.messages(1):
        value = entry.message(2)
        if 2 in value:
            number = value.numbers_as(2, "d")[0]
            found[entry.text(1)] = plain_value(number)
        elif 3 in value:
            found[entry.text(1)] = value.text(3)
        elif 4 in value:
            found[entry.text(1)] = value.flag(4)
    return found
