"""The command line, run as by a shell: in this process, or in one of its own."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, TextIO
from unittest.mock import patch

from aiowandb.cli import main, output
from aiowandb.export.folders.base import warn_once
from tests.conftest import MEASURING

if TYPE_CHECKING:
    from typing_extensions import Buffer

Completed = subprocess.CompletedProcess[str]
# Called with all that was said on a channel whenever something is added.
Heard = Callable[[str], None]


def aiowandb(*arguments: object, stdin: str = "", **environ: str) -> Completed:
    """What came of the command; a traceback never does.

    It runs in this process: a new interpreter and its imports cost a second each time. What
    depends on signals, pipes or limits needs `aiowandb_process`.
    """
    return aiowandb_heard(lambda said: None, *arguments, stdin=stdin, **environ)


def aiowandb_heard(heard: Heard, *arguments: object, stdin: str = "", **environ: str) -> Completed:
    """The same for a command that goes on until what it says leads to its end."""
    out, err = _capture(heard), _capture(heard)
    code = _run(arguments, stdin, out, err, environ)
    return subprocess.CompletedProcess(
        ["aiowandb", *map(str, arguments)], code, _text(out), _text(err)
    )


def aiowandb_on_terminal(*arguments: object, **environ: str) -> str:
    """What the command, which must succeed, shows in a terminal."""
    person, terminal = os.openpty()
    shown = bytearray()

    def look() -> None:
        with suppress(OSError):  # the other end is closed
            while part := os.read(person, 1 << 16):
                shown.extend(part)

    eyes = threading.Thread(target=look)
    eyes.start()
    with open(terminal, "w", encoding="utf-8") as screen:
        assert screen.isatty()
        code = _run(arguments, "", screen, screen, environ)
    eyes.join()
    os.close(person)
    assert code == 0, shown
    return shown.decode()


def _run(
    arguments: Sequence[object],
    stdin: str,
    out: TextIO,
    err: TextIO,
    environ: Mapping[str, str],
) -> int:
    """The exit code of the command, run in this process."""
    with ExitStack() as stack:
        changes = {"COLUMNS": "120"} | dict(environ)
        stack.enter_context(patch.dict(os.environ, changes))
        stack.enter_context(_as_wide_as(int(changes["COLUMNS"])))
        stack.enter_context(patch.object(sys, "argv", ["aiowandb", *map(str, arguments)]))
        stack.enter_context(patch.object(sys, "stdout", out))
        stack.enter_context(patch.object(sys, "stderr", err))
        stack.enter_context(patch.object(sys, "stdin", stack.enter_context(_piped(stdin))))
        stack.enter_context(_as_in_a_new_process())
        return _exit_code()


def aiowandb_process(*arguments: object, stdin: str = "", **environ: str) -> Completed:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "aiowandb", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        env=os.environ | MEASURING | {"COLUMNS": "120"} | environ,
    )
    assert "Traceback" not in done.stderr
    return done


def _exit_code() -> int:
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


@contextmanager
def _as_in_a_new_process() -> Iterator[None]:
    """Warnings, and what is said once a process, as a new interpreter has them."""
    warn_once.cache_clear()
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        yield


@contextmanager
def _as_wide_as(columns: int) -> Iterator[None]:
    """The console looks for the width of the terminal when it is made, once a process."""
    before = output.console.width
    output.console.width = columns
    yield
    output.console.width = before


@contextmanager
def _piped(text: str) -> Iterator[io.TextIOWrapper]:
    """A standard input that is a pipe with the text in it."""
    content = text.encode()
    assert len(content) <= 65_536  # more does not fit into a pipe that nobody reads yet
    reader, writer = os.pipe()
    with open(reader, encoding="utf-8") as file:
        with open(writer, "wb") as pipe:
            pipe.write(content)
        yield file


def _capture(heard: Heard) -> io.TextIOWrapper:
    return io.TextIOWrapper(_Capture(heard), encoding="utf-8", newline="", write_through=True)


class _Capture(io.BytesIO):
    def __init__(self, heard: Heard) -> None:
        super().__init__()
        self._heard = heard

    def write(self, data: Buffer) -> int:
        written = super().write(data)
        self._heard(self.getvalue().decode(errors="replace"))
        return written


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode().replace("\r\n", "\n")


# Lines that come every few seconds: whether there are some depends on the machine.
_ON_THE_WAY = re.compile(r"listing runs, |\w+: [\d,]+ of [\d,]+ runs|waiting: ")


def complaints(stderr: str) -> str:
    """What was said on stderr of the result, and not of the way to it."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not _ON_THE_WAY.match(line))
