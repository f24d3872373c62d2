"""Queries of artifacts: one, those of a run, the versions of one, the runs that use one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec
import orjson

from aiowandb.paths import ArtifactRef, RunRef
from aiowandb.wire.artifact_record import (
    ArtifactNode,
    ArtifactRecord,
    Collection,
    Home,
    Membership,
    Named,
)
from aiowandb.wire.connection import Connection, Edge, PageInfo
from aiowandb.wire.graphql import About, Operation
from aiowandb.wire.history import alias, many_runs, of_run, variables_of
from aiowandb.wire.lenient import Int64
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import run_fields

Direction = Literal["output", "input"]

_HOME = "project { name entity { name } }"
ARTIFACT_FIELDS = f"""
fragment ArtifactFields on Artifact {{
  id versionIndex state size digest fileCount createdAt updatedAt description metadata
  artifactSequence {{ name {_HOME} }} artifactType {{ name }} tags {{ name }}
  aliases {{ alias artifactCollection {{ name {_HOME} }} }}
}}"""

_BY_NAME = f"""
query ArtifactMembershipByName($entity: String!, $project: String!, $name: String!) {{
  project(name: $project, entityName: $entity) {{
    artifactCollectionMembership(name: $name) {{
      versionIndex aliases {{ alias }} artifactCollection {{ name {_HOME} }}
      artifact {{ ...ArtifactFields }}
    }}
  }}
}}{ARTIFACT_FIELDS}"""

# With its collections, which only copies ask for.
_LINKED = f"""
fragment LinkedFields on Artifact {{
  ...ArtifactFields artifactMemberships {{
    edges {{ node {{
      versionIndex aliases {{ alias }} artifactCollection {{ name {_HOME} }}
    }} }}
  }}
}}{ARTIFACT_FIELDS}"""

_BY_ID = "query ArtifactByID($id: ID!) { artifact(id: $id) { ...ArtifactFields } }"

_OF_RUN = {
    direction: f"""
