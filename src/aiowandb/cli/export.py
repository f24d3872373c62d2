"""`aiowandb export`: a project into files."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
import msgspec

from aiowandb.choices import Format, Layout, Nan, OnDeleted, Split, What
from aiowandb.cli.options import KeysOption, connect, connection, narrowed, one_of, selection
from aiowandb.cli.output import complain, console, printable, table
from aiowandb.errors import AiowandbWarning

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi
    from aiowandb.export import ExportResult, OnEvent

_SOME_FAILED = 3


@click.command()
@click.argument("project", metavar="ENTITY/PROJECT")
@click.argument("target", metavar="FOLDER")
@connection
@selection
@click.option(
    "--format",
    type=one_of(Format),
    default="parquet",
    show_default=True,
)
@click.option(
    "--what",
    type=one_of(What),
    multiple=True,
    help="What to export; can be repeated.  [default: runs and history]",
)
@click.option("--run", "run_ids", multiple=True, metavar="ID", help="A run; can be repeated.")
@click.option("--since", type=click.DateTime(), help="Only runs created since then, in UTC.")
@click.option(
    "--keys",
    "--key",
    "keys",
    cls=KeysOption,
    help="Keys or globs: the columns, and rows that have any of them. Like a,b or repeated.",
)
@click.option("--all-keys", is_flag=True, help="Only rows that have all of --keys.")
@click.option("--exclude", multiple=True, help="A key or glob to leave out; can be repeated.")
@click.option("--min-step", type=click.IntRange(0), help="Only rows from this step on.")
@click.option("--max-step", type=click.IntRange(0), help="Only rows before this step.")
@click.option("--samples", type=click.IntRange(1), help="A sample of so many rows of each run.")
@click.option(
    "--layout",
    type=one_of(Layout),
    default="wide",
    show_default=True,
    help="A column a key, or a row a value.",
)
@click.option("--split", type=one_of(Split), help="A file a run, instead of one for all.")
@click.option(
    "--safe-csv", is_flag=True, help="Defuse cells of a CSV that a spreadsheet would run."
)
@click.option(
    "--on-deleted",
    type=one_of(OnDeleted),
    default="keep",
    show_default=True,
    help="What to do with runs in FOLDER that were deleted at W&B.",
)
@click.option(
    "--nan",
    type=one_of(Nan),
    help="NaN and the infinities in JSON Lines.  [default: null, or what FOLDER has]",
)
@click.option("--overwrite", is_flag=True, help="Start anew in a folder that was exported into.")
@click.option("--json", "as_json", is_flag=True, help="Tell what happens in lines of JSON.")
@click.option("--quiet", is_flag=True, help="Say nothing unless something fails.")
def export(
    project: str,
    target: str,
    base_url: str | None,
    local: Path | None,
    filters: Mapping[str, Any],
    order: str,
    run_ids: tuple[str, ...],
    since: datetime | None,
    keys: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Bring FOLDER up to date with the runs of a project and their whole histories.

    An export that was interrupted goes on where it was; made again, it asks only for
    what is new. FOLDER may be a URL like s3://bucket/folder, or `-`, the standard output,
    which gets one table.

    Exit code 3: some runs failed, and the same command tries just them.

    \b
    Examples:
      aiowandb export me/mnist out
      aiowandb export me/mnist out --format csv --filter 'tag == "best"'
      aiowandb export me/mnist out --keys 'loss,val/*' --since 2026-01-01
      aiowandb export me/mnist s3://lake/mnist --format delta
      aiowandb export me/mnist - --format jsonl | jq .loss
    """
    from aiowandb.cli.progress import as_json as json_lines
    from aiowandb.cli.progress import shown

    if options["all_keys"] and not keys:
        raise click.UsageError("--all-keys goes with --keys.")
    if as_json and quiet:
        raise click.UsageError("--json and --quiet exclude each other.")
    if quiet:
        warnings.simplefilter("ignore", AiowandbWarning)
    api = connect(base_url, local, tells_waits=False)  # its own lines tell them
    is_stream = target == "-"
    out = sys.stderr.buffer if is_stream else sys.stdout.buffer
    listening: AbstractContextManager[OnEvent | None] = nullcontext()
    if as_json:
        listening = nullcontext(json_lines(out))
    elif not (quiet or (is_stream and sys.stdout.isatty())):  # the rows would run into it
        listening = shown()
    options |= {"what": options["what"] or None, "keys": keys or None}
    options["any_key"] = not options.pop("all_keys")
    try:
        with listening as on_event:
            options["on_event"] = on_event
            selected = narrowed(filters, since, run_ids)
            result = anyio.run(_export, api, project, selected, order, target, options)
    except KeyboardInterrupt:
        if is_stream:
            raise
        complain("Interrupted. Finished runs are kept; run the same command to resume.")
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has enough. Nor may Python's own farewell to it complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if as_json:
        out.write(_finished(result))
    elif not (quiet or is_stream):
        console.print(table([summary(result)]))
        for file in result.files:
            console.print(printable(file), soft_wrap=True)
    for clash in result.clashes if not (quiet or as_json) else ():
        complain(
            f"column {clash.column}: {clash.values:,} values of kinds that clash, kept as JSON"
        )
    if result.deleted and not quiet and not as_json:
        complain(
            f"{len(result.deleted):,} runs that were deleted at W&B are kept"
            " (--on-deleted drop removes them)"
        )
    if not quiet:
        _wonder(result, run_ids, keys)
    for failure in result.failed:
        complain(f"run {failure.run}: {failure.error}")
    if result.failed:
        sys.exit(_SOME_FAILED)


def _wonder(result: ExportResult, run_ids: Sequence[str], keys: Sequence[str]) -> None:
    """Say what looks like a slip of the pen."""
    if result.runs < len(set(run_ids)):
        complain(f"of the {len(set(run_ids)):,} runs that were named {result.runs:,} were found")
    elif keys and result.runs and not result.rows and not result.unknown_keys:
        complain(f"no run has a row with {' or '.join(keys)}")


async def _export(
    api: AsyncApi,
    project: str,
    filters: Mapping[str, Any],
    order: str,
    target: str,
    options: dict[str, Any],
) -> ExportResult:
    async with api:
        return await api.runs(project, filters, order).export(target, **options)


def summary(result: ExportResult) -> dict[str, Any]:
    """What an export did, in the numbers that people ask for."""
    return {
        "runs": result.runs,
        "rows": result.rows,
        "requests": result.requests,
        "downloads": result.downloads,
        "MB in": result.received_bytes / 1e6,
        "MB out": result.written_bytes / 1e6,
        "seconds": result.seconds,
    }


def _finished(result: ExportResult) -> bytes:
    """The result as the last of the events."""
    facts: dict[str, Any] = {"event": "finished"}
    facts |= {name: getattr(result, name) for name in result.__struct_fields__}
    facts["files"] = [str(file) for file in result.files]
    facts["failed"] = [{"run": each.run, "error": str(each.error)} for each in result.failed]
    return msgspec.json.encode(facts) + b"\n"
