"""What requests that are made from the schema send, by what an argument is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphql import GraphQLEnumType, GraphQLList, GraphQLNonNull, get_named_type

from tests.security.neighbourhood import Names

# What arguments of queries mean, by field, and by their own name in any field.
_NAMES = {
    "entity.name": "team",
    "users.query": "user",
    "project.name": "project",
    "model.name": "project",
    "run.name": "run",
    "bucket.name": "run",
    "artifactType.name": "type",
    "artifactCollection.name": "collection",
    "artifactCollectionMembership.name": "version",
    "Project.artifact.name": "version",
    "entityName": "entity",
    "artifactEntityName": "entity",
    "projectName": "project",
    "artifactProjectName": "project",
    "modelName": "project",
    "runName": "run",
    "sweepName": "sweep",
    "agentName": "agent",
    "sweep": "sweep",
    "aliasName": "alias",
    "alias": "alias",
    "artifactCollectionName": "collection",
    "artifactPortfolioName": "portfolio",
    "artifactTypeName": "type",
    "destinationArtifactTypeName": "type",
    "tagName": "tag",
    "username": "user",
    "teamAdminUserName": "user",
    "CreateRunFilesInput.files": "file",
    "MarkRunFilesUploadedInput.files": "file",
    "UpsertBucketInput.name": "run",
    "UpsertModelInput.name": "project",
    "CreateTeamInput.teamName": "team",
}
# The kinds of ids; any other argument that is an id is tried with ids of all kinds.
_KINDS = {
    "artifactID": ("Artifact",),
    "baseArtifactID": ("Artifact",),
    "artifactManifestID": ("Manifest",),
    "artifactSequenceID": ("Sequence", "Portfolio"),
    "artifactPortfolioID": ("Portfolio", "Sequence"),
    "clientID": ("client",),
    "sequenceClientID": ("client",),
    "AgentHeartbeatInput.id": ("Agent",),
    "DeleteApiKeyInput.id": ("ApiKey",),
    "DeleteFilesInput.files": ("File",),
    "DeleteInviteInput.id": ("User", "Invite"),
    "DeleteModelInput.id": ("Project",),
    "DeleteRunInput.id": ("Run",),
    "EnqueueSweepRunInput.id": ("Sweep",),
    "StopRunInput.id": ("Run",),
    "UpdateRunStateInput.id": ("Run",),
    "UpdateUserInput.id": ("User",),
    "UpsertBucketInput.id": ("Run",),
    "UpsertModelInput.id": ("Project",),
    "UpsertSweepInput.id": ("Sweep",),
}
# Values that are valid where any text of the type would not be.
VALUES: dict[str, Any] = {
    "aliasName": "latest",
    "sampledHistory.specs": ['{"keys": ["_step"]}'],
    "chartSeries.spec": '{"keys": ["text"]}',
    "md5": "1B2M2Y8AsgTpgAmY7PhCfg==",
    "digest": "1B2M2Y8AsgTpgAmY7PhCfg==",
    "metricName": "_step",
    "UpdateRunStateInput.state": "pending",
    "deleteAliases": True,
}
_ALL_KINDS = tuple(sorted({kind for kinds in _KINDS.values() for kind in kinds}))
_OF_TYPE: dict[str, Any] = {
    "String": "any",
    "ID": "any",
    "JSONString": "{}",
    "Int": 1,
    "Int64": 1,
    "Float": 1.0,
    "Boolean": True,
}

# Not ids of anything here, although they are called so.
_NO_IDS = {"clientMutationId", "clientMutationID", "distributedID", "cloudRegionID", "uploadID"}


@dataclass(frozen=True)
class Slot:
    """An argument that refers to something: by a name, or by an id of one of these kinds."""

    key: str
    kinds: tuple[str, ...]
    by_name: bool

    def of(self, owner: Names, kind: str) -> str:
        return owner.names[kind] if self.by_name else owner.ids[kind]


def slot_of(within: str, key: str, declared: Any) -> Slot | None:
    """What the argument refers to; None if it refers to nothing."""
    field_name = within.rpartition(".")[2]
    for known in (f"{within}.{key}", f"{field_name}.{key}", key):
        if known in _NAMES:
            return Slot(key, (_NAMES[known],), by_name=True)
        if known in _KINDS:
            return Slot(key, _KINDS[known], by_name=False)
    named = get_named_type(declared).name
    if key not in _NO_IDS and (
        named == "ID" or (named == "String" and key[-2:] in ("id", "Id", "ID"))
    ):
        return Slot(key, _ALL_KINDS, by_name=False)
    return None


def plain_value(path: str, key: str, declared: Any) -> Any:
    for known in (path, key):
        if known in VALUES:
            return VALUES[known]
    named = get_named_type(declared)
    if isinstance(named, GraphQLEnumType):
        return next(iter(named.values))
    return listed(_OF_TYPE[named.name], declared)


def listed(value: Any, declared: Any) -> Any:
    inner = declared.of_type if isinstance(declared, GraphQLNonNull) else declared
    return [value] if isinstance(inner, GraphQLList) else value
