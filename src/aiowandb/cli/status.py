"""`aiowandb status`: who asks which W&B, with what, and whether it answers."""

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
    """Say which W&B is used, as whom, and where the key was found.

    \b
    Examples:
      aiowandb status
      aiowandb status --format json
    """
    api = connect(base_url, local)
    credentials = api.settings.credentials
    known = {
        "host": api.settings.base_url,
        "key from": credentials.source if credentials else None,
        "project": api.settings.project,
    }
    try:
        known |= anyio.run(_answered, api)
    finally:
        print_record(known, format)


async def _answered(api: AsyncApi) -> dict[str, Any]:
    async with api:
        started = anyio.current_time()
        user = await api.viewer()
        return {
            "user": user.username,
            "entity": api.settings.entity or user.entity,
            "answered in": f"{(anyio.current_time() - started) * 1000:.0f} ms",
        }
