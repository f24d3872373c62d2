"""Mutations of runs and projects: create, change, stop, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.graphql import About, Done, Operation
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import run_fields

_SAVE_RUN = """
mutation UpsertBucket($id: String, $displayName: String, $tags: [String!], $notes: String,
                      $description: String, $groupName: String, $jobType: String,
                      $config: JSONString, $summaryMetrics: JSONString) {
  upsertBucket(input: {
    id: $id, displayName: $displayName, tags: $tags, notes: $notes, description: $description,
    groupName: $groupName, jobType: $jobType, config: $config, summaryMetrics: $summaryMetrics
  }) { bucket { ...RunFields } }
}""" + run_fields()

# Only the name, so that a run that exists is not changed.
_CREATE_RUN = """
mutation UpsertBucket($entity: String, $project: String, $name: String!) {
  upsertBucket(input: { entityName: $entity, modelName: $project, name: $name }) {
    bucket { ...RunFields } inserted
  }
}""" + run_fields()

_DELETE_RUN = """
mutation DeleteRun($id: ID!, $deleteArtifacts: Boolean) {
  deleteRun(input: {id: $id, deleteArtifacts: $deleteArtifacts}) { clientMutationId }
}"""

_STOP_RUN = "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }"

_UPDATE_STATE = """
mutation UpdateRunState($input: UpdateRunStateInput!) {
  updateRunState(input: $input) { success }
}"""

_CREATE_PROJECT = """
mutation CreateProject($input: UpsertModelInput!) {
  upsertModel(input: $input) { model { id name entityName } inserted }
}"""


class Bucket(msgspec.Struct):
    bucket: RunRecord
    inserted: bool | None = None


class Success(msgspec.Struct):
    success: bool = False


class UpsertedModel(msgspec.Struct):
    inserted: bool | None = None


def save_run(changes: dict[str, Any]) -> Operation[RunRecord]:
    """Change a run; fields that are not given stay as they are."""
    about = About("bucket", "id", changes["id"]) if "id" in changes else None
    path = ("upsertBucket", "bucket")
    return Operation("UpsertBucket", _SAVE_RUN, changes, RunRecord, path, about)


def create_run(ref: RunRef) -> Operation[Bucket]:
    """Create a run unless it exists; the response tells whether it was created."""
    variables = {"entity": ref.entity, "project": ref.project, "name": ref.run}
    about = About("bucket", "name", ref.run)
    return Operation("UpsertBucket", _CREATE_RUN, variables, Bucket, ("upsertBucket",), about)


def new_run_fields(
    storage_id: str,
    name: str | None,
    config: Mapping[str, Any] | None,
    tags: Sequence[str] | None,
) -> Operation[RunRecord] | None:
    """Set the fields of a run that was just created; None if there are none to set."""
    changes: dict[str, Any] = {}
    if name is not None:
        changes["displayName"] = name
    if config is not None:
        changes["config"] = lenient.dumps({key: {"value": config[key]} for key in config})
    if tags is not None:
        changes["tags"] = tags
    return save_run({"id": storage_id} | changes) if changes else None


def delete_run(storage_id: str, *, delete_artifacts: bool) -> Operation[Done]:
    variables = {"id": storage_id, "deleteArtifacts": delete_artifacts}
    return Operation("DeleteRun", _DELETE_RUN, variables, Done)


def stop_run(storage_id: str) -> Operation[Success]:
    return Operation("StopRun", _STOP_RUN, {"id": storage_id}, Success, at=("stopRun",))


def update_state(storage_id: str, state: str) -> Operation[Success]:
    variables = {"input": {"id": storage_id, "state": state}}
    return Operation("UpdateRunState", _UPDATE_STATE, variables, Success, at=("updateRunState",))


def create_project(entity: str, name: str) -> Operation[UpsertedModel | None]:
    variables = {"input": {"entityName": entity, "name": name}}
    path = ("upsertModel?",)
    return Operation("CreateProject", _CREATE_PROJECT, variables, UpsertedModel, path)
