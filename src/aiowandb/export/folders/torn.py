"""Logs whose lines are not all complete, as earlier versions could leave them on a full disk.

They took a line for written of which only the beginning was, and the next one followed it
directly: `{"record":"committed","da{"record":"dropped","dataset":"history"}`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

_BEGINNING = re.compile(rb'\{"record":')
_logger = logging.getLogger(__name__)


def complete_lines(text: bytes, place: Path | str) -> bytes:
    """The complete lines of a log; of a torn line, those that follow on it."""
    lines = text.split(b"\n")[:-1]  # what stands behind the last line break was never finished
    torn = [number for number, line in enumerate(lines) if not _is_complete(line)]
    if not torn:
        return text[: text.rfind(b"\n") + 1]
    _logger.warning(
        "%s has %d line(s) that a full disk or a power cut has torn: they are skipped.",
        place,
        len(torn),
    )
    for number in reversed(torn):
        lines[number : number + 1] = _parts(lines[number])
    return b"".join(line + b"\n" for line in lines)


def _parts(line: bytes) -> Iterator[bytes]:
    """The complete records in a line that is none as a whole."""
    bounds = [match.start() for match in _BEGINNING.finditer(line)] + [len(line)]
    first = 0
    while first < len(bounds) - 1:
        for last in range(len(bounds) - 1, first, -1):
            part = line[bounds[first] : bounds[last]]
            if _is_complete(part):
                yield part
                first = last
                break
        else:
            first += 1


def _is_complete(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except msgspec.MsgspecError:
        return False
    return True
