"""Queries and mutations of files: those of a run, where they are, what they contain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeAlias

import msgspec

from aiowandb.errors import ServerError
from aiowandb.paths import RunRef
from aiowandb.redaction import WithLinks
from aiowandb.wire.connection import Connection
from aiowandb.wire.graphql import Done, Operation
from aiowandb.wire.history import alias, many_runs, of_run, variables_of
from aiowandb.wire.lenient import Int64, as_integer, as_utc

_RUN_FILES = """
query RunFiles($entity: String!, $project: String!, $name: String!, $names: [String],
               $pattern: String, $perPage: Int, $cursor: String) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      name fileCount
      files(names: $names, pattern: $pattern, first: $perPage, after: $cursor) {
        edges {
          node { id name url directUrl sizeBytes mimetype md5 updatedAt }
          cursor
        }
        pageInfo { hasNextPage }
      }
    }
  }
}"""

_NAMED_FILE = """
fragment NamedFile on File { id name url directUrl sizeBytes mimetype md5 updatedAt }"""

_NAMED_NODES = "{ edges { node { ...NamedFile } } }"

_PROJECT_ID = """
query ProjectId($entity: String!, $project: String!) {
  project(name: $project, entityName: $entity) { internalId }
}"""

_CREATE_FILES = """
mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {
    entityName: $entity, projectName: $project, runName: $run, files: $files
  }) { runID uploadHeaders files { name uploadUrl } }
}"""

_MARK_UPLOADED = """
mutation MarkRunFilesUploaded($entity: String!, $project: String!, $run: String!,
                              $files: [String!]!) {
  markRunFilesUploaded(input: {
    entityName: $entity, projectName: $project, runName: $run, files: $files
  }) { success }
}"""

_DELETE_FILES = """
mutation DeleteFiles($files: [ID!]!, $projectId: Int) {
  deleteFiles(input: {files: $files, projectId: $projectId}) { success }
}"""


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# These say where a request goes and where it ends: only who sends it knows.
_FRAMING = frozenset({"connection", "content-length", "expect", "host", "transfer-encoding"})


class FileRecord(msgspec.Struct, frozen=True, kw_only=True, dict=True, rename="camel"):
    """A file at W&B. `url` is a download link, valid for a limited time."""

    id: str
    name: str
    url: str | None = None
    direct_url: str | None = None
    mimetype: str | None = None
    md5: str | None = None
    updated_at: datetime | None = None
    size_bytes: int | str | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "updated_at", as_utc(self.updated_at))

    @property
    def size(self) -> int:
        """The size in bytes."""
        return as_integer(self.size_bytes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} ({self.mimetype}, {self.size:,} bytes)>"


class FilesOfRun(msgspec.Struct, rename="camel", kw_only=True):
    # None for runs whose files W&B counts and does not list, as some that were synced later.
    files: Connection[FileRecord] | None
    name: str | None = None

    @property
    def nodes(self) -> list[FileRecord]:
        return self.files.nodes if self.files else []


class FilesRun(FilesOfRun, kw_only=True):
    file_count: Int64


class NamedFiles(msgspec.Struct, frozen=True):
    """Files of a run by their names."""

    ref: RunRef
    names: tuple[str, ...]


# The files of many runs, by the alias of each run in the document.
FilesByAlias: TypeAlias = dict[str, FilesOfRun | None]


class UploadTarget(WithLinks, msgspec.Struct, rename="camel"):
    name: str
    upload_url: str | None = None


class CreatedFiles(msgspec.Struct, rename="camel"):
    run_id: str | None = msgspec.field(name="runID", default=None)
    upload_headers: list[str] = []
    files: list[UploadTarget] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.files!r}>"  # the headers may have a signature

    def headers(self) -> dict[str, str]:
        """The headers of the upload."""
        return headers_of_upload(self.upload_headers)


def headers_of_upload(lines: Sequence[str]) -> dict[str, str]:
    """The headers in lines of `name: value`, without those that frame a request.

    Raises for what HTTP does not allow: each HTTP client has an error of its own for it.
    """
    headers = {}
    for line in lines:
        name, _, value = (part.strip() for part in line.partition(":"))
        if not _HEADER_NAME.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise ServerError(f"W&B sent an invalid header for an upload: {name[:50]!r}.")
        if name.lower() not in _FRAMING:
            headers[name] = value
    return headers


def other_file(files: Iterable[FileRecord | UploadTarget], names: Sequence[str]) -> str | None:
    """Which of the files is none of those that were asked for by name; nothing if all are."""
    if not names:
        return None
    wanted = {name.casefold() for name in names}
    other = next((file.name for file in files if file.name.casefold() not in wanted), None)
    return None if other is None else f"file {other}, not {', '.join(names)}"


def list_files(
    ref: RunRef,
    names: Sequence[str],
    pattern: str | None,
    per_page: int,
    cursor: str | None = None,
) -> Operation[FilesRun | None]:
    """A page of a run's files: all, those with these names, or those that match the pattern."""

    def differs(run: FilesRun) -> str | None:
        return other_file(run.nodes, names)

    variables = {
        "entity": ref.entity,
        "project": ref.project,
        "name": ref.run,
        "names": list(names),
        "pattern": pattern,
        "perPage": per_page,
        "cursor": cursor,
    }
    return Operation(
        "RunFiles",
        _RUN_FILES,
        variables,
        FilesRun,
        ("project?", "run?"),
        of_run(ref),
        differs=differs,
    )


def files_by_name(wanted: Sequence[NamedFiles]) -> Operation[FilesByAlias | None]:
    """Files of many runs of a project, in one request."""
    each = [
        (
            f"${alias(i)}: String!, $f{i}: [String]",
            f"files(names: $f{i}, first: {len(some.names)}) {_NAMED_NODES}",
        )
        for i, some in enumerate(wanted)
    ]
    document = many_runs("RunFilesByName", each) + _NAMED_FILE
    variables = variables_of([some.ref for some in wanted])
    variables |= {f"f{i}": some.names for i, some in enumerate(wanted)}
    return Operation("RunFilesByName", document, variables, FilesByAlias, at=("project?",))


def project_id(entity: str, project: str) -> Operation[str | None]:
    variables = {"entity": entity, "project": project}
    return Operation("ProjectId", _PROJECT_ID, variables, str, at=("project?", "internalId"))


def create_files(ref: RunRef, names: Sequence[str]) -> Operation[CreatedFiles]:
    """Ask for the URLs to upload files of these names to."""

    def differs(made: CreatedFiles) -> str | None:
        return other_file(made.files, names)

    return Operation(
        "CreateRunFiles",
        _CREATE_FILES,
        _named(ref, names),
        CreatedFiles,
        ("createRunFiles",),
        differs=differs,
    )


def mark_uploaded(ref: RunRef, names: Sequence[str]) -> Operation[Done]:
    return Operation("MarkRunFilesUploaded", _MARK_UPLOADED, _named(ref, names), Done)


def delete_files(ids: Sequence[str], project: str) -> Operation[Done]:
    variables = {"files": list(ids), "projectId": int(project)}
    return Operation("DeleteFiles", _DELETE_FILES, variables, Done, ("deleteFiles?",))


def _named(ref: RunRef, names: Sequence[str]) -> dict[str, object]:
    return {"entity": ref.entity, "project": ref.project, "run": ref.run, "files": list(names)}
