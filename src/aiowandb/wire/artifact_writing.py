"""Mutations of versions of artifacts: announce, upload, commit, update, use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from aiowandb.paths import ArtifactRef, RunRef
from aiowandb.redaction import WithLinks
from aiowandb.wire.connection import Connection
from aiowandb.wire.files import headers_of_upload
from aiowandb.wire.graphql import About, Done, Operation
from aiowandb.wire.lenient import Int64

MANIFEST_NAME = "wandb_manifest.json"

_CREATE = """
mutation CreateArtifact($input: CreateArtifactInput!) {
  createArtifact(input: $input) { artifact { id state } }
}"""

_CREATE_MANIFEST = """
mutation CreateArtifactManifest($artifact: ID!, $name: String!, $digest: String!, $entity: String!,
                                $project: String!, $run: String) {
  createArtifactManifest(input: {
    artifactID: $artifact, name: $name, digest: $digest, entityName: $entity,
    projectName: $project, runName: $run, type: FULL
  }) { artifactManifest { id file { id uploadUrl uploadHeaders } } }
}"""

_CREATE_FILES = """
mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) {
  createArtifactFiles(input: $input) {
    files { edges { node { uploadUrl uploadHeaders artifact { id } } } }
  }
}"""

_COMMIT = """
mutation CommitArtifact($id: ID!) {
  commitArtifact(input: {artifactID: $id}) { artifact { id versionIndex } }
}"""

_UPDATE = """
mutation UpdateArtifact($input: UpdateArtifactInput!) {
  updateArtifact(input: $input) { artifact { id } }
}"""

_USE = """
mutation UseArtifact($entity: String!, $project: String!, $run: String!, $id: ID!) {
  useArtifact(input: {
    entityName: $entity, projectName: $project, runName: $run, artifactID: $id
  }) { artifact { id } }
}"""

_LINK = """
mutation LinkArtifact($input: LinkArtifactInput!) {
  linkArtifact(input: $input) { versionIndex }
}"""

_ADD_ALIASES = """
mutation AddAliases($input: AddAliasesInput!) { addAliases(input: $input) { success } }"""

_BY_CLIENT_ID = """
query ClientIDMapping($clientID: ID!) { clientIDMapping(clientID: $clientID) { serverID } }"""


class NewArtifact(msgspec.Struct, frozen=True, kw_only=True):
    """A version before its files are uploaded. `metadata` is JSON text."""

    collection: str
    type: str
    digest: str
    aliases: Sequence[str] = ()
    tags: Sequence[str] = ()
    description: str | None = None
    metadata: str | None = None
    client_id: str
    sequence_client_id: str | None = None
    # Whether no new version is created if the newest one has the same content.
    deduplicate: bool = True
    # Not sent if it is MD5, which older servers take for granted.
    digest_algorithm: str | None = None


class CreatedArtifact(msgspec.Struct):
    id: str
    state: str


class CommittedArtifact(msgspec.Struct, rename="camel"):
    id: str
    version_index: Int64 | None = None


class ArtifactId(msgspec.Struct, frozen=True):
    id: str


class UploadPlace(WithLinks, msgspec.Struct, rename="camel"):
    """Where to upload content; without a URL, W&B has it already."""

    upload_url: str | None = None
    upload_headers: list[str] | None = None
    artifact: ArtifactId | None = None

    def headers(self) -> dict[str, str]:
        """The headers of the upload."""
        return headers_of_upload(self.upload_headers or ())


class CreatedManifest(msgspec.Struct):
    id: str
    file: UploadPlace


def create_artifact(run: RunRef, new: NewArtifact) -> Operation[CreatedArtifact]:
    """Announce a version that a run has logged; with the same client id, only once."""
    wanted: dict[str, Any] = {
        "entityName": run.entity,
        "projectName": run.project,
        "runName": run.run,
        "artifactTypeName": new.type,
        "artifactCollectionName": new.collection,
        "clientID": new.client_id,
        "sequenceClientID": new.sequence_client_id or new.client_id,
        "digest": new.digest,
        "description": new.description,
        "metadata": new.metadata,
        "enableDigestDeduplication": new.deduplicate,
        "aliases": [
            {"alias": alias, "artifactCollectionName": new.collection} for alias in new.aliases
        ],
    }
    if new.digest_algorithm:
        wanted["digestAlgorithm"] = new.digest_algorithm
    if new.tags:
        wanted["tags"] = [{"tagName": tag} for tag in new.tags]
    path = ("createArtifact", "artifact")
    return Operation("CreateArtifact", _CREATE, {"input": wanted}, CreatedArtifact, path)


def artifact_id_of(client_id: str) -> Operation[str | None]:
    """Ask for the id of the artifact that was announced under this client id."""
    path = ("clientIDMapping?", "serverID")
    variables = {"clientID": client_id}
    return Operation("ClientIDMapping", _BY_CLIENT_ID, variables, str, path)


class ServerId(msgspec.Struct):
    """The id of an artifact, if it was announced."""

    server_id: str | None = msgspec.field(name="serverID", default=None)


# The ids of several artifacts, by the name that each has in the document.
ServerIds: TypeAlias = dict[str, ServerId | None]


def artifact_ids_of(client_ids: Sequence[str]) -> Operation[ServerIds]:
    """Ask for the ids of several artifacts; `ids_in` finds them in the response."""
    names = [f"c{number}" for number in range(len(client_ids))]
    asked = " ".join(f"{name}: clientIDMapping(clientID: ${name}) {{ serverID }}" for name in names)
    parameters = ", ".join(f"${name}: ID!" for name in names)
    document = f"query ClientIDMappings({parameters}) {{ {asked} }}"
    variables = dict(zip(names, client_ids, strict=True))
    return Operation("ClientIDMappings", document, variables, ServerIds, ())


def ids_in(answer: ServerIds, count: int) -> list[str | None]:
    """The ids of so many artifacts in the order of the question."""
    found = (answer.get(f"c{number}") for number in range(count))
    return [each.server_id if each else None for each in found]


def create_manifest(run: RunRef, artifact_id: str, digest: str) -> Operation[CreatedManifest]:
    """Announce the manifest of a version, and ask where to upload it."""
    variables = {
        "artifact": artifact_id,
        "name": MANIFEST_NAME,
        "digest": digest,
        "entity": run.entity,
        "project": run.project,
        "run": run.run,
    }
    path = ("createArtifactManifest", "artifactManifest")
    return Operation("CreateArtifactManifest", _CREATE_MANIFEST, variables, CreatedManifest, path)


class UploadSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file to upload: its MD5, and its digest in the manifest if that is another."""

    name: str
    md5: str
    digest: str | None = None


