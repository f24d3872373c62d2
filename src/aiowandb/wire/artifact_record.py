"""A version of an artifact, with the attribute names of the W&B Python API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from aiowandb.paths import ArtifactRef
from aiowandb.wire import lenient
from aiowandb.wire.connection import Connection
from aiowandb.wire.graphql import is_same
from aiowandb.wire.lenient import Int64, as_utc

_VERSION = re.compile(r"v\d+")


class ArtifactRecord(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A version of an artifact, under the name by which it was found.

    `source` is where it was logged; in a collection that it was linked to it may have
    another project, name and version.
    """

    id: str
    name: str
    entity: str
    project: str
    type: str
    version: str
    aliases: list[str]
    tags: list[str]
    description: str | None
    metadata: dict[str, Any]
    digest: str
    size: int
    file_count: int
    state: str
    created_at: datetime | None
    updated_at: datetime | None
    source: ArtifactRef

    @property
    def ref(self) -> ArtifactRef:
        return ArtifactRef(self.entity, self.project, self.name.partition(":")[0], self.version)

    @property
    def qualified_name(self) -> str:
        """Entity, project and name; `api.artifact()` takes it."""
        return f"{self.entity}/{self.project}/{self.name}"

    @property
    def source_qualified_name(self) -> str:
        """Entity, project and name under which it was logged."""
        return str(self.source)

    @property
    def is_link(self) -> bool:
        """Whether it was found in another collection than the one it was logged to."""
        here, there = self.ref, self.source
        return (here.entity, here.project, here.collection) != (
            there.entity,
            there.project,
            there.collection,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.qualified_name} ({self.type})>"


def number_of(artifact: ArtifactRecord) -> int:
    """The number of the version where it was logged, where W&B calls it `v3`."""
    return int(artifact.source.version.removeprefix("v"))


class Named(msgspec.Struct, frozen=True):
    name: str


class Home(msgspec.Struct, frozen=True):
    """The project that something is in."""

    name: str
    entity: Named


class Collection(msgspec.Struct, frozen=True):
    """Versions under one name; its project may have been deleted."""

    name: str
    project: Home | None = None

    def at(self, version: str) -> ArtifactRef:
        home = self.project or Home("", Named(""))
        return ArtifactRef(home.entity.name, home.name, self.name, version)


class Alias(msgspec.Struct, rename="camel"):
    alias: str
    artifact_collection: Collection | None = None


class ArtifactLink(msgspec.Struct, frozen=True):
    """A version in another collection than the one it was logged to.

    `project` is `entity/project` if it is another one than that of the version, such as a registry.
    """

    collection: str
    version: int | None
    aliases: tuple[str, ...] = ()
    project: str | None = None

    def __str__(self) -> str:
        place = f"{self.project}/{self.collection}" if self.project else self.collection
        return place if self.version is None else f"{place}:v{self.version}"


class MemberNode(msgspec.Struct, rename="camel"):
    """A version in one of its collections, as W&B sends it with the version."""

    artifact_collection: Collection | None = None
    version_index: Int64 | None = None
    aliases: list[Alias] = []


class ArtifactNode(msgspec.Struct, rename="camel"):
    """A version of an artifact as W&B sends it."""

    id: str
    version_index: int
    state: str
    digest: str
    artifact_sequence: Collection
    artifact_type: Named
    size: Int64 = 0
    file_count: Int64 = 0
    tags: list[Named] = []
    aliases: list[Alias] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    description: str | None = None
    metadata: str | None = None
    # Only copies ask for them.
    artifact_memberships: Connection[MemberNode] | None = None

    @property
    def links(self) -> list[ArtifactLink]:
        """The other collections that it is linked to."""
        members = self.artifact_memberships.nodes if self.artifact_memberships else []
        return [
            _link(member, member.artifact_collection, self.artifact_sequence)
            for member in members
            if member.artifact_collection and member.artifact_collection != self.artifact_sequence
        ]

    def record(self) -> ArtifactRecord:
        """The version in the collection that it was logged to."""
        return self.found_in(self.artifact_sequence, f"v{self.version_index}")

    def found_in(
        self,
        collection: Collection,
        version: str,
        *,
        name: str | None = None,
        aliases: Sequence[Alias] | None = None,
    ) -> ArtifactRecord:
        """The version in a collection, under the name by which it was found."""
        if aliases is None:
            known = self.aliases or ()
            aliases = [alias for alias in known if alias.artifact_collection == collection]
        ref = collection.at(version)
        return ArtifactRecord(
            id=self.id,
            name=name or f"{collection.name}:{version}",
            entity=ref.entity,
            project=ref.project,
            type=self.artifact_type.name,
            version=version,
            aliases=[a.alias for a in aliases if not _VERSION.fullmatch(a.alias)],
            tags=[tag.name for tag in self.tags],
            description=self.description,
            metadata=lenient.loads(self.metadata) if self.metadata else {},
            digest=self.digest,
            size=self.size,
            file_count=self.file_count,
            state=self.state,
            created_at=as_utc(self.created_at),
            updated_at=as_utc(self.updated_at or self.created_at),
            source=self.artifact_sequence.at(f"v{self.version_index}"),
        )


def _link(member: MemberNode, found: Collection, own: Collection) -> ArtifactLink:
    aliases = [each.alias for each in member.aliases if not _VERSION.fullmatch(each.alias)]
    version, project = member.version_index, None
    if found.project != own.project:
        place = found.at("")
        project = f"{place.entity}/{place.project}"
    return ArtifactLink(found.name, version, tuple(sorted(aliases)), project)


def differing_version(
    index: int | None, aliases: Sequence[Alias] | None, asked: str, artifact: ArtifactNode | None
) -> str | None:
    """Which version this is, if not the one with the number or alias that was asked for.

    A digest names a version, too.
    """
    if _VERSION.fullmatch(asked):
        is_asked = index is None or asked == f"v{index}"
    else:
        is_asked = not asked or aliases is None or asked in {alias.alias for alias in aliases}
    is_asked = is_asked or (artifact is not None and artifact.digest == asked)
    return None if is_asked else f"version v{index}, not {asked}"


class Membership(msgspec.Struct, rename="camel"):
    """A version in a collection."""

    artifact_collection: Collection
    artifact: ArtifactNode | None
    version_index: Int64 | None = None
    aliases: list[Alias] | None = None

    def differs(self, name: str) -> str | None:
        """What this is, if not what `collection:alias` names."""
        collection, _, alias = name.partition(":")
        found = self.artifact_collection.name
        if not is_same(found, collection):
            return f"artifact {found}, not {collection}"
        return differing_version(self.version_index, self.aliases, alias, self.artifact)

    def record(self, name: str) -> ArtifactRecord | None:
        """The version, found by this name."""
        if self.artifact is None:
            return None
        index = self.artifact.version_index if self.version_index is None else self.version_index
        return self.artifact.found_in(
            self.artifact_collection,
            f"v{index}",
            name=name if ":" in name else None,
            aliases=self.aliases,
        )
