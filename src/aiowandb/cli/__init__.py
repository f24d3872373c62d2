"""The command line: parses arguments, calls the library, prints readable answers.

May import everything. Each module is one command and imports heavy packages inside of
functions, so that `aiowandb --help` is quick.

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 some runs failed or are not complete,
130 interrupted, 143 the same by SIGTERM.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import click

from aiowandb import __version__
from aiowandb.cli.append import append
from aiowandb.cli.artifacts import artifacts
from aiowandb.cli.compare import compare
from aiowandb.cli.copying import copy, mirror
from aiowandb.cli.delete import delete
from aiowandb.cli.demo import demo
from aiowandb.cli.export import export
from aiowandb.cli.files import files
from aiowandb.cli.history import history
from aiowandb.cli.importing import import_, restore
from aiowandb.cli.login import login
from aiowandb.cli.logs import logs
from aiowandb.cli.open import open_page
from aiowandb.cli.output import WarningLines, print_error
from aiowandb.cli.projects import projects
from aiowandb.cli.run import run
from aiowandb.cli.runs import runs
from aiowandb.cli.serve import serve
from aiowandb.cli.status import status
from aiowandb.cli.stop import stop
from aiowandb.cli.streams import prepare_streams
from aiowandb.cli.sweeps import sweeps
from aiowandb.cli.termination import terminable
from aiowandb.cli.usage_errors import Group, usage_error_line
from aiowandb.cli.verify import verify
from aiowandb.errors import AiowandbError, UsageError


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="aiowandb %(version)s")
def cli() -> None:
    """Get data out of Weights & Biases.

    The API key is read from WANDB_API_KEY or netrc, as wandb itself does. With --local DIR,
    a command uses the embedded W&B in that folder and needs no key.
    """


for command in (
    *(append, artifacts, compare, copy, delete, demo, export, files, history, import_, login, logs),
    *(mirror, open_page, projects, restore, run, runs, serve, status, stop, sweeps, verify),
):
    cli.add_command(command)


@cache
def _show_once(message: str) -> None:
    print_error(f"warning: {message}")


def _show_warning(message: Warning | str, *_args: object, **_more: object) -> None:
    _show_once(str(message))


def _asks_for_help(error: click.UsageError) -> bool:
    """Whether a group was called without a command, which shows its help."""
    return type(error).__name__ == "NoArgsIsHelpError"


@contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """Print warnings, and the library's log warnings, as lines of ours while the block runs."""
    show, warnings.showwarning = warnings.showwarning, _show_warning
    logger, lines = logging.getLogger("aiowandb"), WarningLines()
    logger.addHandler(lines)
    try:
        yield
    finally:
        logger.removeHandler(lines)
        warnings.showwarning = show


@terminable()
@_warnings_on_stderr()
def main() -> None:
    """Run the command line. An error is one line on stderr and an exit code."""
    prepare_streams()
    try:
        cli.main(prog_name="aiowandb", standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and not _asks_for_help(error):
            print_error(usage_error_line(error))
        elif isinstance(error, click.UsageError):
            error.show()
        else:
            print_error(error.format_message())
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print_error("interrupted")
        sys.exit(130)
    except AiowandbError as error:
        for line in (str(error), *getattr(error, "__notes__", ())):
            print_error(line)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except OSError as error:
        print_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(1)
