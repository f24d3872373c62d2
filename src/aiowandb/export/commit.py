"""How a file of an export appears: whole or not at all, and in words of the export if it cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from aiowandb.errors import AiowandbError, ExportError
from aiowandb.whole import UNFINISHED, whole_file


@asynccontextmanager
async def committed(path: Path) -> AsyncIterator[BinaryIO]:
    """A file to write that takes the name `path` when the block ends without an error."""
    # The same name at each try: what a killed export has left behind is overwritten.
    temporary = path.with_name(path.name + UNFINISHED)
    try:
        async with whole_file(path, temporary) as file:
            yield file
    except AiowandbError:
        raise  # a time-out is an OSError too
    except OSError as error:
        raise ExportError(f"Cannot write {path}: {error.strerror or error}.") from error
