"""Reads the records of a `.wandb` file of W&B's client, as far as possible.

The layout is that of LevelDB: blocks of 32 KiB with chunks, each with a checksum. A record is one
chunk or several. After damage, reading continues with the next block.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from aiowandb.errors import ContentError

_HEADER = b":W&B\xe1\xbe"  # and a byte with the version
_HEADER_SIZE = 7
_VERSION = 0
_BLOCK = 32 << 10
# A damaged log, or one that somebody else has made, may have a record without end.
_LARGEST_RECORD = 128 << 20
_CHUNK = struct.Struct("<IHB")


class _Part(IntEnum):
    """The part of a record that a chunk is."""

    FULL = 1
    FIRST = 2
    MIDDLE = 3
    LAST = 4


class LogReader:
    """Reads the records of one log. Afterwards, `damage` is what could not be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged_blocks = 0
        self.is_cut = False

    @property
    def damage(self) -> list[str]:
        """What is missing, as text."""
        found = []
        if self.damaged_blocks:
            found.append(f"{self.damaged_blocks} damaged blocks of {self.path.name}")
        if self.is_cut:
            found.append(f"the end of {self.path.name}, which is cut off within a record")
        return found

    def __iter__(self) -> Iterator[bytes]:
        """The records. Blocks."""
        self.damaged_blocks, self.is_cut = 0, False
        with self.path.open("rb") as file:
            if self._check_header(file):
                yield from self._records(file)

    def _check_header(self, file: BinaryIO) -> bool:
        header = file.read(_HEADER_SIZE)
        if header[: len(_HEADER)] != _HEADER[: len(header)]:
            raise ContentError(f"{self.path} is not a log of wandb.", name=self.path.name)
        if len(header) < _HEADER_SIZE:
            self.is_cut = True  # the script was killed before it had written anything
            return False
        if header[-1] != _VERSION:
            raise ContentError(
                f"{self.path} has version {header[-1]} of the format; only {_VERSION} is known.",
                name=self.path.name,
            )
        return True

    def _records(self, file: BinaryIO) -> Iterator[bytes]:
        parts: list[bytes] | None = None  # of the record that has begun
        block = file.read(_BLOCK - _HEADER_SIZE)
        while block:
            following = file.read(_BLOCK)
            for part, payload in self._chunks(block, is_last=not following):
                if part is None:
                    parts = None
                elif part is _Part.FULL:
                    parts = None
                    yield payload
                elif part is _Part.FIRST:
                    parts = [payload]
                elif parts is not None and len(parts) * _BLOCK > _LARGEST_RECORD:
                    parts = None
                    self.damaged_blocks += 1
                elif parts is not None:
                    parts.append(payload)
                    if part is _Part.LAST:
                        yield b"".join(parts)
                        parts = None
            block = following
        self.is_cut = self.is_cut or parts is not None

    def _chunks(self, block: bytes, *, is_last: bool) -> Iterator[tuple[_Part | None, bytes]]:
        """The chunks of a block; None for damage, after which the rest of the block is skipped."""
        place = 0
        while place + _CHUNK.size <= len(block):
            checksum, size, kind = _CHUNK.unpack_from(block, place)
            place += _CHUNK.size
            if not (checksum or size or kind):
                return  # the rest of the block is zeros
            payload = block[place : place + size]
            if is_last and len(payload) < size:
                self.is_cut = True
                yield None, b""
                return
            if kind not in iter(_Part) or crc32(bytes([kind]) + payload) != checksum:
                self.damaged_blocks += 1
                yield None, b""
                return
            yield _Part(kind), payload
            place += size
        if is_last and block[place:].strip(b"\0"):
            self.is_cut = True
