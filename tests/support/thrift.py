"""Structs in Thrift's compact protocol, as Parquet has them in footers: read, changed, written.

A struct is a dict of its fields by number, each with its type: `{1: (I32, 2)}`. A list is a tuple
of the type of its items and a list of them. Numbers are integers, and all other values are bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, STRUCT = *range(1, 10), 12
_FIXED = {TRUE: 0, FALSE: 0, BYTE: 1, DOUBLE: 8}
Struct = dict[int, tuple[int, Any]]


def read_struct(data: bytes, at: int = 0) -> tuple[Struct, int]:
    """A struct, and where it ends."""
    found: Struct = {}
    number = 0
    while head := data[at]:
        kind, at = head & 15, at + 1
        number += head >> 4
        assert head > kind, "short fields only, as pyarrow writes them"
        value, at = _read(data, at, kind)
        found[number] = (kind, value)
    return found, at + 1


def write_struct(fields: Struct) -> bytes:
    """The bytes of a struct, whose fields may be in any order."""
    content, last = b"", 0
    for number, (kind, value) in fields.items():
        if 0 < number - last < 16:
            content += bytes([number - last << 4 | kind])
        else:
            content += bytes([kind]) + integer(number)
        content += _write(kind, value)
        last = number
    return content + b"\0"


def integer(number: int) -> bytes:
    """A signed integer: zigzag, seven bits a byte."""
    return _unsigned(number * 2 if number >= 0 else -number * 2 - 1)


def changed_footer(content: bytes, change: Callable[[Struct], object]) -> bytes:
    """A Parquet file, after a change to each column of each row group in its footer."""
    size = int.from_bytes(content[-8:-4], "little")
    footer, end = read_struct(content[-8 - size : -8])
    assert end == size
    for group in footer[4][1][1]:
        for column in group[1][1][1]:
            change(column)
    written = write_struct(footer)
    return content[: -8 - size] + written + len(written).to_bytes(4, "little") + b"PAR1"


def _read(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in _FIXED:
        return data[at : at + _FIXED[kind]], at + _FIXED[kind]
    if kind == STRUCT:
        return read_struct(data, at)
    if kind == LIST:
        head, at = data[at], at + 1
        size = head >> 4
        if size == 15:
            size, at = _read_unsigned(data, at)
        items = []
        for _ in range(size):
            item, at = _read(data, at, head & 15)
            items.append(item)
        return (head & 15, items), at
    number, at = _read_unsigned(data, at)
    if kind == BINARY:
        return data[at : at + number], at + number
    return number >> 1 ^ -(number & 1), at


def _write(kind: int, value: Any) -> bytes:
    if kind in _FIXED:
        return bytes(value)
    if kind == STRUCT:
        return write_struct(value)
    if kind == LIST:
        of, items = value
        size = len(items)
        head = bytes([size << 4 | of]) if size < 15 else bytes([0xF0 | of]) + _unsigned(size)
        return head + b"".join(_write(of, item) for item in items)
    if kind == BINARY:
        return _unsigned(len(value)) + bytes(value)
    return integer(value)


def _read_unsigned(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while data[at] > 127:
        found, shift, at = found | (data[at] & 127) << shift, shift + 7, at + 1
    return found | data[at] << shift, at + 1


def _unsigned(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])
