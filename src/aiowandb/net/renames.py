"""Projects that W&B calls otherwise than they were asked for.

A gateway that mixes up responses returns another project, and so does W&B, rightly, for the old
name of one that was renamed. A second question, which is about nothing but the name, decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from typing import TypeVar

from aiowandb.wire.graphql import Operation, ProjectName, RenamedProjectError
from aiowandb.wire.projects import ProjectRecord, project_name

R = TypeVar("R")

Renamed = Container[tuple[ProjectName, ProjectName]]
# So often the same request may get the response to another one.
_TRIES = 3


class Renames:
    """The names of projects that differ from those that were asked for, as far as confirmed."""

    def __init__(self) -> None:
        self._confirmed: set[tuple[ProjectName, ProjectName]] = set()

    async def checked(
        self,
        send: Callable[[Renamed], Awaitable[R]],
        ask: Callable[[Operation[ProjectRecord | None]], Awaitable[ProjectRecord | None]],
    ) -> R:
        """The result of `send`, which raises for names that are not confirmed.

        `ask` sends the question that confirms them.
        """
        tries = 0
        while True:
            tries += 1
            try:
                return await send(self._confirmed)
            except RenamedProjectError as error:
                if not await self._confirm(error, ask) and tries == _TRIES:
                    raise

    async def _confirm(
        self,
        error: RenamedProjectError,
        ask: Callable[[Operation[ProjectRecord | None]], Awaitable[ProjectRecord | None]],
    ) -> bool:
        record = await ask(project_name(*error.asked))
        if record is None or ProjectName(record.entity, record.name) != error.found:
            return False
        self._confirmed.add((error.asked, error.found))
        return True
