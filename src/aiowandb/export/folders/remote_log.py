"""A log in an object store, where files cannot grow: numbered objects of one or several lines.

An object is created only if its number is not used, so an export that was taken over finds the
number of its next line in use. An object may be a snapshot, which replaces all objects with lower
numbers. Logs of earlier versions are a single object, which was overwritten for each line; it is
read unless there is a snapshot.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import msgspec

from aiowandb.errors import ExportError
from aiowandb.export.folders.appending import complete_lines

T = TypeVar("T")

_NAME = re.compile(r"(\d{8,})\.jsonl")
_READ_AT_ONCE = 16
# Lines that need not be durable are written with one that is, or when they have this many bytes.
_MOST_WAITING = 1 << 18
# More objects than this are replaced by a snapshot, because reading takes a request for each.
_MANY_OBJECTS = 64
_logger = logging.getLogger(__name__)


class _Header(msgspec.Struct, frozen=True):
    """The first line of an object."""

    writer: str
    number: int
    snapshot: bool = False


class _Object(msgspec.Struct, frozen=True):
    header: _Header
    text: bytes

    @classmethod
    def read(cls, content: bytes) -> _Object | None:
        first, _, text = content.partition(b"\n")
        try:
            return cls(msgspec.json.decode(first, type=_Header), text)
        except msgspec.MsgspecError:
            return None

    @property
    def content(self) -> bytes:
        return msgspec.json.encode(self.header) + b"\n" + self.text


class ObjectFolder(Protocol):
    """A folder that only its holder writes to. Thread-safe."""

    def create(self, name: str, content: bytes) -> bool: ...

    def read(self, name: str) -> bytes: ...

    def remove(self, name: str) -> None: ...

    def files(self, folder: str) -> dict[str, int]: ...

    def location(self, name: str) -> str: ...

    def check(self) -> None: ...

    def token(self) -> str: ...

    def taken_over(self) -> ExportError: ...


class RemoteLog:
    """See `Log`. After an error it is not known whether the line was written."""

    def __init__(self, folder: ObjectFolder, name: str, *, fresh: bool = False) -> None:
        self._folder = folder
        self._old_name = name
        self._objects_folder = name.rpartition(".")[0]
        self._waiting = b""
        self._unsure: _Object | None = None
        self.text = self._old = b""
        numbers = self._numbers()
        if not fresh:
            numbers, objects = self._read(numbers)
            if not any(each.header.snapshot for each in objects):
                self._old = complete_lines(folder.read(name), folder.location(name))
            self.text = self._old + b"".join(each.text for each in objects)
        self._next = max(numbers, default=0) + 1
        self._count = len(numbers)
        if fresh:
            self.replace(b"")

    def append(self, line: bytes, *, durable: bool = True) -> None:
        self._settle()
        before = self._waiting
        self._waiting += line + b"\n"
        if not durable and len(self._waiting) < _MOST_WAITING:
            return
        try:
            self._flush()
        except BaseException:
            self._waiting = before
            raise

    def replace(self, text: bytes) -> None:
        self._settle()
        self._put(text, snapshot=True)
        self._waiting = b""

    def close(self) -> None:
        if self._waiting:
            self._settle()
            self._flush()

    def _flush(self) -> None:
        if self._count < _MANY_OBJECTS and not self._old:
            self._put(self._waiting, snapshot=False)
        else:
            self._put(self.text + self._waiting, snapshot=True)
        self._waiting = b""

    def _put(self, text: bytes, *, snapshot: bool) -> None:
        header = _Header(self._folder.token(), self._next, snapshot)
        self._folder.check()
        self._unsure = _Object(header, text)
        if not self._folder.create(self._name(self._next), self._unsure.content):
            raise self._folder.taken_over()
        # If it took long, another export may have taken over before it was written.
        self._folder.check()
        self._is_put(self._unsure)

    def _is_put(self, done: _Object) -> None:
        self._unsure = None
        self._next += 1
        self._count += 1
        self.text = done.text if done.header.snapshot else self.text + done.text
        if done.header.snapshot:
            self._count = 1
            self._old = b""
            self._remove_below(done.header.number)

    def _settle(self) -> None:
        """After an error, check whether the object was written nevertheless."""
        if self._unsure:
            unsure = self._unsure
            if self._folder.read(self._name(self._next)) == unsure.content:
                self._waiting = b""
                self._is_put(unsure)
            self._unsure = None

    def _read(self, numbers: list[int]) -> tuple[list[int], list[_Object]]:
        """The numbers of all objects, and the objects since the last snapshot."""
        contents = self._each(self._folder.read, map(self._name, numbers))
        while not all(contents) and numbers != (there := self._numbers()):
            # An object was removed, because a snapshot was written meanwhile.
            numbers, contents = there, self._each(self._folder.read, map(self._name, there))
        objects: list[_Object] = []
        for number, content in zip(numbers, contents, strict=True):
            found = _Object.read(content)
            if found is None:
                # The process was killed while it wrote, in a store that shows partial uploads.
                _logger.warning("%s is not complete: it is skipped.", self._name(number))
                continue
            if found.header.snapshot:
                objects.clear()
            objects.append(found)
        return numbers, objects

    def _remove_below(self, number: int) -> None:
        names = [self._name(each) for each in self._numbers() if each < number]
        self._each(self._folder.remove, [*names, self._old_name])

    def _each(self, work: Callable[[str], T], items: Iterable[str]) -> list[T]:
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
            return list(pool.map(work, items))

    def _numbers(self) -> list[int]:
        found = map(_NAME.fullmatch, self._folder.files(self._objects_folder))
        return sorted(int(match[1]) for match in found if match)

    def _name(self, number: int) -> str:
        return f"{self._objects_folder}/{number:08}.jsonl"
