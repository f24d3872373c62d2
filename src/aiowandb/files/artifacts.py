"""Downloads an artifact into a folder, with the files of other artifacts that it refers to."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from itertools import compress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import DownloadError, LinkError, NotFoundError
from aiowandb.files.artifact_files import ArtifactFiles, read_manifest
from aiowandb.files.fetch import Download, IsThere, fetch, is_there
from aiowandb.files.folder import path_inside, require_distinct
from aiowandb.files.source import FILES_AT_ONCE
from aiowandb.net import Session
from aiowandb.paths import ArtifactRef
from aiowandb.redaction import Link, WithLinks, redacted
from aiowandb.wire.artifact_record import ArtifactRecord
from aiowandb.wire.artifacts import artifact_by_id
from aiowandb.wire.manifest import Manifest, ManifestEntry

log = logging.getLogger("aiowandb.files")

# Links expire: no more are requested at once than are soon used.
LINKS_AT_ONCE = 500
_MAX_REFERENCES = 10
# A manifest may be large.
_KNOWN_MANIFESTS = 100


class LeftOut(WithLinks, msgspec.Struct, frozen=True):
    """An entry of an artifact that was not downloaded: what it refers to, and why."""

    name: str
    reference: str
    reason: str


class ArtifactDownload(WithLinks, msgspec.Struct, frozen=True, kw_only=True):
    """The result of a download; it can be used as the path of the folder.

    `fetched` is how many of the `files` were transferred. `references` are the entries that
    were not downloaded, with what they refer to; `left_out` are the same with the reason.
    """

    folder: Path
    files: tuple[Path, ...]
    fetched: int
    references: Mapping[str, str]
    left_out: tuple[LeftOut, ...] = ()

    def __fspath__(self) -> str:
        return str(self.folder)

    def __str__(self) -> str:
        return str(self.folder)


class ResolvedEntry(msgspec.Struct, frozen=True):
    """An entry with the artifact that has the file itself, and the name of the file there."""

    entry: ManifestEntry
    home: ArtifactRef
    name: str

    def at(self, link: Link) -> Download:
        return Download(self.name, link, self.entry.size, self.entry.checksum)


async def download_artifact(
    session: Session,
    artifact: ArtifactRecord,
    folder: Path,
    *,
    path_prefix: str = "",
    allow_missing_references: bool = False,
    has: IsThere = is_there,
    links_at_once: int = LINKS_AT_ONCE,
    manifest: Manifest | None = None,
) -> ArtifactDownload:
    """Download an artifact's files into the folder; those that are there already are kept.

    The `manifest` is read if it is not given.
    """
    resolver = EntryResolver(session)
    resolved: dict[str, ResolvedEntry] = {}
    left_out: list[LeftOut] = []
    if manifest is None:
        manifest = await read_manifest(session, artifact.id, artifact.qualified_name)
    for name, entry in manifest.entries.items():
        if not name.startswith(path_prefix):
            continue
        try:
            found = await resolver.resolve(ResolvedEntry(entry, artifact.ref, name))
        except (LinkError, NotFoundError) as error:
            if not allow_missing_references:
                raise
            left_out.append(LeftOut(name, entry.ref or "", str(error)))
            continue
        if found.entry.ref is None:
            resolved[name] = found
        else:
            left_out.append(LeftOut(name, found.entry.ref, _outside(found.entry.ref)))
    _warn_of(artifact.qualified_name, left_out)
    files = await run_sync(_with_paths, folder, resolved)
    fetched = await _fetch_missing(session, files, has, links_at_once)
    await run_sync(require_distinct, files)
    return ArtifactDownload(
        folder=folder,
        files=tuple(files),
        fetched=fetched,
        references={one.name: one.reference for one in left_out},
        left_out=tuple(left_out),
    )


def _outside(reference: str) -> str:
    """Why a reference to something outside of W&B is not downloaded."""
    scheme = urlsplit(reference).scheme
    if scheme == "file":
        return "it is a file on the computer that logged it, which W&B does not have"
    return f"it is outside of W&B, at a {scheme}:// address, and is not copied"


def _warn_of(artifact: str, left_out: Sequence[LeftOut]) -> None:
    if left_out:
        first = left_out[0]
        log.warning(
            "%s: %d of its entries were not downloaded, the first is %s (%s): %s",
            artifact,
            len(left_out),
            first.name,
            redacted(first.reference),
            first.reason,
        )


class EntryResolver:
    """Follows references to other artifacts; each manifest is read once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # Where artifacts are, as far as that is known before they are asked for.
        self.homes: dict[str, ArtifactRef] = {}
        self._known: dict[str, tuple[ArtifactRef, Manifest]] = {}

    async def resolve(self, entry: ResolvedEntry) -> ResolvedEntry:
        """The end of the chain of references: a file, or something outside of W&B."""
        start = entry
        for _ in range(_MAX_REFERENCES):
            target = entry.entry.target
            if target is None:
                return entry
            home, manifest = await self.artifact(target.artifact_id)
            found = manifest.entries.get(target.name)
            if found is None:
                raise NotFoundError(
                    f"{entry.name} refers to {target.name}, which {home} does not have."
                )
            entry = ResolvedEntry(found, home, target.name)
        raise DownloadError(
            f"{start.name} has circular references: {entry.entry.ref}.", name=start.name
        )

    async def artifact(self, artifact_id: str) -> tuple[ArtifactRef, Manifest]:
        if artifact_id not in self._known:
            home = self.homes.pop(artifact_id, None) or await self._home(artifact_id)
            manifest = await read_manifest(self._session, artifact_id, str(home))
            if len(self._known) >= _KNOWN_MANIFESTS:
                del self._known[next(iter(self._known))]
            self._known[artifact_id] = home, manifest
        return self._known[artifact_id]

    async def _home(self, artifact_id: str) -> ArtifactRef:
        found = await self._session.ask_cached(artifact_by_id(artifact_id))
        if found is None:
            raise NotFoundError(f"Could not find the artifact with the id {artifact_id}.")
        return found.record().source


