"""`aiowandb serve`: serves the embedded W&B on a port."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from aiowandb.choices import HistoryMode
from aiowandb.cli.options import one_of
from aiowandb.config.settings import bytes_in
from aiowandb.config.text_files import named_text

# With less, no request could ask for the rows of an ordinary run.
_LEAST_MEMORY = 64 << 20


class _Rate(click.FloatRange):
    """`5` or `5/s`."""

    name = "N/s"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number: Any = str(value).removesuffix("/s")
        return super().convert(number, param, ctx)


class _Memory(click.types.StringParamType):
    """`500MB`, `2GB`, or a number of bytes."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        size = bytes_in(str(value))
        if size is None:
            self.fail(f"{value!r} is not a size like 500MB or 2GB.", param, ctx)
        if size < _LEAST_MEMORY:
            self.fail(f"{value!r} is too little: at least 64MB.", param, ctx)
        return size


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default="aiowandb-data",
    show_default=True,
    help="Data folder, created on first use.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="0 picks a free one.",
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    help="An additional API key, which others on this machine can see; can be repeated.",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with more API keys, one a line, which `ps` does not show.",
)
@click.option(
    "--open",
    "open_access",
    is_flag=True,
    help="Accept any key as a user of that name. Loopback only.",
)
@click.option(
    "--history",
    type=one_of(HistoryMode),
    default="parquet",
    show_default=True,
    help="How to serve the histories of finished runs.",
)
@click.option("--rate-limit", type=_Rate(0, min_open=True), help="Maximum requests per second.")
@click.option(
    "--latency",
    type=click.FloatRange(0),
    default=0.0,
    metavar="MS",
    help="Milliseconds to wait before each response.",
)
@click.option(
    "--max-memory",
    type=_Memory(),
    default="1GB",
    show_default=True,
    help="What all requests together may take; those that need more wait for their turn.",
)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Answer to this name too, as behind a proxy; can be repeated.",
)
@click.option("--no-pages", is_flag=True, help="Leave the web pages out; serve the API only.")
def serve(
    data: Path,
    host: str,
    port: int,
    keys: tuple[str, ...],
    key_file: Path | None,
    open_access: bool,
    history: HistoryMode,
    rate_limit: float | None,
    latency: float,
    max_memory: int,
    allowed_hosts: tuple[str, ...],
    no_pages: bool,
) -> None:
    """Serve an embedded W&B for the wandb SDK, other clients and tests.

    Prints `listening on URL` first, then a link that opens its web pages, once.
    Its API key is in DATA/local-key.

    \b
    Examples:
      aiowandb serve
      aiowandb serve --data my-wandb --port 0
      export WANDB_BASE_URL=http://127.0.0.1:8080 WANDB_API_KEY=$(cat aiowandb-data/local-key)
    """
    from aiowandb.embedded import serve

    for option, given in (("--key", keys), ("--key-file", key_file)):
        if open_access and given:
            raise click.UsageError(f"--open and {option} cannot be combined: any key is accepted.")
    serve(
        data,
        host=host,
        port=port,
        on_ready=_print_ready,
        keys=[*keys, *(_keys_in(key_file) if key_file else ())],
        open_access=open_access,
        history=history,
        rate_limit=rate_limit,
        latency=latency / 1000,
        max_memory=max_memory,
        allowed_hosts=allowed_hosts,
        pages=not no_pages,
    )


def _keys_in(file: Path) -> list[str]:
    try:
        keys = named_text(file).split()
    except UnicodeDecodeError:
        keys = []
    if not keys:
        raise click.UsageError(f"--key-file: {file} has no API key; write one a line.")
    return keys


def _print_ready(url: str, link: str | None) -> None:
    sys.stdout.write(f"listening on {url}\n")
    if link:
        sys.stdout.write(f"open {link}\n")
    sys.stdout.flush()
