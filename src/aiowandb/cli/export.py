"""`aiowandb export`: exports a project to files."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
import msgspec
from click.core import ParameterSource

from aiowandb.choices import Format, Layout, Nan, OnDeleted, Split, What
from aiowandb.cli.export_jobs import ExportJob
from aiowandb.cli.export_plans import print_plan
from aiowandb.cli.options import FILTER_TEXT, KeysOption, connection, one_of, selection
from aiowandb.cli.output import console, print_error, printable, table
from aiowandb.errors import AiowandbWarning, UsageError

if TYPE_CHECKING:
    from aiowandb.export import ExportPlan, ExportResult, OnEvent

_SOME_FAILED = 3
# The options that can be given beside a job.
_BESIDE_JOB = frozenset(
    {"job_file", "print_job", "only_plan", "as_json", "quiet", "base_url", "local"}
)


@click.command()
@click.argument("projects", metavar="ENTITY/PROJECT", nargs=-1)
@click.argument("target", metavar="FOLDER", required=False)
@click.option(
    "--include-project",
    "include_projects",
    multiple=True,
    metavar="GLOB",
    help="Of the projects, only those that match; can be repeated.",
)
@click.option(
    "--exclude-project",
    "exclude_projects",
    multiple=True,
    metavar="GLOB",
    help="Leave out projects that match; can be repeated.",
)
@click.option(
    "--job",
    "job_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Take the projects, FOLDER and options from this file in TOML.",
)
@click.option(
    "--print-job", is_flag=True, help="Print a file for --job with the given options, and end."
)
@connection
@selection
@click.option(
    "--format",
    type=one_of(Format),
    default="parquet",
    show_default=True,
    help="The format of the tables.",
)
@click.option(
    "--what",
    type=one_of(What),
    multiple=True,
    help="What to export; can be repeated. `all` is everything.  [default: runs and history]",
)
@click.option("--run", "runs", multiple=True, metavar="ID", help="Only this run; can be repeated.")
@click.option("--since", type=click.DateTime(), help="Only runs created since this time, in UTC.")
@click.option(
    "--keys",
    "--key",
    "keys",
    cls=KeysOption,
    help="Only these columns, and rows with a value in any of them: names or globs,"
    " comma-separated or repeated.",
)
@click.option("--all-keys", is_flag=True, help="Only rows with a value for every one of --keys.")
@click.option(
    "--exclude",
    multiple=True,
    help="Leave out columns that match this name or glob; can be repeated.",
)
@click.option("--min-step", type=click.IntRange(0), help="Only rows at or after this step.")
@click.option("--max-step", type=click.IntRange(0), help="Only rows before this step.")
@click.option("--samples", type=click.IntRange(1), help="Only a sample of this many rows per run.")
@click.option(
    "--layout",
    type=one_of(Layout),
    default="wide",
    show_default=True,
    help="wide: one column per key; long: one row per value.",
)
@click.option("--split", type=one_of(Split), help="Write one file per run.")
@click.option(
    "--safe-csv", is_flag=True, help="Escape CSV cells that a spreadsheet would run as formulas."
)
@click.option(
    "--on-deleted",
    type=one_of(OnDeleted),
    default="keep",
    show_default=True,
    help="What to do with runs in FOLDER that were deleted from W&B.",
)
@click.option(
    "--nan",
    type=one_of(Nan),
    help="How to write NaN and infinities as JSON.  [default: null, or as in FOLDER]",
)
@click.option(
    "--overwrite", is_flag=True, help="Discard the previous export in FOLDER and start over."
)
@click.option(
    "--repair",
    is_flag=True,
    help="Check the files in FOLDER first, and fetch again what is damaged or lost.",
)
@click.option(
    "--plan", "only_plan", is_flag=True, help="Print what would be exported, and write nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Report progress as JSON lines.")
@click.option("--quiet", is_flag=True, help="Only print errors.")
@click.pass_context
def export(
    ctx: click.Context,
    /,
    job_file: Path | None,
    print_job: bool,
    only_plan: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Export the runs of a project and their full histories to FOLDER.

    Run the same command again to resume an interrupted export, or to fetch only what is
    new. FOLDER may be a URL like s3://bucket/folder, or `-` to write one table to stdout.

    With several projects, or a glob like 'me/*', each goes to the folder ENTITY/PROJECT
    in FOLDER, and one that fails does not stop the others.

    --job FILE takes all of this from a file, for cron and the like; --print-job writes one.

    --plan says how many runs, rows, bytes, requests and minutes that would be, and what
    would be left out. Exit code 3 means that some runs failed; the same command retries
    only those.

    \b
    Examples:
      aiowandb export me/mnist out --plan
      aiowandb export me/mnist out
      aiowandb export me/mnist out --format csv --filter 'tag == "best"'
      aiowandb export me/mnist out --keys 'loss,val/*' --since 2026-01-01
      aiowandb export 'me/*' backup --exclude-project 'test-*'
      aiowandb export me/mnist s3://lake/mnist --format delta
      aiowandb export me/mnist - --format jsonl | jq .loss
    """
    if as_json and quiet:
        raise click.UsageError("--json and --quiet cannot be combined.")
    if quiet:
        warnings.simplefilter("ignore", AiowandbWarning)
    job = _job(ctx, options) if job_file is None else _read_job(ctx, job_file, options)
    if print_job:
        from aiowandb.cli.job_files import job_text

        sys.stdout.buffer.write(job_text(job).encode())
        return
    if only_plan and job.repair:
        raise click.UsageError("--repair and --plan cannot be combined.")
    if job.is_of_many:
        from aiowandb.cli.export_many import export_many

        code = export_many(job, only_plan=only_plan, as_json=as_json, quiet=quiet)
    elif only_plan:
        print_plan(anyio.run(_plan, job), as_json=as_json)
        return
    else:
        code = _export_one(job, as_json=as_json, quiet=quiet)
    sys.exit(code)


