"""Rows on a terminal: without the control sequences that keys and values may contain.

They could change what was shown before, set the title of the window, or worse. Files and pipes
get all of them.
"""

from __future__ import annotations

import codecs
import re
from typing import BinaryIO

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class TerminalFile:
    """A binary file that passes text on to a terminal, as the sinks write to it."""

    def __init__(self, file: BinaryIO, *, as_json: bool) -> None:
        self._file = file
        self._as_json = as_json
        # A write may end within a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        text = self._decoder.decode(bytes(data))
        self._file.write(_CONTROL.sub(self._replacement, text).encode())
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _replacement(self, found: re.Match[str]) -> str:
        # In JSON they can only be in strings, where they can be escaped.
        return f"\\u{ord(found[0]):04x}" if self._as_json else "\N{REPLACEMENT CHARACTER}"
