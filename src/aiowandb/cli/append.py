"""`aiowandb append`: rows for the end of a run's history."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import click

from aiowandb.choices import EndState
from aiowandb.cli.options import connect_blocking, connection, one_of
from aiowandb.cli.output import complain, console, printable
from aiowandb.errors import UsageError


@click.command()
@click.argument("path", metavar="ENTITY/PROJECT/RUN")
@click.argument("file", type=click.File("rb"), default="-")
@connection
@click.option(
    "--state",
    type=one_of(EndState),
    help="The run's state afterwards; else what it was before.",
)
@click.option(
    "--token",
    metavar="NAME",
    help="A name for these rows: with it, rows that were added before are skipped.",
)
def append(
    path: str,
    file: IO[bytes],
    base_url: str | None,
    local: Path | None,
    state: EndState | None,
    token: str | None,
) -> None:
    """Add rows to the end of a run's history, also of one that has finished.

    FILE, or stdin, has a JSON object a line. A row may say its `_step`, which must lie
    behind the last one; else it gets the next.

    A file is checked first and added once: after a kill or a failure, the same command
    adds the rows that are missing. To add the same content again, give it another --token.
    Rows from a pipe are added as they come, those before a wrong line included; give them
    a --token if the command may have to be repeated with the same rows, or with more.

    \b
    Examples:
      echo '{"loss": 0.1}' | aiowandb append me/mnist/a1b2c3d4
      aiowandb append me/mnist/a1b2c3d4 rows.jsonl --state finished
      tail -n +1 rows.jsonl | aiowandb append me/mnist/a1b2c3d4 --token my-rows
    """
    # Blocking: a pipe can be waited for in the main thread only, where Ctrl-C arrives.
    with connect_blocking(base_url, local) as api:
        run = api.run(path)
        content = _Content.of(file)
        names_itself = content is not None and token is None
        lines = _numbered(content.lines()) if content else _lines(file)
        if content and token is None:
            token = content.token
        with run.append(state=state, token=token) as log:
            for number, line in lines:
                try:
                    log(_row(line))
                except UsageError as error:
                    raise UsageError(f"Line {number}: {error}") from error
        there = f", {log.skipped:,} were there already" if log.skipped else ""
        console.print(
            printable(f"{log.added:,} rows added{there}; the last step is {run.last_step:,}.")
        )
        if names_itself and log.skipped and not log.added:
            complain("this file was added before; to add it again, name it with --token")


class _Content:
    """A file that can be read twice: first to check and name its rows, then to add them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start = file.tell()
        digest = hashlib.sha256()
        self._size = 0
        _check(self._hashed(digest))
        self.token = f"sha256:{digest.hexdigest()[:32]}"

    @classmethod
    def of(cls, file: IO[bytes]) -> _Content | None:
        """The content of a file on disk, also where it is the standard input; of others, None."""
        try:
            is_on_disk = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        except OSError:
            return None
        return cls(file) if is_on_disk else None

    def lines(self) -> Iterator[bytes]:
        """The lines that were checked, and none that were written to the file since."""
        self._file.seek(self._start)
        left = self._size
        while left > 0 and (line := self._file.readline(left)):
            left -= len(line)
            yield line

    def _hashed(self, digest: hashlib._Hash) -> Iterator[bytes]:
        for line in self._file:
            digest.update(line)
            self._size += len(line)
            yield line


def _check(lines: Iterable[bytes]) -> None:
    """Raise for a line that would be refused when those before it are added already."""
    last: int | None = None
    for number, line in _numbered(lines):
        try:
            last = _step_after(last, _row(line))
        except UsageError as error:
            raise UsageError(f"Line {number}: {error}") from error


def _step_after(last: int | None, row: dict[str, Any]) -> int | None:
    """The step of the row behind this one; None if the rows so far do not tell."""
    if "_step" not in row:
        return None if last is None else last + 1
    step = row["_step"]
    if type(step) is not int:
        raise UsageError(f"_step is a whole number, not {step!r}.")
    if last is not None and step <= last:
        raise UsageError(f"step {step} is not behind step {last}.")
    return step


def _lines(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The same from a pipe, which Ctrl-C ends: whoever presses it wants to keep what came."""
    with suppress(KeyboardInterrupt):
        yield from _numbered(file)


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, and their numbers."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, line


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line, strict=False)  # knows NaN, as W&B does
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is no JSON: {error}.") from None
    if not isinstance(row, dict):
        raise UsageError('a row is a JSON object, like {"loss": 0.1}.')
    return row