def _with_paths(folder: Path, files: Mapping[str, ResolvedEntry]) -> dict[Path, ResolvedEntry]:
    return {path_inside(folder, name): entry for name, entry in files.items()}


async def _fetch_missing(
    session: Session, files: Mapping[Path, ResolvedEntry], has: IsThere, links_at_once: int
) -> int:
    """Download the files that are not there yet, and return how many they were."""

    async def is_missing(item: tuple[Path, ResolvedEntry]) -> bool:
        path, entry = item
        return not await run_sync(has, path, entry.entry.size, entry.entry.checksum)

    async def download(item: tuple[Path, ResolvedEntry, Link]) -> None:
        path, entry, link = item
        source = ArtifactFiles(session, entry.home)

        async def renewed() -> Download | None:
            file = await source.find(entry.name)
            fresh = source.link(file) if file else None
            return entry.at(fresh) if fresh else None

        await fetch(session, path, entry.at(link), renewed)

    missing = await gather(files.items(), is_missing, FILES_AT_ONCE)
    async with aclosing(
        _linked(session, compress(files.items(), missing), links_at_once)
    ) as linked:
        return len(await gather(linked, download, FILES_AT_ONCE))


async def _linked(
    session: Session, files: Iterable[tuple[Path, ResolvedEntry]], links_at_once: int
) -> AsyncGenerator[tuple[Path, ResolvedEntry, Link]]:
    """The same files with links, which are requested in bulk, shortly before they are used."""
    by_home: defaultdict[ArtifactRef, list[tuple[Path, ResolvedEntry]]] = defaultdict(list)
    for path, entry in files:
        by_home[entry.home].append((path, entry))
    for home, all_of_it in by_home.items():
        for start in range(0, len(all_of_it), links_at_once):
            some = all_of_it[start : start + links_at_once]
            links = await _links(session, home, {entry.name for _, entry in some})
            for path, entry in some:
                if entry.name not in links:
                    raise DownloadError(
                        f"W&B sent no link to {entry.name} of {home}.", name=entry.name
                    )
                yield path, entry, links[entry.name]


async def _links(session: Session, home: ArtifactRef, names: set[str]) -> dict[str, Link]:
    source = ArtifactFiles(session, home, sorted(names), len(names))
    links: dict[str, Link] = {}
    async with aclosing(source.pages(fresh=True)) as pages:
        async for page in pages:
            links |= {file.name: link for file in page if (link := source.link(file))}
    return links
