"""`aiowandb status`: shows the server, the user and where the API key was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.choices import RecordFormat
from aiowandb.cli.options import connect, connection, record_format
from aiowandb.cli.output import print_record

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi


@click.command()
@connection
@record_format
def status(base_url: str | None, local: Path | None, format: RecordFormat) -> None:
    """Show which W&B server is used, as which user, and where the key was found.

    \b
    Examples:
      aiowandb status
      aiowandb status --format json
    """
    api = connect(base_url, local)
    credentials = api.settings.credentials
    facts = {
        "host": api.settings.base_url,
        "key from": credentials.source if credentials else None,
        "project": api.settings.project,
    }
    try:
        facts |= anyio.run(_ask, api)
    finally:
        print_record(facts, format)


async def _ask(api: AsyncApi) -> dict[str, Any]:
    async with api:
        started = anyio.current_time()
        user = await api.viewer()
        return {
            "user": user.username,
            "entity": api.settings.entity or user.entity,
            "answered in": f"{(anyio.current_time() - started) * 1000:.0f} ms",
        }
