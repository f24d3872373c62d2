"""`Artifact` and `Artifacts`: versions of artifacts, to list and download."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from os import PathLike
from pathlib import Path
from urllib.parse import quote

from aiowandb.api.defaults import Defaults
from aiowandb.api.files import Files
from aiowandb.api.listing import Listing
from aiowandb.api.run import Run
from aiowandb.arguments import ANY_NAMES, FLAG, PATH, checks, integer, optional, text
from aiowandb.config.settings import app_url
from aiowandb.errors import NotFoundError
from aiowandb.fields import ArtifactFields, RecordHolder
from aiowandb.files.artifact_files import ArtifactFiles, read_manifest
from aiowandb.files.artifact_lists import ArtifactList, ArtifactVersions
from aiowandb.files.artifacts import ArtifactDownload, download_artifact
from aiowandb.files.folder import path_inside
from aiowandb.net import Session
from aiowandb.paths import ArtifactRef, parse_artifact_path
from aiowandb.user_warnings import warn
from aiowandb.wire.artifact_record import ArtifactRecord
from aiowandb.wire.artifacts import (
    RunWithProject,
    artifact_by_name,
    artifact_logged_by,
    artifact_used_by,
)
from aiowandb.wire.manifest import Manifest


class Artifact(ArtifactFields, RecordHolder[ArtifactRecord]):
    """A version of an artifact.

    >>> artifact = await api.artifact("entity/project/model:latest")
    >>> result = await artifact.download()
    >>> result.folder, result.files
    """

    def __init__(self, record: ArtifactRecord, session: Session) -> None:
        super().__init__(record)
        self._session = session

    @property
    def url(self) -> str:
        """The web page of this version."""
        ref, site = self.record.ref, app_url(self._session.settings.base_url)
        kind, name = quote(self.type, safe=""), quote(ref.collection, safe="")
        return f"{site}/{ref.entity}/{ref.project}/artifacts/{kind}/{name}/{ref.version}"

    @checks(names=optional(ANY_NAMES), per_page=integer(1))
    def files(self, names: Sequence[str] | None = None, per_page: int = 50) -> Files:
        """The files of this version, or only those with these names."""
        return Files(self._session, ArtifactFiles(self._session, self.record.ref, names, per_page))

    @checks()
    async def manifest(self) -> Manifest:
        """The manifest: names, digests, sizes and references of all files."""
        return await read_manifest(self._session, self.id, self.qualified_name)

    @checks(
        root=optional(PATH),
        allow_missing_references=FLAG,
        path_prefix=optional(text("the start of file names", empty=True)),
    )
    async def download(
        self,
        root: str | PathLike[str] | None = None,
        allow_missing_references: bool = False,
        path_prefix: str | None = None,
    ) -> ArtifactDownload:
        """Download the files into the folder `root`, by default `artifacts/<name>:<version>`.

        Each file is verified against the manifest, and appears complete or not at all. Files
        that exist and are intact are kept. References to other artifacts are followed. Other
        references, like `file://` and `s3://`, are not downloaded: the result lists them in
        `left_out`, and a warning is logged. `path_prefix` selects the files whose names start
        with it.
        """
        return await download_artifact(
            self._session,
            self.record,
            Path(root) if root is not None else self._default_folder(),
            path_prefix=path_prefix or "",
            allow_missing_references=allow_missing_references,
        )

    @checks()
    async def logged_by(self) -> Run | None:
        """The run that logged this version, or None."""
        artifact = await self._session.ask_cached(artifact_logged_by(self.id))
        maker = artifact and artifact.created_by
        return self._run(maker) if isinstance(maker, RunWithProject) else None

    @checks()
    async def used_by(self) -> list[Run]:
        """The runs that used this version."""
        users = await self._session.ask_cached(artifact_used_by(self.id))
        return [self._run(record) for record in users.nodes] if users else []

    def _run(self, record: RunWithProject) -> Run:
        record.entity, record.project = record.home.entity.name, record.home.name
        return Run(record, self._session)

    def _default_folder(self) -> Path:
        base = Path(os.environ.get("WANDB_ARTIFACT_DIR") or "artifacts")
        colon = "-" if os.name == "nt" else ":"
        folder = path_inside(base, self.source.collection)
        return folder.with_name(f"{folder.name}{colon}{self.source.version}")


class Artifacts(Listing[Artifact]):
    """Artifacts of a run, or versions of one artifact. Nothing is sent until the list is used.

    >>> async for artifact in run.logged_artifacts():
    ...     print(artifact.name, artifact.type, artifact.size)
    """

    def __init__(self, session: Session, source: ArtifactList) -> None:
        super().__init__(session)
        self._source = source

    @checks()
    async def count(self) -> int:
        """The number of items."""
        return await self._source.count()

    async def _pages(self) -> AsyncGenerator[list[Artifact]]:
        async with aclosing(self._source.pages()) as pages:
            async for records in pages:
                yield [Artifact(record, self._session) for record in records]


async def find_artifact(
    session: Session,
    entity: str,
    project: str,
    name: str,
    *,
    kind: str | None = None,
    fresh: bool = False,
) -> Artifact:
    """The version with this name and alias. Its type must be `kind`, if given."""
    asked = artifact_by_name(entity, project, name)
    member = await session.ask_cached(asked, fresh=fresh)
    record = member.record(name) if member else None
    if record is None:
        raise NotFoundError(f"Could not find artifact {entity}/{project}/{name}.")
    if kind is not None and record.type != kind:
        raise NotFoundError(
            f"Artifact {record.qualified_name} is of type {record.type}, not {kind}."
        )
    return Artifact(record, session)


def versions_of(
    session: Session,
    defaults: Defaults,
    name: str,
    type_name: str,
    order: str | None,
    tags: Sequence[str],
    per_page: int,
    *,
    fresh: bool,
) -> Artifacts:
    """The versions of the artifact with this name and type."""
    _, colon, alias = parse_artifact_path(name).name.partition(":")
    if colon:
        warn(
            f"name={name!r}: all versions are listed, not just {alias!r}; use artifact() for that."
        )

    async def where() -> ArtifactRef:
        entity, project, wanted = await defaults.artifact(name)
        return ArtifactRef(entity, project, wanted.partition(":")[0], "")

    source = ArtifactVersions(session, where, type_name, order, tags, per_page, fresh=fresh)
    return Artifacts(session, source)
