"""Fills in the default entity and project of shortened paths; checks what a client is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from aiowandb.arguments import Check, Unfit, named_values, optional, text
from aiowandb.config.settings import refused_credentials
from aiowandb.errors import AuthenticationError, UsageError
from aiowandb.net import Session
from aiowandb.paths import (
    RunRef,
    check_project_name,
    parse_artifact_path,
    parse_project_path,
    parse_run_path,
)
from aiowandb.wire.server import Viewer, viewer

DEFAULT_PROJECT = "uncategorized"


def _entity(value: Any) -> str:
    if not isinstance(value, str) or "/" in value or (value and not value.strip()):
        raise Unfit
    return value


def _transport(value: Any) -> httpx.AsyncBaseTransport:
    if isinstance(value, httpx.AsyncBaseTransport):
        return value
    if type(value).__module__.startswith("httpx2"):
        raise Unfit(": call httpx2.alias_httpx() before aiowandb is imported, and it uses httpx2")
    raise Unfit


# An empty string means none, as it does in the environment.
ENTITY = optional(Check("the name of a user or team", _entity))
PROJECT = optional(text("the name of a project", empty=True))
# Requests, responses and errors of another package are none that httpx knows.
TRANSPORT = optional(Check("a transport of httpx (httpx.AsyncBaseTransport)", _transport))
HEADERS = Check("a mapping of names to strings, like a dict", named_values, is_secret=True)
ARTIFACT = text("a name like 'entity/project/name:alias'")


class Defaults:
    """Completes paths. The default entity is requested once, and only if it is needed."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def run(self, path: str | Sequence[str]) -> RunRef:
        """The run that the path names."""
        parsed = parse_run_path(path)
        project = parsed.project or self._session.settings.project
        if not project:
            raise UsageError(
                f"{path!r} has no project, and there is no default project:"
                " write project/run_id, or set WANDB_PROJECT."
            )
        return RunRef(parsed.entity or await self.entity(), project, parsed.run)

    async def artifact(self, path: str) -> tuple[str, str, str]:
        """Entity, project and name of the artifact that the path names."""
        parsed = parse_artifact_path(path)
        project = parsed.project or self._session.settings.project or DEFAULT_PROJECT
        return parsed.entity or await self.entity(), project, parsed.name

    async def project(self, path: str | None) -> tuple[str, str]:
        """Entity and name of the project that the path names."""
        parsed = parse_project_path(path)
        project = parsed.project or self._session.settings.project or DEFAULT_PROJECT
        return parsed.entity or await self.entity(), project

    async def named_project(self, project: str | None, entity: str | None) -> tuple[str, str]:
        """Entity and name of a project, given separately or not at all."""
        if not project:
            return entity or await self.entity(), self._session.settings.project or DEFAULT_PROJECT
        return await self.project(f"{entity}/{project}" if entity else project)

    async def new_project(self, project: str | None, entity: str | None) -> tuple[str, str]:
        """The same for a project that may have to be created."""
        if project:
            path = f"{entity}/{project}" if entity else project
            check_project_name(parse_project_path(path).project or "", "project")
        return await self.named_project(project, entity)

    async def entity(self) -> str:
        """The entity of the settings, or else the user's default entity."""
        if named := self._session.settings.entity:
            return named
        user = await self.viewer()
        if not user.entity:
            raise UsageError("Your account has no default entity: set WANDB_ENTITY.")
        return user.entity

    async def viewer(self) -> Viewer:
        """The user of the credentials."""
        user = await self._session.ask_cached(viewer())
        if user is None:
            settings = self._session.settings
            raise AuthenticationError(
                "Viewer: W&B returned no user. "
                + refused_credentials(settings.credentials, settings.base_url, 401)
            )
        return user
