"""The files of one version of an artifact."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from io import BytesIO

from aiowandb.errors import ContentError, NotFoundError, UsageError
from aiowandb.files.fetch import checksum_of
from aiowandb.files.run_files import file_key
from aiowandb.net import Session
from aiowandb.net.paging import pages_of
from aiowandb.paths import ArtifactRef
from aiowandb.redaction import Link
from aiowandb.wire.checksum import Checksum
from aiowandb.wire.connection import Connection
from aiowandb.wire.files import FileRecord
from aiowandb.wire.manifest import Manifest, artifact_files, manifest_link


async def read_manifest(session: Session, artifact_id: str, name: str) -> Manifest:
    """The manifest of the artifact with this id; `name` is for error messages."""
    try:
        content = await _manifest(session, artifact_id, name)
    except ContentError:  # a new link may lead to the right file
        content = await _manifest(session, artifact_id, name)
    return Manifest.of(content, name)


async def _manifest(session: Session, artifact_id: str, name: str) -> bytes:
    found = await session.ask(manifest_link(artifact_id))
    if found is None:
        raise NotFoundError(f"Artifact {name} has no manifest.", operation="FetchArtifactManifest")
    file = BytesIO()
    await session.download(session.link(found.direct_url), file)
    wanted = Checksum.of(found.md5)
    file.seek(0)
    # All files are checked with what the manifest says, so it must not be another artifact's.
    if wanted and (received := checksum_of(file, wanted.algorithm)) != wanted:
        raise ContentError(
            f"The manifest of {name}: its md5 is {received.text}, but W&B announced {wanted.text}.",
            name=name,
        )
    return file.getvalue()


class ArtifactFiles:
    """An artifact's files: all, or those of these names."""

    def __init__(
        self,
        session: Session,
        ref: ArtifactRef,
        names: Sequence[str] | None = None,
        per_page: int = 50,
    ) -> None:
        if isinstance(names, str):
            raise UsageError(f"names must be a list of names, not {names!r}.")
        self._session = session
        self._ref = ref
        self._names = names
        self._per_page = per_page

    def pages(self, *, fresh: bool = False) -> AsyncGenerator[list[FileRecord]]:
        page = partial(self._page, self._names, fresh=fresh)
        return pages_of(f"the files of {self._ref}", page, key=file_key)

    async def count(self) -> int:
        async with aclosing(self.pages()) as pages:
            return sum([len(page) async for page in pages])

    def link(self, file: FileRecord) -> Link | None:
        # If both are the same, the file is a reference to something outside of W&B.
        is_reference = file.url == file.direct_url
        return None if is_reference or file.direct_url is None else Link(file.direct_url)

    async def find(self, name: str) -> FileRecord | None:
        files = (await self._page([name], fresh=True)).nodes
        return files[0] if files else None

    async def delete(self, file: FileRecord) -> None:
        raise UsageError(f"{file.name} belongs to {self._ref}, which cannot be changed.")

    async def _page(
        self, names: Sequence[str] | None, cursor: str | None = None, *, fresh: bool
    ) -> Connection[FileRecord]:
        ask = self._session.ask if fresh else self._session.ask_cached
        asked = artifact_files(self._ref, names, self._per_page, cursor)
        found = await ask(asked)
        if found is None or found.files is None:
            raise NotFoundError(
                f"Could not find artifact {self._ref}.", operation="ArtifactMembershipFiles"
            )
        return found.files
