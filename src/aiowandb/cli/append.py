"""`aiowandb append`: adds rows to the end of a run's history."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

import click

from aiowandb.choices import EndState
from aiowandb.cli.options import connect_blocking, connection, one_of
from aiowandb.cli.output import console, print_error, printable
from aiowandb.errors import UsageError

_LONGEST_LINE = 64 << 20


@click.command()
@click.argument("path", metavar="ENTITY/PROJECT/RUN")
@click.argument("file", type=click.File("rb"), default="-")
@connection
@click.option(
    "--state",
    type=one_of(EndState),
    help="The run's state afterwards.  [default: unchanged]",
)
@click.option(
    "--token",
    metavar="NAME",
    help="A name for these rows; rows already added under it are skipped.",
)
def append(
    path: str,
    file: IO[bytes],
    base_url: str | None,
    local: Path | None,
    state: EndState | None,
    token: str | None,
) -> None:
    """Add rows to the end of a run's history, even if the run has finished.

    FILE (or stdin) has one JSON object per line. A row may set its own `_step`, which must
    be greater than the previous one; otherwise it gets the next step.

    A file is validated first and added only once: after a crash or an error, run the same
    command again to add the missing rows. To add the same content twice, use another --token.
    Rows from a pipe are added as they arrive, including those before an invalid line. Use
    --token if you may have to run the command again with the same rows.

    \b
    Examples:
      echo '{"loss": 0.1}' | aiowandb append me/mnist/a1b2c3d4
      aiowandb append me/mnist/a1b2c3d4 rows.jsonl --state finished
      tail -n +1 rows.jsonl | aiowandb append me/mnist/a1b2c3d4 --token my-rows
    """
    # Blocking, as only the main thread can be interrupted by Ctrl-C while it reads a pipe.
    with connect_blocking(base_url, local) as api:
        run = api.run(path)
        content = _Content.of(file)
        has_content_token = content is not None and token is None
        lines = _numbered(content.lines()) if content else _lines(file)
        if content and token is None:
            token = content.token
        with run.append(state=state, token=token) as log:
            for number, line in lines:
                try:
                    log(_row(line))
                except UsageError as error:
                    raise UsageError(f"Line {number}: {error}") from error
        skipped = f", {log.skipped:,} skipped as already there" if log.skipped else ""
        console.print(
            printable(f"{log.added:,} rows added{skipped}; the last step is {run.last_step:,}.")
        )
        if has_content_token and log.skipped and not log.added:
            print_error("This file was added before. To add it again, use another --token.")


class _Content:
    """A file that can be read twice: first to validate and hash its rows, then to add them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start = file.tell()
        digest = hashlib.sha256()
        self._size = 0
        _check(self._hashed(digest))
        self.token = f"sha256:{digest.hexdigest()[:32]}"

    @classmethod
    def of(cls, file: IO[bytes]) -> _Content | None:
        """The content of a file on disk (also if redirected to stdin), or None for a pipe."""
        try:
            is_on_disk = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        except OSError:
            return None
        return cls(file) if is_on_disk else None

    def lines(self) -> Iterator[bytes]:
        """The lines that were validated, without any written to the file since."""
        self._file.seek(self._start)
        left = self._size
        while left > 0 and (line := self._file.readline(left)):
            left -= len(line)
            yield line

    def _hashed(self, digest: hashlib._Hash) -> Iterator[bytes]:
        for line in _bounded(self._file):
            digest.update(line)
            self._size += len(line)
            yield line


def _check(lines: Iterable[bytes]) -> None:
    """Raise before anything is added if a line would be rejected halfway."""
    last: int | None = None
    for number, line in _numbered(lines):
        try:
            last = _step_after(last, _row(line))
        except UsageError as error:
            raise UsageError(f"Line {number}: {error}") from error


def _step_after(last: int | None, row: dict[str, Any]) -> int | None:
    """The step of this row; None while no row has set one."""
    if "_step" not in row:
        return None if last is None else last + 1
    step = row["_step"]
    if type(step) is not int:
        raise UsageError(f"_step must be an integer, not {step!r}.")
    if last is not None and step <= last:
        raise UsageError(f"step {step} is not greater than step {last}.")
    return step


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines of a pipe. Ctrl-C ends it, and the rows so far are kept."""
    with suppress(KeyboardInterrupt):
        yield from _numbered(_bounded(file))


def _bounded(file: IO[bytes]) -> Iterator[bytes]:
    """The lines, unless one would take all memory, as in a file with nothing but zeros."""
    for number in count(1):
        if not (line := file.readline(_LONGEST_LINE + 1)):
            return
        if len(line) > _LONGEST_LINE:
            raise UsageError(f"Line {number} is longer than {_LONGEST_LINE >> 20} MB.")
        yield line


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, line


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line, strict=False)  # accepts NaN, as W&B does
    except (ValueError, RecursionError) as error:
        raise UsageError(f"invalid JSON: {error}.") from None
    if not isinstance(row, dict):
        raise UsageError('a row must be a JSON object, like {"loss": 0.1}.')
    return row