def _job(ctx: click.Context, options: dict[str, Any]) -> ExportJob:
    """The job that the options describe."""
    given = {name: value for name, value in options.items() if name in ExportJob.__struct_fields__}
    if not given["projects"]:  # a single argument is taken for the target
        missing = "projects" if given["target"] is None else "target"
        raise click.MissingParameter(ctx=ctx, param=_parameter(ctx, missing))
    if given["all_keys"] and not given["keys"]:
        raise click.UsageError("--all-keys requires --keys.")
    local = given["local"]
    given |= {"filter": ctx.meta[FILTER_TEXT], "local": None if local is None else str(local)}
    return ExportJob(**given)


def _read_job(ctx: click.Context, file: Path, options: dict[str, Any]) -> ExportJob:
    """The job in the file. Options say only how it is run, and where W&B is."""
    from aiowandb.cli.job_files import read_job

    for param in ctx.command.params:
        is_given = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
        if is_given and param.name not in _BESIDE_JOB:
            what = param.opts[0] if isinstance(param, click.Option) else param.human_readable_name
            raise click.UsageError(
                f"--job has what is exported, and how: leave {what} out, or write it into {file}"
            )
    try:
        job = read_job(file)
    except UsageError as error:
        raise click.BadParameter(str(error), ctx, _parameter(ctx, "job_file")) from None
    if options["base_url"] or options["local"]:
        local = options["local"]
        where = {"base_url": options["base_url"], "local": None if local is None else str(local)}
        return msgspec.structs.replace(job, **where)
    return job


def _parameter(ctx: click.Context, name: str) -> click.Parameter:
    return next(param for param in ctx.command.params if param.name == name)


def _export_one(job: ExportJob, *, as_json: bool, quiet: bool) -> int:
    """Export one project; returns the exit code."""
    from aiowandb.cli.progress import json_events, show_progress

    is_stream = job.target == "-"
    out = sys.stderr.buffer if is_stream else sys.stdout.buffer
    listening: AbstractContextManager[OnEvent | None] = nullcontext()
    if as_json:
        listening = nullcontext(json_events(out))
    elif not (quiet or (is_stream and sys.stdout.isatty())):  # would garble the rows
        listening = show_progress()
    try:
        with listening as on_event:
            result = anyio.run(_export, job, on_event)
    except KeyboardInterrupt:
        if is_stream:
            raise
        print_error("Interrupted. Finished runs are kept; run the same command to resume.")
        return 130
    except BrokenPipeError:
        # The reader of our output has closed it; Python must not fail to flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if as_json:
        out.write(_finished(result))
    elif not quiet:
        _print_result(result, with_files=not is_stream)
    if not quiet:
        _warn_if_empty(result, job.runs, job.keys)
    for failure in result.failed:
        print_error(f"run {failure.run}: {failure.error}")
    return _SOME_FAILED if result.failed else 0


def _print_result(result: ExportResult, *, with_files: bool) -> None:
    if with_files:
        console.print(table([summary(result)]))
        for file in result.files:
            console.print(printable(file), soft_wrap=True)
    for clash in result.clashes:
        print_error(
            f"Column {clash.column} has {clash.values:,} values of conflicting types, kept as JSON."
        )
    if result.deleted:
        print_error(
            f"Kept {len(result.deleted):,} runs that were deleted from W&B"
            " (use --on-deleted drop to remove them)."
        )


def _warn_if_empty(result: ExportResult, run_ids: Sequence[str], keys: Sequence[str]) -> None:
    """Point out results that look like a typo in the command."""
    if result.runs < len(set(run_ids)):
        print_error(f"Found {result.runs:,} of the {len(set(run_ids)):,} runs given with --run.")
    elif keys and result.runs and not result.rows and not result.unknown_keys:
        print_error(f"No run has rows with {' or '.join(keys)}.")


async def _plan(job: ExportJob) -> ExportPlan:
    async with job.connect(reports_waits=True) as api:
        runs = api.runs(job.projects[0], job.filters(), job.order)
        return await runs.plan_export(job.target, **job.arguments())


async def _export(job: ExportJob, on_event: OnEvent | None) -> ExportResult:
    # The progress lines report waits.
    async with job.connect(reports_waits=False) as api:
        runs = api.runs(job.projects[0], job.filters(), job.order)
        arguments = job.arguments()
        return await runs.export(job.target, **arguments, repair=job.repair, on_event=on_event)


def summary(result: ExportResult) -> dict[str, Any]:
    """The numbers of an export that people ask for."""
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
    """The result as the last JSON event."""
    facts: dict[str, Any] = {"event": "finished"}
    facts |= {name: getattr(result, name) for name in result.__struct_fields__}
    facts["files"] = [str(file) for file in result.files]
    facts["failed"] = [{"run": each.run, "error": str(each.error)} for each in result.failed]
    return msgspec.json.encode(facts) + b"\n"
