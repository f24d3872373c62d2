"""Texts and lists that clients send have limits, which are far beyond what the SDK sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, get_named_type

from aiowandb_server.graphql import context
from aiowandb_server.graphql.execution import load_schema
from aiowandb_server.store.files import FileTable
from aiowandb_server.store.records import RunRow
from aiowandb_server.text_limits import JSON_FIELDS, MAX_NAME, MAX_PATH, MAX_PROSE
from tests.server.conftest import Client

pytestmark = pytest.mark.anyio

MOST = context._MAX_FIELDS // context.LOOKUP
BUCKET = {"modelName": "demo", "entityName": "local", "name": "r1"}
RUN = {"projectName": "demo", "entityName": "local", "runName": "r1"}
ARTIFACT = {
    "projectName": "demo",
    "entityName": "local",
    "artifactTypeName": "model",
    "artifactCollectionName": "a",
    "digest": "d",
    "digestAlgorithm": "MANIFEST_MD5",
}


async def mutate(client: Client, name: str, given: dict[str, Any]) -> tuple[int, str]:
    """Status and text of the answer to a mutation."""
    kind = f"{name[0].upper()}{name[1:]}Input!"
    query = f"mutation Q($input: {kind}) {{ {name}(input: $input) {{ __typename }} }}"
    answer = await client.send(query, input=given)
    return answer.status_code, answer.text


def test_exactly_the_fields_of_json_have_no_limit_of_their_own() -> None:
    found = {
        name
        for kind in load_schema().type_map.values()
        if isinstance(kind, GraphQLInputObjectType)
        for name, field in kind.fields.items()
        if get_named_type(field.type).name in ("JSONString", "JSON")
    }
    assert found == JSON_FIELDS


@pytest.mark.parametrize(
    ("mutation", "given", "field", "most"),
    [
        ("upsertBucket", BUCKET, "name", MAX_NAME),
        ("upsertBucket", BUCKET, "displayName", MAX_NAME),
        ("upsertBucket", BUCKET, "groupName", MAX_NAME),
        ("upsertBucket", BUCKET, "jobType", MAX_NAME),
        ("upsertBucket", BUCKET, "jobProgram", MAX_PATH),
        ("upsertBucket", BUCKET, "notes", MAX_PROSE),
        ("createArtifact", ARTIFACT, "artifactTypeName", MAX_NAME),
        ("createArtifact", ARTIFACT, "clientID", MAX_NAME),
        ("createArtifact", ARTIFACT, "digest", MAX_NAME),
    ],
)
@pytest.mark.usefixtures("run")
async def test_a_text_that_is_too_long_is_refused(
    client: Client, mutation: str, given: dict[str, Any], field: str, most: int
) -> None:
    status, text = await mutate(client, mutation, given | {field: "x" * most})
    assert status == 200, text
    status, text = await mutate(client, mutation, given | {field: "x" * (most + 1)})
    assert (status, f"{field} has {most + 1} characters, and {most} are allowed" in text) == (
        400,
        True,
    )


@pytest.mark.usefixtures("run")
async def test_so_is_one_inside_a_list(client: Client) -> None:
    long = "x" * (MAX_NAME + 1)
    for mutation, given in (
        ("upsertBucket", BUCKET | {"tags": ["ok", long]}),
        ("createArtifact", ARTIFACT | {"tags": [{"tagName": long}]}),
        (
            "createArtifact",
            ARTIFACT | {"aliases": [{"alias": long, "artifactCollectionName": "a"}]},
        ),
    ):
        status, text = await mutate(client, mutation, given)
        assert status == 400
        assert f"has {MAX_NAME + 1} characters" in text


@pytest.mark.parametrize(
    ("mutation", "given"),
    [
        ("upsertBucket", BUCKET | {"tags": ["t"] * (MOST + 1)}),
        *(
            pytest.param(mutation, given, marks=pytest.mark.slow)
            for mutation, given in (
                ("createRunFiles", RUN | {"files": ["f"] * (MOST + 1)}),
                ("markRunFilesUploaded", RUN | {"files": ["f"] * (MOST + 1)}),
                ("deleteFiles", {"files": ["RmlsZTox"] * (MOST + 1)}),
            )
        ),
    ],
)
@pytest.mark.usefixtures("run")
async def test_a_list_that_is_too_long_is_refused_before_any_work(
    client: Client, mutation: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("it was begun")

    monkeypatch.setattr(FileTable, "get", work)
    monkeypatch.setattr(FileTable, "by_id", work)
    status, text = await mutate(client, mutation, given)
    assert status == 413
    assert "Ask for less at once" in text


async def test_what_identifies_a_writer_has_a_limit(client: Client, run: RunRow) -> None:
    place = f"/files/local/demo/{run.name}/file_stream"
    line = {"files": {"output.log": {"offset": 0, "content": ["x"]}}}
    appender = {"writer": "w" * (MAX_NAME + 1), "first": 0, "lines": 0}
    by_header = {"X-Wandb-Async-Client-Id": "w" * (MAX_NAME + 1)}
    for body, headers in ((line | {"appender": appender}, {}), (line, by_header)):
        answer = await client.http.post(place, content=json.dumps(body), headers=headers)
        assert answer.status_code == 400
        assert "characters" in answer.text


@pytest.mark.usefixtures("project")
async def test_as_many_artifact_files_as_the_sdk_announces_at_once_are_accepted(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It announces 10,000. A fiftieth of that must fit into a fiftieth of the limit.
    monkeypatch.setattr(context, "_MAX_FIELDS", context._MAX_FIELDS // 50)
    made = await client.ask(
        "mutation Q($i: CreateArtifactInput!) { createArtifact(input: $i) { artifact { id } } }",
        i=ARTIFACT,
    )
    spec = {
        "artifactID": made["createArtifact"]["artifact"]["id"],
        "md5": "1B2M2Y8AsgTpgAmY7PhCfg==",
    }
    specs = [spec | {"name": f"folder/{number}.bin"} for number in range(200)]
    query = """
        mutation Q($i: CreateArtifactFilesInput!) { createArtifactFiles(input: $i) { files { edges {
            node { id name displayName uploadUrl uploadHeaders artifact { id } } } } } }"""
    found = await client.ask(query, i={"artifactFiles": specs, "storageLayout": "V2"})
    assert len(found["createArtifactFiles"]["files"]["edges"]) == len(specs)
