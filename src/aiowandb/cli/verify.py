"""`aiowandb verify`: checks an export, and says what may be deleted at W&B."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, TextColumn

from aiowandb.cli.options import connect, connection
from aiowandb.cli.output import console, print_error, printable, table

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi
    from aiowandb.verification import Verification, VerifyProgress
    from aiowandb.verification.report import OnVerifyProgress

_SHORT = 3
_BAR_WIDTH = 30
_NAMED = 5


@click.command()
@click.argument("folder", metavar="FOLDER")
@connection
@click.option("--offline", is_flag=True, help="Only check the files; send nothing to W&B.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="Only print what is wrong.")
def verify(
    folder: str,
    base_url: str | None,
    local: Path | None,
    offline: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check the export in FOLDER, and say which runs may be deleted at W&B.

    Compares every file with the manifest of the export, counts the rows of each run, and
    compares the runs with those at W&B, unless --offline. Nothing is changed anywhere.

    Exit code 3 means that something is damaged, or that W&B has more of what was exported.
    `aiowandb export --repair` fetches again what is damaged.

    \b
    Examples:
      aiowandb verify out
      aiowandb verify out --offline
      aiowandb verify s3://lake/mnist --json
    """
    if as_json and quiet:
        raise click.UsageError("--json and --quiet cannot be combined.")
    if offline and (base_url is not None or local):
        raise click.UsageError("--offline sends nothing: leave --base-url and --local out.")
    api = connect(base_url, local) if base_url is not None or local else None
    try:
        with _progress(is_shown=not (as_json or quiet)) as on_progress:
            found = anyio.run(_verify, folder, api, offline, on_progress)
    except KeyboardInterrupt:
        print_error("Interrupted.")
        sys.exit(130)
    if as_json:
        sys.stdout.buffer.write(_as_json(found))
    else:
        _print(found, quiet=quiet)
    if not found.is_complete:
        sys.exit(_SHORT)


async def _verify(
    folder: str, api: AsyncApi | None, offline: bool, on_progress: OnVerifyProgress | None
) -> Verification:
    from aiowandb.api.verifying import verify

    if api is None:
        return await verify(folder, offline=offline, on_progress=on_progress)
    async with api:
        return await verify(folder, api=api, on_progress=on_progress)


@contextmanager
def _progress(*, is_shown: bool) -> Iterator[OnVerifyProgress | None]:
    from rich.progress import Progress

    err = Console(stderr=True, highlight=False)
    if not (is_shown and err.is_terminal):
        yield None
        return
    columns = BarColumn(_BAR_WIDTH), TextColumn("{task.description}")
    with Progress(*columns, console=err, transient=True) as display:
        task = display.add_task("reading the manifest", total=None)

        def draw(now: VerifyProgress) -> None:
            text = f"{now.files:,} of {now.total_files:,} files, {now.bytes / 1e6:,.0f} MB"
            display.update(task, total=now.total_bytes, completed=now.bytes, description=text)

        yield draw


def _print(found: Verification, *, quiet: bool) -> None:
    for problem in found.problems:
        console.print(printable(problem), soft_wrap=True)
    for run in found.runs:
        for text in run.short:
            console.print(printable(f"run {run.run}: {text}"), soft_wrap=True)
    for text in found.short:
        console.print(printable(text), soft_wrap=True)
    if quiet:
        return
    console.print(table([_summary(found)]))
    for note in found.notes:
        print_error(note)
    if not found.is_compared:
        console.print("Nothing may be deleted: the runs were not compared with W&B.")
        return
    deletable = found.may_be_deleted
    console.print(f"May be deleted at W&B: {len(deletable):,} of {len(found.runs):,} runs.")
    for name in deletable:
        console.print(printable(f"  {name}"), soft_wrap=True)
    kept = [run for run in found.runs if not run.may_be_deleted]
    if kept:
        console.print(f"May not be deleted: {len(kept):,} of {len(found.runs):,} runs.")
    for run in kept:
        console.print(printable(f"  {run.run}: {_some(run.reasons)}"), soft_wrap=True)


def _summary(found: Verification) -> dict[str, Any]:
    return {
        "runs": len(found.runs),
        "files": found.files,
        "MB": found.bytes / 1e6,
        "problems": len(found.problems),
        "requests": found.requests,
        "seconds": found.seconds,
    }


def _some(reasons: Sequence[str]) -> str:
    if not reasons:
        return "it is no longer listed at W&B"
    more = f" (and {len(reasons) - _NAMED:,} more)" if len(reasons) > _NAMED else ""
    return " ".join(reasons[:_NAMED]) + more


def _as_json(found: Verification) -> bytes:
    facts = msgspec.to_builtins(found)
    facts["is_complete"] = found.is_complete
    facts["may_be_deleted"] = found.may_be_deleted
    return msgspec.json.encode(facts) + b"\n"
