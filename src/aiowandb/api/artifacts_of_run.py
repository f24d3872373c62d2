"""The artifacts of a run: what it has logged and used, and new ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from aiowandb.arguments import (
    ANY_NAMES,
    FLAG,
    VALUES,
    Check,
    Unfit,
    checks,
    integer,
    optional,
    text,
)
from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import MissingFileError, ServerError, UsageError
from aiowandb.fields import RecordHolder
from aiowandb.files.artifact_lists import RunArtifacts
from aiowandb.files.artifact_uploads import NewEntry, digest_of, upload_artifact
from aiowandb.net import Session
from aiowandb.wire import lenient
from aiowandb.wire.artifact_writing import NewArtifact
from aiowandb.wire.artifacts import Direction, artifact_by_id
from aiowandb.wire.record import RunRecord

if TYPE_CHECKING:
    from aiowandb.api.artifacts import Artifact, Artifacts

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
_FILES_AT_ONCE = 8


def _paths(value: Any) -> Any:
    if isinstance(value, str | PathLike):
        return _path(value)
    if isinstance(value, Mapping):
        return {_named(name): _path(path) for name, path in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_path(path) for path in value]
    raise Unfit


def _path(value: Any) -> Path:
    if not isinstance(value, str | PathLike) or "\0" in str(value):
        raise Unfit
    if not str(value):
        raise Unfit(": an empty path would be this folder, which is '.'")
    return Path(value)


def _named(value: Any) -> str:
    if not isinstance(value, str) or not value or value.startswith("/") or ".." in value.split("/"):
        raise Unfit(": names in an artifact are relative, like 'data/train.csv'")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Unfit
    return value


def _references(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise Unfit
    for uri in value.values():
        if not isinstance(uri, str) or "://" not in uri:
            raise Unfit
    return {_named(name): uri for name, uri in value.items()}


_LOG_CHECKS = {
    "name": Check("a name of letters, digits, '-', '_' and '.'", _name),
    "type": text("a type of artifacts"),
    "files": Check("a path, a list of paths, or a dict of names and paths", _paths),
    "aliases": ANY_NAMES,
    "tags": ANY_NAMES,
    "description": optional(text("a string", empty=True)),
    "metadata": optional(VALUES),
    "references": Check("a dict of names and URIs", _references),
}


class ArtifactsOfRun(RecordHolder[RunRecord]):
    """The part of a run that is about artifacts."""

    _session: Session

    @checks(per_page=integer(1), fresh=FLAG)
    def logged_artifacts(self, per_page: int = 100, *, fresh: bool = False) -> Artifacts:
        """The artifacts that the run logged. Cached unless `fresh`."""
        return self._artifacts("output", per_page, fresh=fresh)

    @checks(per_page=integer(1), fresh=FLAG)
    def used_artifacts(self, per_page: int = 100, *, fresh: bool = False) -> Artifacts:
        """The artifacts that the run used. Cached unless `fresh`."""
        return self._artifacts("input", per_page, fresh=fresh)

    @checks(**_LOG_CHECKS)
    async def log_artifact(
        self,
        name: str,
        type: str,
        files: str
        | PathLike[str]
        | Sequence[str | PathLike[str]]
        | Mapping[str, str | PathLike[str]] = (),
        aliases: Sequence[str] = (),
        *,
        tags: Sequence[str] = (),
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        references: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Log a new version of an artifact, made of local files.

        `files` is a folder, a file, a list of these, or a dict of names in the artifact and
        files. `references` are names with URIs of what stays where it is, like
        `{"data.csv": "s3://bucket/data.csv"}`. The version is there completely or not at all. If
        the newest version has the same content, it is returned, and gets the `aliases`.

        >>> artifact = await run.log_artifact("model", "model", "out/", aliases=["best"])
        >>> print(artifact.version)
        """
        from aiowandb.api.artifacts import Artifact

        entries = await _entries(files, references or {})
        if not entries:
            raise UsageError("files: there is no file to log, and no reference.")
        new = NewArtifact(
            collection=name,
            type=type,
            digest=digest_of(entries),
            aliases=[alias for alias in aliases if alias != "latest"],
            tags=tags,
            description=description,
            metadata=None if metadata is None else lenient.dumps(dict(metadata)),
            client_id=token_hex(16),
        )
        made = await upload_artifact(self._session, self._inner.ref, new, entries)
        self._session.flush()
        found = await self._session.ask(artifact_by_id(made.id))
        if found is None:
            raise ServerError(f"W&B has made version {made.id} of {name}, and does not find it.")
        return Artifact(found.record(), self._session)

    def _artifacts(self, direction: Direction, per_page: int, *, fresh: bool) -> Artifacts:
        from aiowandb.api.artifacts import Artifacts  # they import each other

        source = RunArtifacts(self._session, self._inner.ref, direction, per_page, fresh=fresh)
        return Artifacts(self._session, source)


async def _entries(files: Any, references: Mapping[str, str]) -> list[NewEntry]:
    from aiowandb.ingest.local_files import local_entry

    named = await run_sync(_named_files, files)
    if twice := named.keys() & references.keys():
        raise UsageError(f"references: {min(twice)!r} is the name of a file already.")
    entries = await gather(
        named.items(), lambda item: local_entry(item[1], item[0]), at_once=_FILES_AT_ONCE
    )
    # W&B's own client, too, knows them by what they refer to unless it can look.
    return entries + [NewEntry(name, uri, 0, None, uri) for name, uri in references.items()]


def _named_files(files: Any) -> dict[str, Path]:
    """The files by their names in the artifact."""
    from aiowandb.ingest.local_files import files_below

    if isinstance(files, Mapping):
        named = dict(files)
    else:
        named = {}
        for path in files if isinstance(files, list) else [files] if files else []:
            below = files_below(path) if path.is_dir() else [path]
            for file in below:
                name = file.relative_to(path).as_posix() if path.is_dir() else file.name
                if name in named:
                    raise UsageError(f"files: {named[name]} and {file} are both named {name!r}.")
                named[name] = file
    for file in named.values():
        if not file.is_file():
            raise MissingFileError(f"files: {file} is not there, or is no file.")
    return named
