"""`aiowandb login`: stores an API key in netrc, where W&B's tools look for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import click

from aiowandb.atomic import atomic_file
from aiowandb.cli.options import BaseUrl
from aiowandb.cli.output import console, print_error, printable
from aiowandb.config.credentials import ApiKey
from aiowandb.config.ini import global_settings_path, with_setting
from aiowandb.config.netrc import netrc_path, with_entry
from aiowandb.config.settings import Settings, app_url, refused_credentials
from aiowandb.config.text_files import text_in
from aiowandb.errors import AuthenticationError, UsageError


@click.command()
@click.option(
    "--host", type=BaseUrl(), metavar="URL", help="A W&B server, which becomes the default."
)
@click.option("--relogin", is_flag=True, help="Ask for a key even if there is one already.")
@click.option(
    "--verify/--no-verify", default=True, show_default=True, help="Check the key before storing it."
)
def login(host: str | None, relogin: bool, verify: bool) -> None:
    """Store an API key in netrc, where all of W&B's tools look for it.

    The key is not shown as you type it. If stdin is not a terminal, the key is read from it.

    \b
    Examples:
      aiowandb login
      aiowandb login --host https://wandb.example.com
      aiowandb login < key-file
    """
    settings = Settings.load(base_url=host)
    key = _given_key(settings, relogin)
    user = anyio.run(_username, settings.base_url, key) if verify else None
    message = f"Logged in to {settings.base_url}{f' as {user}' if user else ''}."
    if key:
        path = netrc_path()
        entry = partial(with_entry, host=urlsplit(settings.base_url).netloc, password=key.reveal())
        _edit(path, entry, 0o600)
        message += f" The key is stored in {path}."
    elif settings.credentials:
        message += (
            f" Using the key from {settings.credentials.source}; use --relogin to replace it."
        )
    if host:
        setting = partial(with_setting, name="base_url", value=settings.base_url)
        _edit(global_settings_path(), setting, 0o666)
    console.print(printable(message), soft_wrap=True)
    if key and settings.credentials and settings.credentials.source == "WANDB_API_KEY":
        print_error(
            "WANDB_API_KEY is set and takes precedence over netrc: unset it to use the new key."
        )


def _given_key(settings: Settings, relogin: bool) -> ApiKey | None:
    """The key that the user enters, or None to keep the existing one."""
    keep_existing = settings.credentials and not relogin
    if not sys.stdin.isatty():
        piped = sys.stdin.read().strip()
        return ApiKey(piped, "stdin") if piped or not keep_existing else None
    if keep_existing:
        return None
    page = f"{app_url(settings.base_url)}/authorize"
    typed: str = click.prompt(f"API key (yours is at {page})", hide_input=True, err=True)
    return ApiKey(typed.strip(), "the prompt")


async def _username(base_url: str, key: ApiKey | None) -> str | None:
    from aiowandb.api import AsyncApi

    async with AsyncApi(key.reveal() if key else None, base_url=base_url, timeout=10) as api:
        try:
            return (await api.viewer()).username
        except AuthenticationError as error:
            if key is None:
                raise
            advice = refused_credentials(key, base_url, error.status or 401)
            raise AuthenticationError(f"W&B answered {error.status}. {advice}") from error


def _edit(path: Path, edited: Callable[[str], str], mode: int) -> None:
    """Edit a text file: follows a link, and never widens the permissions."""
    path = path.resolve()
    text = ""
    if path.exists():
        if not path.is_file():  # a device would be replaced, as root
            raise UsageError(f"Cannot write {path}: it is not a file.")
        text = text_in(path, "utf-8", "surrogateescape", newline="")
        mode &= path.stat().st_mode
    anyio.run(_write, path, edited(text).encode(errors="surrogateescape"), mode)


async def _write(path: Path, content: bytes, mode: int) -> None:
    async with atomic_file(path, mode=mode) as file:
        file.write(content)