query Run{direction.capitalize()}Artifacts($entity: String!, $project: String!, $run: String!,
                                           $perPage: Int, $cursor: String) {{
  project(name: $project, entityName: $entity) {{
    run(name: $run) {{
      name artifacts: {direction}Artifacts(first: $perPage, after: $cursor) {{
        totalCount edges {{ node {{ ...ArtifactFields }} }} pageInfo {{ endCursor hasNextPage }}
      }}
    }}
  }}
}}"""
    for direction in ("output", "input")
}

_FIRST_ARTIFACTS = f"""
fragment FirstArtifacts on Run {{
  artifacts: outputArtifacts(first: 20) {{
    edges {{ node {{ ...ArtifactFields }} }} pageInfo {{ endCursor hasNextPage }}
  }}
}}{ARTIFACT_FIELDS}"""

_VERSIONS = f"""
query ProjectArtifacts($entity: String!, $project: String!, $type: String!, $collection: String!,
                       $order: String, $filters: JSONString, $perPage: Int, $cursor: String) {{
  project(name: $project, entityName: $entity) {{
    artifactType(name: $type) {{
      artifactCollection(name: $collection) {{
        name artifacts(order: $order, filters: $filters, first: $perPage, after: $cursor) {{
          totalCount
          edges {{ version node {{ ...ArtifactFields }} }}
          pageInfo {{ endCursor hasNextPage }}
        }}
      }}
    }}
  }}
}}{ARTIFACT_FIELDS}"""

_LOGGED_BY = f"""
query ArtifactCreatedBy($id: ID!) {{
  artifact(id: $id) {{
    id createdBy {{ __typename ... on Run {{ ...RunFields home: {_HOME} }} }}
  }}
}}{run_fields()}"""

_USED_BY = f"""
query ArtifactUsedBy($id: ID!) {{
  artifact(id: $id) {{
    id usedBy {{ edges {{ node {{ __typename ...RunFields home: {_HOME} }} }} }}
  }}
}}{run_fields()}"""


class VersionEdge(msgspec.Struct):
    version: str
    node: ArtifactNode | None


class VersionsPage(msgspec.Struct, rename="camel"):
    """A page of the versions in a collection."""

    edges: list[VersionEdge]
    page_info: PageInfo
    total_count: Int64 | None = None

    def records(self, ref: ArtifactRef) -> Connection[ArtifactRecord]:
        """The versions as this collection has them."""
        collection = Collection(ref.collection, Home(ref.project, Named(ref.entity)))
        edges = [
            Edge(edge.node.found_in(collection, edge.version)) for edge in self.edges if edge.node
        ]
        return Connection(edges, self.page_info, self.total_count)


class RunWithProject(RunRecord, kw_only=True, rename="camel", tag_field="__typename", tag="Run"):
    """A run, with the project that it is in."""

    home: Home


class ArtifactCreator(msgspec.Struct, tag_field="__typename", tag="User"):
    """A user who made an artifact without a run."""


class CreatedBy(msgspec.Struct, rename="camel"):
    created_by: RunWithProject | ArtifactCreator | None
    id: str | None = None


def artifact_by_name(entity: str, project: str, name: str) -> Operation[Membership | None]:
    """The version that `collection:alias` names."""
    variables = {"entity": entity, "project": project, "name": name}
    path = ("project?", "artifactCollectionMembership?")

    def differs(found: Membership) -> str | None:
        return found.differs(name)

    title = "ArtifactMembershipByName"
    return Operation(title, _BY_NAME, variables, Membership, path, differs=differs)


def artifact_by_id(artifact_id: str, *, linked: bool = False) -> Operation[ArtifactNode | None]:
    """A version; with `linked`, its links are known, too."""
    variables, path = {"id": artifact_id}, ("artifact?",)
    about = About("artifact", "id", artifact_id)
    document = _with_fields(_BY_ID, linked=linked)
    return Operation("ArtifactByID", document, variables, ArtifactNode, path, about)


def artifacts_of_run(
    ref: RunRef, direction: Direction, per_page: int, cursor: str | None, *, linked: bool = False
) -> Operation[Connection[ArtifactNode] | None]:
    """A page of what a run has logged or used; with `linked`, their links are known, too."""
    variables = {
        "entity": ref.entity,
        "project": ref.project,
        "run": ref.run,
        "perPage": per_page,
        "cursor": cursor,
    }
    name = f"Run{direction.capitalize()}Artifacts"
    path = ("project?", "run?", "artifacts")
    document = _with_fields(_OF_RUN[direction], linked=linked)
    return Operation(name, document, variables, Connection[ArtifactNode], path, of_run(ref))


def _with_fields(document: str, *, linked: bool) -> str:
    if linked:
        return document.replace("...ArtifactFields", "...LinkedFields") + _LINKED
    return document + ARTIFACT_FIELDS


class OutputArtifacts(msgspec.Struct):
    artifacts: Connection[ArtifactNode]
    name: str | None = None


# The artifacts of many runs, by the alias of each run in the document.
ArtifactsByAlias: TypeAlias = dict[str, OutputArtifacts | None]


def artifacts_of_runs(refs: Sequence[RunRef]) -> Operation[ArtifactsByAlias | None]:
    """The first artifacts that many runs of a project have logged, in one request."""
    each = [(f"${alias(i)}: String!", "...FirstArtifacts") for i in range(len(refs))]
    document = many_runs("RunsOutputArtifacts", each) + _FIRST_ARTIFACTS
    variables = variables_of(refs)
    return Operation("RunsOutputArtifacts", document, variables, ArtifactsByAlias, at=("project?",))


def versions(
    ref: ArtifactRef, type_name: str, order: str | None, per_page: int, cursor: str | None
) -> Operation[VersionsPage | None]:
    """A page of the committed versions in a collection."""
    variables = {
        "entity": ref.entity,
        "project": ref.project,
        "type": type_name,
        "collection": ref.collection,
        "order": order,
        "filters": orjson.dumps({"state": "COMMITTED"}).decode(),
        "perPage": per_page,
        "cursor": cursor,
    }
    path = ("project?", "artifactType?", "artifactCollection?", "artifacts")
    about = About("artifactCollection", "name", ref.collection)
    return Operation("ProjectArtifacts", _VERSIONS, variables, VersionsPage, path, about)


def artifact_logged_by(artifact_id: str) -> Operation[CreatedBy | None]:
    variables, path = {"id": artifact_id}, ("artifact?",)
    about = About("artifact", "id", artifact_id)
    return Operation("ArtifactCreatedBy", _LOGGED_BY, variables, CreatedBy, path, about)


def artifact_used_by(artifact_id: str) -> Operation[Connection[RunWithProject] | None]:
    variables, path = {"id": artifact_id}, ("artifact?", "usedBy?")
    about = About("artifact", "id", artifact_id)
    return Operation("ArtifactUsedBy", _USED_BY, variables, Connection[RunWithProject], path, about)
