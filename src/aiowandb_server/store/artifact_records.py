"""The records of artifacts that the store returns: frozen dataclasses."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ArtifactType:
    id: int
    project_id: int
    name: str
    description: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """`kind` is SEQUENCE (versions created here) or PORTFOLIO (links to those of sequences)."""

    id: int
    project_id: int
    type_id: int
    kind: str
    name: str
    description: str | None
    created_at: int
    updated_at: int
    type_name: str


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """A version. `collection_id` is the sequence it was created in, `version` its number there."""

    id: int
    collection_id: int
    client_id: str | None
    distributed_id: str | None
    state: str
    digest: str
    description: str | None
    metadata: str | None
    ttl_seconds: int
    history_step: int | None
    size: int
    file_count: int
    aliases: str
    run_id: int | None
    user_id: int | None
    created_at: int
    updated_at: int
    digest_algorithm: str
    version: int | None

    @property
    def uses_xxh128(self) -> bool:
        """Whether the digests of its files are XXH128 and not MD5."""
        return self.digest_algorithm == "MANIFEST_XXH128"

    @property
    def commit_hash(self) -> str | None:
        """A permanent id of the committed version; None before."""
        if self.state != "COMMITTED":
            return None
        return hashlib.sha256(f"{self.id}:{self.digest}".encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that a client is about to upload."""

    digest: str
    client_id: str | None = None
    distributed_id: str | None = None
    description: str | None = None
    metadata: str | None = None
    ttl_seconds: int | None = None
    history_step: int | None = None
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    run_id: int | None = None
    user_id: int | None = None
    reuse_same_digest: bool = True
    digest_algorithm: str = "MANIFEST_MD5"


@dataclass(frozen=True, slots=True)
class MembershipRow:
    """A version as a member of a collection."""

    id: int
    collection_id: int
    artifact_id: int
    version: int
    created_at: int


@dataclass(frozen=True, slots=True)
class AliasRow:
    id: int
    collection_id: int
    membership_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Tag:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class ManifestRow:
    id: int
    artifact_id: int
    kind: str
    name: str
    digest: str
    base_id: int | None
    blob: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a version: `digest` is its base64 md5 or xxh128, or that of a reference."""

    artifact_id: int
    name: str
    digest: str
    size: int
    reference: str | None
