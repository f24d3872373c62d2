"""Queries and mutations to copy runs: how much a run has, and writing the fields of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from aiowandb.paths import RunRef
from aiowandb.wire.artifact_record import Named
from aiowandb.wire.connection import Connection
from aiowandb.wire.graphql import Operation
from aiowandb.wire.history import alias, many_runs, variables_of
from aiowandb.wire.run_contents import RunCounts

_EXTENT = """
fragment Extent on Run {
  state historyLineCount eventsLineCount logLineCount fileCount
  files(first: $files) {
    edges { node { id name sizeBytes md5 updatedAt } cursor }
    pageInfo { hasNextPage }
  }
  outputArtifacts(first: 50) {
    totalCount
    edges { node {
      id updatedAt tags { name }
      aliases { alias artifactCollection { __typename } }
      artifactMemberships { edges { node { id } } }
    } }
  }
  inputArtifacts(first: 50) { totalCount edges { node { id aliases { alias } } } }
}"""

# Fields of the input that are null stay unchanged.
_WRITE_RUN = """
mutation UpsertBucket($id: String, $displayName: String, $tags: [String!], $notes: String,
                      $description: String, $groupName: String, $jobType: String, $commit: String,
                      $host: String, $program: String, $sweep: String, $config: JSONString,
                      $summaryMetrics: JSONString ORIGIN_VARIABLES) {
  upsertBucket(input: {
    id: $id, displayName: $displayName, tags: $tags, notes: $notes, description: $description,
    groupName: $groupName, jobType: $jobType, commit: $commit, host: $host, jobProgram: $program,
    sweep: $sweep, config: $config, summaryMetrics: $summaryMetrics ORIGIN_FIELDS
  }) { bucket { id } }
}"""
# Additional fields that the embedded W&B supports, as it announces.
_ORIGIN = {
    "ORIGIN_VARIABLES": ", $state: String, $createdAt: DateTime, $heartbeatAt: DateTime,"
    " $username: String",
    "ORIGIN_FIELDS": ", state: $state, createdAt: $createdAt, heartbeatAt: $heartbeatAt,"
    " username: $username",
}


_CREATE_SWEEP = """
mutation UpsertSweep($entity: String, $project: String, $config: String, $description: String,
                     $displayName: String, $state: String) {
  upsertSweep(input: {
    entityName: $entity, projectName: $project, config: $config, description: $description,
    displayName: $displayName, state: $state
  }) { sweep { name } }
}"""


class SweepFacts(msgspec.Struct, frozen=True):
    """A sweep to create: its configuration in YAML, its name, description and state."""

    config: str
    name: str | None = None
    description: str | None = None
    state: str | None = None


class AliasHome(msgspec.Struct):
    typename: str | None = msgspec.field(name="__typename", default=None)


class AliasName(msgspec.Struct, rename="camel"):
    alias: str
    artifact_collection: AliasHome | None = None

    @property
    def is_own(self) -> bool:
        """Whether the version has it where it was logged, and not in a registry it is linked to."""
        home = self.artifact_collection
        return home is not None and home.typename == "ArtifactSequence"


class MemberId(msgspec.Struct, gc=False):
    id: str


class VersionNode(msgspec.Struct, rename="camel"):
    """A version, with what changes when somebody edits or links it."""

    id: str
    aliases: list[AliasName] | None = None
    updated_at: str | None = None
    tags: list[Named] = []
    artifact_memberships: Connection[MemberId] | None = None

    @property
    def stamp(self) -> tuple[object, ...]:
        """What differs after a change; of descriptions and metadata, when they were changed."""
        members = self.artifact_memberships.nodes if self.artifact_memberships else []
        return (
            self.id,
            sorted(alias.alias for alias in self.aliases or ()),
            self.updated_at,
            sorted(tag.name for tag in self.tags),
            sorted(member.id for member in members),
        )


class RunExtent(RunCounts, rename="camel"):
    """How much a run has, its first files, and its first artifacts with what changes of them."""

    output_artifacts: Connection[VersionNode] | None = None
    input_artifacts: Connection[VersionNode] | None = None

    @property
    def has_artifacts(self) -> bool:
        """Whether the run has logged or used any."""
        lists = (self.output_artifacts, self.input_artifacts)
        return any(found is not None and (found.total_count or found.edges) for found in lists)

    @property
    def has_more(self) -> bool:
        """Whether the run has more files or artifacts than were asked for."""
        lists = (self.output_artifacts, self.input_artifacts)
        return bool(self.files and self.files.page_info.has_next_page) or any(
            found is not None and (found.total_count or 0) > len(found.edges) for found in lists
        )

    def versions(self) -> list[tuple[object, ...]]:
        """The artifacts that the run has logged and used, with what changes of them."""
        lists = (self.output_artifacts, self.input_artifacts)
        return [node.stamp for found in lists if found is not None for node in found.nodes]


# The answers by the alias of each run in the document.
RunExtents: TypeAlias = dict[str, RunExtent | None]


def run_extents(refs: Sequence[RunRef], files: int) -> Operation[RunExtents | None]:
    """Ask how much data many runs of a project have, in one request."""
    each = [(f"${alias(i)}: String!", "...Extent") for i in range(len(refs))]
    each[0] = ("$files: Int!, " + each[0][0], each[0][1])
    document = many_runs("RunExtents", each) + _EXTENT
    variables = variables_of(refs) | {"files": files}
    return Operation("RunExtents", document, variables, RunExtents, at=("project?",))


def write_run(fields: Mapping[str, Any], origin: Mapping[str, Any] | None) -> Operation[str]:
    """Write these fields of a run; `origin` only if the server announces that it supports it.

    The result is the storage id of the run: of its fields, W&B would have to count the keys.
    """
    document = _WRITE_RUN
    for name, text in _ORIGIN.items():
        document = document.replace(f" {name}", text if origin else "")
    variables = {**fields, **(origin or {})}
    asked = fields.get("id")

    def differs(found: str) -> str | None:
        return None if asked in (None, found) else f"run {found}, not {asked}"

    path = ("upsertBucket", "bucket", "id")
    return Operation("UpsertBucket", document, variables, str, path, differs=differs)


def create_sweep(entity: str, project: str, sweep: SweepFacts) -> Operation[str]:
    """Create a sweep; the result is its id."""
    variables = {
        "entity": entity,
        "project": project,
        "config": sweep.config,
        "description": sweep.description,
        "displayName": sweep.name,
        "state": sweep.state,
    }
    path = ("upsertSweep", "sweep", "name")
    return Operation("UpsertSweep", _CREATE_SWEEP, variables, str, path)
