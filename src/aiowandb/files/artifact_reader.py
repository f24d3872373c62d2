"""Reads single files of artifacts into memory, wherever references lead to."""

from __future__ import annotations

from io import BytesIO

from aiowandb.errors import LinkError, NotFoundError, ServerError
from aiowandb.files.artifact_files import ArtifactFiles
from aiowandb.files.artifacts import EntryResolver
from aiowandb.files.fetch import checksum_of
from aiowandb.net import Session
from aiowandb.paths import ArtifactRef
from aiowandb.wire.artifact_writing import artifact_id_of
from aiowandb.wire.manifest import ArtifactFileRef, Manifest, ManifestEntry

_MAX_REFERENCES = 10
_CLIENT_SCHEME = "wandb-client-artifact://"


class ArtifactReader:
    """Files of artifacts, by the references that runs and other artifacts have to them.

    Manifests are read once, and kept as long as this object.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._resolver = EntryResolver(session)
        self._ids: dict[str, str] = {}

    async def locate(self, reference: str) -> ArtifactFileRef:
        """The file that a reference means: `wandb-artifact://<id>/<name>`, or with the id that
        W&B's client had chosen before the artifact was there.
        """
        if reference.startswith(_CLIENT_SCHEME):
            client_id, _, name = reference.removeprefix(_CLIENT_SCHEME).partition("/")
            return ArtifactFileRef(await self._artifact_id(client_id.partition(":")[0]), name)
        target = ManifestEntry(digest="", ref=reference).target
        if target is None:
            raise NotFoundError(f"{reference} is not a file of an artifact at W&B.")
        return target

    def knows(self, artifact_id: str, home: ArtifactRef) -> None:
        """Note where the artifact with this id is, so that W&B need not be asked."""
        self._resolver.homes[artifact_id] = home

    async def manifest(self, artifact_id: str) -> Manifest:
        """The entries of an artifact."""
        return (await self._resolver.artifact(artifact_id))[1]

    async def find(self, file: ArtifactFileRef) -> ArtifactFileRef:
        """The file itself, where the file may refer to one of another artifact."""
        for _ in range(_MAX_REFERENCES):
            home, manifest = await self._resolver.artifact(file.artifact_id)
            entry = manifest.entries.get(file.name)
            if entry is None:
                raise NotFoundError(f"{home} has no file {file.name}.")
            if entry.ref is None:
                return file
            if entry.target is None:
                raise NotFoundError(f"{file.name} of {home} is outside of W&B.")
            file = entry.target
        raise NotFoundError(f"{file.name} of an artifact has circular references.")

    async def read(self, file: ArtifactFileRef) -> bytes:
        """The content of a file that does not refer to another one."""
        home, manifest = await self._resolver.artifact(file.artifact_id)
        source = ArtifactFiles(self._session, home, [file.name], 1)
        record = await source.find(file.name)
        url = source.link(record) if record else None
        if url is None:
            raise LinkError(f"W&B sent no link to {file.name} of {home}.")
        content = BytesIO()
        await self._session.download(url, content)
        found, entry = content.getvalue(), manifest.entries[file.name]
        wanted = entry.checksum
        if wanted and checksum_of(BytesIO(found), wanted.algorithm) != wanted:
            raise ServerError(f"{file.name} of {home} is not what its manifest says.")
        return found

    async def _artifact_id(self, client_id: str) -> str:
        if client_id not in self._ids:
            found = await self._session.ask(artifact_id_of(client_id))
            if found is None:
                raise NotFoundError(f"Could not find the artifact with the client id {client_id}.")
            self._ids[client_id] = found
        return self._ids[client_id]
