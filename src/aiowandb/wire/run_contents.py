"""The query of what runs have now: how many rows, and their first files and artifacts.

It asks for many runs at once, and compares them with an export: nothing has to be downloaded to
find out whether files or artifacts were added or changed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

import msgspec

from aiowandb.paths import RunRef
from aiowandb.wire.artifact_record import ArtifactNode
from aiowandb.wire.artifact_writing import ArtifactId
from aiowandb.wire.artifacts import ARTIFACT_FIELDS
from aiowandb.wire.connection import Connection
from aiowandb.wire.files import FileRecord
from aiowandb.wire.graphql import Operation
from aiowandb.wire.history import alias, many_runs, variables_of
from aiowandb.wire.lenient import Int64

Downloads = Literal["files", "artifacts"]

# How many files, and how many artifacts, come with each run.
_FIRST = 50
_FILES = f"""
  files(first: {_FIRST}) {{
    edges {{ node {{ id name sizeBytes md5 updatedAt }} cursor }}
    pageInfo {{ hasNextPage }}
  }}"""
_ARTIFACTS = f"""
  outputArtifacts(first: {_FIRST}) {{ totalCount edges {{ node {{ ...ArtifactFields }} }} }}
  inputArtifacts(first: {_FIRST}) {{ totalCount edges {{ node {{ id }} }} }}"""
# That there are some is worth knowing even if they are not exported.
_COUNTED_ARTIFACTS = "\n  outputArtifacts(first: 1) { totalCount }"


class RunCounts(msgspec.Struct, rename="camel"):
    """How much a run has, and its first files."""

    name: str | None = None
    history_line_count: Int64 | None = None
    events_line_count: Int64 | None = None
    log_line_count: Int64 | None = None
    file_count: Int64 | None = None
    files: Connection[FileRecord] | None = None


class RunContents(RunCounts, rename="camel"):
    """What a run has. Lists that were not asked for are None, or have only their counts."""

    output_artifacts: Connection[ArtifactNode] | None = None
    input_artifacts: Connection[ArtifactId] | None = None


# By the alias of each run in the document.
ContentsByAlias: TypeAlias = dict[str, RunContents | None]


def run_contents(
    refs: Sequence[RunRef], kinds: Collection[Downloads]
) -> Operation[ContentsByAlias | None]:
    """Ask what many runs of a project have, with the lists of these kinds, in one request."""
    each = [(f"${alias(i)}: String!", "...Contents") for i in range(len(refs))]
    lists = (_FILES if "files" in kinds else "") + (
        _ARTIFACTS if "artifacts" in kinds else _COUNTED_ARTIFACTS
    )
    document = many_runs("RunsContents", each) + (
        f"\nfragment Contents on Run {{"
        f"\n  historyLineCount eventsLineCount logLineCount fileCount{lists}\n}}"
    )
    if "artifacts" in kinds:
        document += ARTIFACT_FIELDS
    variables = variables_of(refs)
    return Operation("RunsContents", document, variables, ContentsByAlias, at=("project?",))


def contents_at(found: ContentsByAlias | None, index: int, _: object) -> RunContents | None:
    """What the run of this number in the request has; None if it does not exist."""
    return (found or {}).get(alias(index))
