"""The manifest of an artifact, and links to its files."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec

from aiowandb.errors import ServerError
from aiowandb.paths import ArtifactRef
from aiowandb.redaction import WithLinks
from aiowandb.wire.artifact_record import Alias, differing_version
from aiowandb.wire.checksum import Algorithm, Checksum
from aiowandb.wire.connection import Connection
from aiowandb.wire.files import FileRecord, other_file
from aiowandb.wire.graphql import MALFORMED, About, Operation
from aiowandb.wire.lenient import Int64

_MANIFEST = """
query FetchArtifactManifest($id: ID!) {
  artifact(id: $id) { id currentManifest { file { directUrl md5 } } }
}"""

_FILES = """
query ArtifactMembershipFiles($entity: String!, $project: String!, $collection: String!,
                              $alias: String!, $names: [String!], $perPage: Int,
                              $cursor: String) {
  project(name: $project, entityName: $entity) {
    artifactCollection(name: $collection) {
      name artifactMembership(aliasName: $alias) {
        versionIndex aliases { alias } files(names: $names, first: $perPage, after: $cursor) {
          edges {
            node { id name: displayName url directUrl sizeBytes mimetype md5 updatedAt }
          }
          pageInfo { endCursor hasNextPage }
        }
      }
    }
  }
}"""


_ALGORITHMS: dict[str, Algorithm] = {"MD5": "MD5", "XXH128": "XXH128"}


class ArtifactFileRef(msgspec.Struct, frozen=True):
    """A file of an artifact that another artifact refers to."""

    artifact_id: str
    name: str

    @property
    def url(self) -> str:
        """The reference to it, as manifests have it."""
        return f"wandb-artifact://{base64.b64decode(self.artifact_id).hex()}/{self.name}"


class ManifestEntry(WithLinks, msgspec.Struct, frozen=True, rename="camel"):
    """A file of an artifact, or with `ref` a reference to something elsewhere."""

    digest: str
    size: Int64 | None = None
    ref: str | None = None
    birth_artifact_id: str | None = msgspec.field(name="birthArtifactID", default=None)
    extra: dict[str, Any] = {}

    @property
    def algorithm(self) -> Algorithm | None:
        """What the digest was computed with; None if that is unknown."""
        # Manifests mark only digests that are no MD5.
        return _ALGORITHMS.get(str(self.extra.get("alg", "MD5")))

    @property
    def checksum(self) -> Checksum | None:
        """What the content is checked with; None for references and unknown algorithms."""
        algorithm = None if self.ref is not None else self.algorithm
        return Checksum.of(self.digest, algorithm) if algorithm else None

    @property
    def target(self) -> ArtifactFileRef | None:
        """The file of another artifact that this refers to, or None."""
        scheme, _, place = (self.ref or "").partition("://")
        hex_id, _, name = place.partition("/")
        try:
            artifact_id = base64.b64encode(bytes.fromhex(hex_id)).decode()
        except ValueError:
            return None
        return ArtifactFileRef(artifact_id, name) if scheme == "wandb-artifact" else None


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """The entries of an artifact by name."""

    entries: Mapping[str, ManifestEntry] = msgspec.field(name="contents")
    version: Int64 = 1
    storage_policy: str | None = None
    storage_policy_config: dict[str, Any] = {}

    @classmethod
    def of(cls, content: bytes, name: str) -> Self:
        """Read the manifest of the artifact of this name."""
        try:
            return msgspec.json.decode(content, type=cls)
        except MALFORMED as error:
            raise ServerError(f"Cannot decode the manifest of {name}: {error}.", error) from error


class ManifestFile(WithLinks, msgspec.Struct, frozen=True, rename="camel"):
    """Where the manifest is, and its MD5, if W&B knows it."""

    direct_url: str
    md5: str | None = None


class FilesOfVersion(msgspec.Struct, rename="camel"):
    """A page of the files of a version, and which version this is."""

    files: Connection[FileRecord] | None = None
    version_index: Int64 | None = None
    aliases: list[Alias] | None = None


def manifest_link(artifact_id: str) -> Operation[ManifestFile | None]:
    """Ask for a link to the manifest."""
    path, about = ("artifact?", "currentManifest?", "file"), About("artifact", "id", artifact_id)
    variables = {"id": artifact_id}
    return Operation("FetchArtifactManifest", _MANIFEST, variables, ManifestFile, path, about)


def artifact_files(
    ref: ArtifactRef, names: Sequence[str] | None, per_page: int, cursor: str | None = None
) -> Operation[FilesOfVersion | None]:
    """A page of an artifact's files: all, or those of these names."""
    variables = {
        "entity": ref.entity,
        "project": ref.project,
        "collection": ref.collection,
        "alias": ref.version,
        "names": names,
        "perPage": per_page,
        "cursor": cursor,
    }

    def differs(found: FilesOfVersion) -> str | None:
        other = differing_version(found.version_index, found.aliases, ref.version, None)
        return other or other_file(found.files.nodes if found.files else (), names or ())

    path = ("project?", "artifactCollection?", "artifactMembership?")
    about = About("artifactCollection", "name", ref.collection)
    name = "ArtifactMembershipFiles"
    return Operation(name, _FILES, variables, FilesOfVersion, path, about, differs)
