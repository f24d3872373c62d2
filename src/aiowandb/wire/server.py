"""Queries of the user and of the features of the server."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiowandb.wire.graphql import Operation

_VIEWER = "query Viewer { viewer { id entity username email } }"


class Viewer(msgspec.Struct, frozen=True):
    """The user that the credentials belong to."""

    id: str
    username: str | None = None
    entity: str | None = None
    email: str | None = None


def viewer() -> Operation[Viewer | None]:
    return Operation("Viewer", _VIEWER, {}, Viewer, at=("viewer?",))


# The first two are extensions of the embedded W&B: storing rows only at the end of a history, and
# setting the creation time, user and final state of copied runs.
Feature = Literal[
    "AIOWANDB_EXCLUSIVE_APPEND",
    "AIOWANDB_RUN_ORIGIN",
    "ARTIFACT_DIGEST_ALGORITHM",
    "FILESTREAM_GZIP",
    "MARK_RUN_FILES_UPLOADED",
    "SWEEPS_LOCAL_SCHEDULER",
    "SWEEPS_QUERY_FILTERING",
]

_FEATURES = "query ServerFeaturesQuery { serverInfo { features { name isEnabled } } }"


class ServerFeature(msgspec.Struct, rename="camel"):
    name: str
    is_enabled: bool = False


class ServerInfo(msgspec.Struct):
    features: list[ServerFeature | None] | None = None


class FeaturesData(msgspec.Struct, rename="camel"):
    server_info: ServerInfo | None = None

    def has(self, feature: Feature) -> bool:
        known = (self.server_info and self.server_info.features) or []
        return any(item and item.name == feature and item.is_enabled for item in known)


def server_features() -> Operation[FeaturesData]:
    return Operation("ServerFeaturesQuery", _FEATURES, {}, FeaturesData)


def store_id() -> Operation[str | None]:
    """The id of an embedded W&B's data folder, if it announces this feature."""
    document = "query StoreId { serverInfo { storeId } }"
    return Operation("StoreId", document, {}, str, at=("serverInfo?", "storeId?"))
