"""What the server at the other end can do."""

from __future__ import annotations

from aiowandb.errors import CommError
from aiowandb.net.session import Session
from aiowandb.wire.features import Feature, server_features


async def announces(session: Session, feature: Feature) -> bool:
    """Whether the server says that it has this feature."""
    try:
        return (await session.recall(server_features())).has(feature)
    except CommError as error:
        if error.status in (200, 400):  # it is older than the question
            return False
        raise