def create_artifact_files(
    artifact_id: str,
    manifest_id: str,
    files: Sequence[UploadSpec],
    digest_algorithm: str | None = None,
) -> Operation[Connection[UploadPlace]]:
    """Ask where to upload these files, in this order."""
    owner = {"artifactID": artifact_id, "artifactManifestID": manifest_id}
    specs = [owner | msgspec.to_builtins(file) for file in files]
    wanted: dict[str, Any] = {"artifactFiles": specs, "storageLayout": "V2"}
    if digest_algorithm:
        wanted["digestAlgorithm"] = digest_algorithm
    path = ("createArtifactFiles", "files")

    def differs(places: Connection[UploadPlace]) -> str | None:
        if len(places.nodes) != len(specs):
            return f"{len(places.nodes)} files, not {len(specs)}"
        ids = {place.artifact.id for place in places.nodes if place.artifact}
        other = next(iter(ids - {artifact_id}), None)
        return None if other is None else f"artifact {other}, not {artifact_id}"

    return Operation(
        "CreateArtifactFiles",
        _CREATE_FILES,
        {"input": wanted},
        Connection[UploadPlace],
        path,
        differs=differs,
    )


def commit_artifact(artifact_id: str) -> Operation[CommittedArtifact]:
    """Commit a version whose files are complete; it gets its number."""
    path, about = ("commitArtifact", "artifact"), About("artifact", "id", artifact_id)
    return Operation("CommitArtifact", _COMMIT, {"id": artifact_id}, CommittedArtifact, path, about)


def update_artifact(
    artifact_id: str,
    description: str,
    metadata: str,
    added_tags: Sequence[str] = (),
    removed_tags: Sequence[str] = (),
) -> Operation[ArtifactId | None]:
    """Change what is said about a version; `metadata` is JSON text."""
    wanted: dict[str, Any] = {
        "artifactID": artifact_id,
        "description": description,
        "metadata": metadata,
    }
    if added_tags:
        wanted["tagsToAdd"] = [{"tagName": tag} for tag in added_tags]
    if removed_tags:
        wanted["tagsToDelete"] = [{"tagName": tag} for tag in removed_tags]
    path, about = ("updateArtifact?", "artifact?"), About("artifact", "id", artifact_id)
    return Operation("UpdateArtifact", _UPDATE, {"input": wanted}, ArtifactId, path, about)


def use_artifact(run: RunRef, artifact_id: str) -> Operation[ArtifactId | None]:
    """Record that a run has used a version."""
    variables = {"entity": run.entity, "project": run.project, "run": run.run, "id": artifact_id}
    path, about = ("useArtifact?", "artifact?"), About("artifact", "id", artifact_id)
    return Operation("UseArtifact", _USE, variables, ArtifactId, path, about)


def link_artifact(
    artifact_id: str, into: ArtifactRef, aliases: Sequence[str]
) -> Operation[int | None]:
    """Link a version into a collection, which is made if necessary; the result is its number there.

    If it is linked already, it only gets the aliases, and `latest`.
    """
    wanted = {
        "artifactID": artifact_id,
        "entityName": into.entity,
        "projectName": into.project,
        "artifactPortfolioName": into.collection,
        "aliases": [
            {"alias": alias, "artifactCollectionName": into.collection} for alias in aliases
        ],
    }
    path = ("linkArtifact", "versionIndex?")
    return Operation("LinkArtifact", _LINK, {"input": wanted}, int, path)


def add_aliases(artifact_id: str, within: ArtifactRef, aliases: Sequence[str]) -> Operation[Done]:
    """Give aliases to a version in one of its collections; other versions there lose them."""
    place = {
        "entityName": within.entity,
        "projectName": within.project,
        "artifactCollectionName": within.collection,
    }
    wanted = {"artifactID": artifact_id, "aliases": [place | {"alias": name} for name in aliases]}
    return Operation("AddAliases", _ADD_ALIASES, {"input": wanted}, Done, ("addAliases?",))
