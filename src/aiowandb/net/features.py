"""What the server at the other end can do."""

from __future__ import annotations

from aiowandb.errors import CommError
from aiowandb.net.session import Session
from aiowandb.wire.features import Feature, server_features


async def announces(session: Session, feature: Feature) -> bool:
    """Whether the server says that it has this feature. It is asked once in a session."""
    if session.features is None:
        try:
            session.features = await session.ask(server_features())
        except CommError as error:
            if error.status in (200, 400):  # it is older than the question
                return False
            raise
    return session.features.has(feature)
