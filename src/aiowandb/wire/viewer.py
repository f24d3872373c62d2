"""Who is asking."""

from __future__ import annotations

import msgspec

from aiowandb.wire.graphql import Operation

_VIEWER = "query Viewer { viewer { id entity username email } }"


class Viewer(msgspec.Struct, frozen=True):
    """The user that the credentials belong to."""

    id: str
    username: str | None = None
    entity: str | None = None
    email: str | None = None


class ViewerData(msgspec.Struct):
    viewer: Viewer | None


def viewer() -> Operation[ViewerData]:
    return Operation("Viewer", _VIEWER, {}, ViewerData)
