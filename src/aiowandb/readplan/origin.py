"""Where a plan was made, so that its readers can create sessions of their own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex

import msgspec

from aiowandb.config.settings import Settings
from aiowandb.embedded import EmbeddedTransport
from aiowandb.net import Session

_KEYS = frozenset({"WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"})


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """The W&B at `base_url`, or the embedded one in `folder`; and the project."""

    base_url: str
    entity: str
    project: str
    folder: str | None = None

    @classmethod
    def of(cls, session: Session, entity: str, project: str) -> Origin:
        transport = session.transport
        folder: str | None = None
        if isinstance(transport, EmbeddedTransport):
            folder = str(transport.folder.absolute())  # readers may have another working folder
        return cls(session.settings.base_url, entity, project, folder)

    @asynccontextmanager
    async def session(self, *, with_key: bool = False) -> AsyncIterator[Session]:
        """A session that only follows links, or with the API key of this process."""
        if self.folder is not None:
            key = token_hex(20)
            transport = EmbeddedTransport(self.folder, key)
            settings = self._settings(key if with_key else None)
            async with Session(settings, transport=transport) as session:
                yield session
            return
        settings = Settings.load(base_url=self.base_url) if with_key else self._settings(None)
        async with Session(settings) as session:
            yield session

    def _settings(self, key: str | None) -> Settings:
        environ = {name: value for name, value in os.environ.items() if name not in _KEYS}
        settings = Settings.load(api_key=key, base_url=self.base_url, environ=environ)
        return settings if key else msgspec.structs.replace(settings, credentials=None)
