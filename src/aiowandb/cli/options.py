"""Options shared by several commands, and the client that they configure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
import msgspec

from aiowandb.choices import RecordFormat, TableFormat
from aiowandb.cli.waits import report_waits
from aiowandb.errors import UsageError
from aiowandb.suggestions import did_you_mean

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi
    from aiowandb.sync import Api

# What runs can be sorted by, besides config.KEY and summary.KEY. W&B may have more.
_COLUMNS = (
    *("created_at", "createdAt", "heartbeat_at", "heartbeatAt", "updated_at", "updatedAt"),
    *("state", "tags", "name", "display_name", "displayName", "group", "job_type", "jobType"),
    *("sweep", "host", "program", "repo", "commit", "notes", "description", "username"),
    *("exit_code", "history_line_count", "duration"),
)
# Where the context of a command has the text of its --filter.
FILTER_TEXT = "aiowandb.filter"
F = TypeVar("F", bound=Callable[..., Any])


class BaseUrl(click.types.StringParamType):
    """The URL of W&B's API."""

    name = "URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from aiowandb.config.settings import checked_url

        try:
            return checked_url(super().convert(value, param, ctx))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class KeysOption(click.Option):
    """`--keys`, repeated or comma-separated. The old `--key` still works but is not shown."""

    def __init__(self, names: Sequence[str], **attributes: Any) -> None:
        attributes |= {"multiple": True, "metavar": "KEY", "callback": _split_keys}
        super().__init__(names, **attributes)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        opts, self.opts = self.opts, [opt for opt in self.opts if opt != "--key"]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = opts


def _split_keys(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    given: tuple[str, ...],
) -> tuple[str, ...]:
    r"""The keys; `\,` stands for a comma in a key."""
    parts = [part for each in given for part in re.split(r"(?<!\\),", each)]
    return tuple(part.replace(r"\,", ",") for part in map(str.strip, parts) if part)


def connection(command: F) -> F:
    """Adds `--base-url` and `--local`."""
    command = click.option(
        "--local",
        "local",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Use the embedded W&B stored in this folder.",
    )(command)
    return click.option(
        "--base-url",
        type=BaseUrl(),
        metavar="URL",
        help="URL of the W&B server.  [default: WANDB_BASE_URL, settings files, or the cloud]",
    )(command)


def one_of(words: Any) -> click.Choice[str]:
    """The values of a `Literal`, as the choices of an option."""
    return click.Choice(get_args(words))


def table_format(command: F) -> F:
    """Adds `--format` for lists."""
    return click.option("--format", type=one_of(TableFormat), default="table", show_default=True)(
        command
    )


def record_format(command: F) -> F:
    """Adds `--format` for a single record."""
    return click.option("--format", type=one_of(RecordFormat), default="table", show_default=True)(
        command
    )


def selection(command: F) -> F:
    """Adds `--filter` and `--order`."""
    command = click.option(
        "--order",
        callback=_order,
        default="-created_at",
        show_default=True,
        help='Sort order; prefix with "-" for descending.',
    )(command)
    return click.option(
        "--filter",
        "filters",
        callback=_filter,
        default="",
        metavar="FILTER",
        help="""Only runs that match, like 'config.lr > 0.1 and state == "finished"', or JSON
        like '{"state": "finished"}'.""",
    )(command)


def _order(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Check the sort order, and return it unchanged."""
    try:
        check_sort_order(value)
    except UsageError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    return value


def check_sort_order(order: str) -> None:
    """Raise a `UsageError` if runs cannot be sorted like this."""
    from aiowandb.wire.filters import check_order

    name = order.lstrip("+-")
    hint = did_you_mean(name, _COLUMNS) if name not in _COLUMNS and "." not in name else ""
    if hint:
        raise UsageError(f"runs have no column {name!r}{hint}")
    check_order(order)


def _filter(ctx: click.Context, param: click.Parameter, value: str) -> Mapping[str, Any]:
    ctx.meta[FILTER_TEXT] = value
    try:
        return parse_filter(value)
    except UsageError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def parse_filter(text: str) -> Mapping[str, Any]:
    """The filter in a text, which is an expression or JSON; a `UsageError` if it is neither."""
    from aiowandb.wire.filters import check_filters, parse_expression

    if not text.strip():
        return {}
    if not text.lstrip().startswith("{"):
        return parse_expression(text)
    try:
        parsed: dict[str, Any] = msgspec.json.decode(text)
        check_filters(parsed)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise UsageError(f"{text!r} is not valid JSON: {error}") from None
    return parsed


def combine_filters(
    filters: Mapping[str, Any], since: datetime | None, run_ids: Sequence[str]
) -> Mapping[str, Any]:
    """The filters, restricted to these runs and to those created since then."""
    found = [filters] if len(filters) else []  # a built filter has no truth value
    if since:
        found.append({"created_at": {"$gte": since.isoformat()}})
    if run_ids:
        found.append({"name": {"$in": list(run_ids)}})
    return {"$and": found} if len(found) > 1 else found[0] if found else {}


def connect(base_url: str | None, local: Path | None, *, reports_waits: bool = True) -> AsyncApi:
    """The client for the connection options; long waits are reported on stderr."""
    from aiowandb.api import AsyncApi

    if folder := _local_folder(base_url, local):
        return AsyncApi.local(folder)
    api = AsyncApi(base_url=base_url)
    if reports_waits:
        report_waits(lambda: api.waiting)
    return api


def connect_blocking(base_url: str | None, local: Path | None) -> Api:
    """The synchronous client for the connection options."""
    from aiowandb.sync import Api

    if folder := _local_folder(base_url, local):
        return Api.local(folder)
    api = Api(base_url=base_url)
    report_waits(lambda: api.waiting)
    return api


def _local_folder(base_url: str | None, local: Path | None) -> Path | None:
    if local and base_url is not None:
        raise click.UsageError("--local and --base-url cannot be combined.")
    if local and not local.is_dir():
        raise click.UsageError(f"--local: folder {local} does not exist.")
    return local
