"""Structs in Thrift's compact protocol: the footers of Parquet files, and the headers of pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The types of values.
_TRUE, _FALSE, _BYTE, _I16, I32, I64, _DOUBLE, BINARY, LIST, _SET, STRUCT = *range(1, 11), 12

# The fields to keep of a struct, by number: of which type they must be, and what to keep of those
# in them. All others are skipped.
Fields = Mapping[int, tuple[int, "Fields"]]
NOTHING: Fields = {}

_MOST_LEVELS = 16


class ThriftReader:
    """Reads structs of Thrift's compact protocol; raises LookupError or ValueError."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data
        # Where the next value begins.
        self.position = 0

    def struct(self, fields: Fields, level: int = 0) -> dict[int, Any]:
        """The fields of a struct that are wanted, by number."""
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            kind = head & 15
            number = number + (head >> 4) if head > kind else self._integer()
            wanted, below = fields.get(number, (None, None))
            value = self._value(kind, below if kind == wanted else None, level)
            if kind == wanted:
                found[number] = value
        return found

    def _value(self, kind: int, fields: Fields | None, level: int) -> Any:
        if level > _MOST_LEVELS:
            raise ValueError("its metadata are nested too deeply")
        if kind in (_I16, I32, I64):
            return self._integer()
        if kind == BINARY:
            return self._bytes(self._unsigned())
        if kind == STRUCT:
            return self.struct(fields or NOTHING, level + 1)
        if kind in (LIST, _SET):
            return self._list(fields, level)
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in (_BYTE, _DOUBLE):
            return self._bytes(1 if kind == _BYTE else 8)
        raise ValueError(f"its metadata have a value of the unknown kind {kind}")

    def _list(self, fields: Fields | None, level: int) -> list[Any]:
        head = self._byte()
        size, kind = head >> 4, head & 15
        size = self._unsigned() if size == 15 else size
        # In a list, a boolean is a byte.
        kind = _BYTE if kind in (_TRUE, _FALSE) else kind
        values = (self._value(kind, fields, level + 1) for _ in range(size))
        if fields is not None:
            return list(values)
        for _ in values:  # skipped
            pass
        return []

    def _bytes(self, size: int) -> bytes:
        start, self.position = self.position, self.position + size
        if self.position > len(self._data):
            raise ValueError("its metadata are cut off")
        return bytes(self._data[start : self.position])

    def _byte(self) -> int:
        byte = self._data[self.position]
        self.position += 1
        return byte

    def _integer(self) -> int:
        found = self._unsigned()
        return (found >> 1) ^ -(found & 1)

    def _unsigned(self) -> int:
        found = shift = 0
        while (byte := self._byte()) > 127:
            found |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("its metadata have a number that is too long")
        return found | byte << shift
