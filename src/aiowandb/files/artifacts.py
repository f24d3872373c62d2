"""An artifact into a folder, with what it refers to at W&B."""

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
from aiowandb.files.fetch import IsThere, Remote, fetch, is_there
from aiowandb.files.folder import inside
from aiowandb.files.source import FILES_AT_ONCE
from aiowandb.net import Session
from aiowandb.paths import ArtifactRef
from aiowandb.redaction import WithLinks, redacted
from aiowandb.wire.artifact_record import ArtifactRecord
from aiowandb.wire.artifacts import artifact_by_id
from aiowandb.wire.manifest import Manifest, ManifestEntry

log = logging.getLogger("aiowandb.files")

# Links are good for a limited time: no more are asked for than are soon used.
_LINKS_AT_ONCE = 500
_LONGEST_CHAIN = 10


class LeftOut(WithLinks, msgspec.Struct, frozen=True):
    """An entry of an artifact that was not fetched: what it refers to, and why it was not."""

    name: str
    reference: str
    reason: str


class ArtifactDownload(WithLinks, msgspec.Struct, frozen=True, kw_only=True):
    """What a download has brought; it may be used as the path of the folder.

    `fetched` is how many of the `files` had to travel. `references` are the entries that
    were not fetched, with where they lead; `left_out` are the same with the reason.
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


class Held(msgspec.Struct, frozen=True):
    """A file's entry, with the artifact that holds its bytes, and its name there."""

    entry: ManifestEntry
    home: ArtifactRef
    name: str

    def at(self, url: str) -> Remote:
        return Remote(self.name, url, self.entry.size, self.entry.md5)


async def download_artifact(
    session: Session,
    artifact: ArtifactRecord,
    folder: Path,
    *,
    path_prefix: str = "",
    allow_missing_references: bool = False,
    has: IsThere = is_there,
) -> ArtifactDownload:
    """Bring an artifact's files into the folder; one that is there and right stays."""
    chains = _Chains(session)
    held_files: dict[str, Held] = {}
    left_out: list[LeftOut] = []
    manifest = await read_manifest(session, artifact.id, artifact.qualified_name)
    for name, entry in manifest.entries.items():
        if not name.startswith(path_prefix):
            continue
        try:
            held = await chains.end(Held(entry, artifact.ref, name))
        except (LinkError, NotFoundError) as error:
            if not allow_missing_references:
                raise
            left_out.append(LeftOut(name, entry.ref or "", str(error)))
            continue
        if held.entry.ref is None:
            held_files[name] = held
        else:
            left_out.append(LeftOut(name, held.entry.ref, _outside(held.entry.ref)))
    _warn_of(artifact.qualified_name, left_out)
    files = await run_sync(_placed, folder, held_files)
    fetched = await _bring(session, files, has)
    return ArtifactDownload(
        folder=folder,
        files=tuple(files),
        fetched=fetched,
        references={one.name: one.reference for one in left_out},
        left_out=tuple(left_out),
    )


def _outside(reference: str) -> str:
    """Why what lies there is not fetched."""
    scheme = urlsplit(reference).scheme
    if scheme == "file":
        return "it is a file of the computer that logged it, which W&B does not have"
    return f"it lies outside of W&B, at a {scheme}:// address, and is not copied"


def _warn_of(artifact: str, left_out: Sequence[LeftOut]) -> None:
    if left_out:
        first = left_out[0]
        log.warning(
            "%s: %d of its entries are left out, the first one is %s (%s): %s",
            artifact,
            len(left_out),
            first.name,
            redacted(first.reference),
            first.reason,
        )


class _Chains:
    """Follows references from artifact to artifact; each manifest is read once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, tuple[ArtifactRef, Manifest]] = {}

    async def end(self, held: Held) -> Held:
        """Where the chain of references ends: at a file, or at something outside of W&B."""
        start = held
        for _ in range(_LONGEST_CHAIN):
            target = held.entry.target
            if target is None:
                return held
            home, manifest = await self._artifact(target.artifact_id)
            entry = manifest.entries.get(target.name)
            if entry is None:
                raise NotFoundError(f"{held.name} refers to {target.name}, which {home} lacks.")
            held = Held(entry, home, target.name)
        raise DownloadError(f"{start.name} refers in circles: {held.entry.ref}.", name=start.name)

    async def _artifact(self, artifact_id: str) -> tuple[ArtifactRef, Manifest]:
        if artifact_id not in self._known:
            found = await self._session.ask_cached(artifact_by_id(artifact_id))
            if found is None:
                raise NotFoundError(f"There is no artifact with the id {artifact_id}.")
            home = found.record().source
            manifest = await read_manifest(self._session, artifact_id, str(home))
            self._known[artifact_id] = home, manifest
        return self._known[artifact_id]


def _placed(folder: Path, files: Mapping[str, Held]) -> dict[Path, Held]:
    return {inside(folder, name): held for name, held in files.items()}


async def _bring(session: Session, files: Mapping[Path, Held], has: IsThere) -> int:
    """Fetch what is not there yet, and say how many files that were."""

    async def is_missing(item: tuple[Path, Held]) -> bool:
        path, held = item
        return not await run_sync(has, path, held.entry.size, held.entry.md5)

    async def bring(item: tuple[Path, Held, str]) -> None:
        path, held, url = item
        source = ArtifactFiles(session, held.home)

        async def renewed() -> Remote | None:
            file = await source.find(held.name)
            url = source.link(file) if file else None
            return held.at(url) if url else None

        await fetch(session, path, held.at(url), renewed)

    missing = await gather(files.items(), is_missing, FILES_AT_ONCE)
    async with aclosing(_linked(session, compress(files.items(), missing))) as linked:
        return len(await gather(linked, bring, FILES_AT_ONCE))


async def _linked(
    session: Session, files: Iterable[tuple[Path, Held]]
) -> AsyncGenerator[tuple[Path, Held, str]]:
    """The same files with links to their bytes, asked for in bulk, shortly before they are used."""
    by_home: defaultdict[ArtifactRef, list[tuple[Path, Held]]] = defaultdict(list)
    for path, held in files:
        by_home[held.home].append((path, held))
    for home, all_of_it in by_home.items():
        for start in range(0, len(all_of_it), _LINKS_AT_ONCE):
            some = all_of_it[start : start + _LINKS_AT_ONCE]
            links = await _links(session, home, {held.name for _, held in some})
            for path, held in some:
                if held.name not in links:
                    raise DownloadError(f"{home} gives no link to {held.name}.", name=held.name)
                yield path, held, links[held.name]


async def _links(session: Session, home: ArtifactRef, names: set[str]) -> dict[str, str]:
    source = ArtifactFiles(session, home, sorted(names), _LINKS_AT_ONCE)
    links: dict[str, str] = {}
    async with aclosing(source.pages(fresh=True)) as pages:
        async for page in pages:
            links |= {file.name: link for file in page if (link := source.link(file))}
    return links
