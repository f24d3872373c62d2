"""GraphQL as W&B's clients use it: the envelope, errors, and the documents of the real SDK."""

from __future__ import annotations

import base64
import importlib
from typing import Any

import pytest
from graphql import parse, validate

from aiowandb_server import Store
from aiowandb_server.graphql.execution import load_schema
from aiowandb_server.graphql.scalars import encode_id
from aiowandb_server.store.artifact_records import NewVersion
from aiowandb_server.store.records import ProjectRow, RunRow
from tests.server.conftest import Client

pytestmark = pytest.mark.anyio

# Subjects that are left out here: registries need organisations, and there are none.
LEFT_OUT = ("REGISTR", "ORGANIZATION_GQL", "AUTOMATION", "INTEGRATION", "WEBHOOK")


def sdk_documents() -> list[Any]:
    found = []
    for name in (
        "wandb.apis._generated.operations",
        "wandb.sdk.artifacts._generated.operations",
        "wandb.sdk.internal._generated.operations",
    ):
        module = importlib.import_module(name)
        found += [
            pytest.param(getattr(module, constant), id=constant)
            for constant in module.__all__
            if not any(word in constant for word in LEFT_OUT)
        ]
    return found


@pytest.mark.sdk
@pytest.mark.parametrize("document", sdk_documents())
def test_the_documents_of_the_sdk_are_valid(document: str) -> None:
    assert validate(load_schema(), parse(document)) == []


async def test_an_empty_operation_name_means_the_only_operation(client: Client) -> None:
    data = await client.ask("#graphql\n query Viewer { viewer { username, entity, } }")
    assert data["viewer"] == {"username": "local", "entity": "local"}


async def test_undeclared_variables_and_nulls_are_accepted(client: Client, run: RunRow) -> None:
    data = await client.ask(
        """
        query Run($project: String!, $entity: String, $name: String!, $unused: Int) {
          project(name: $project, entityName: $entity) { run(name: $name) { name } }
        }
        """,
        project="demo",
        entity=None,
        name="r1",
        unused=None,
        undeclared={"a": 1},
    )
    assert data["project"]["run"]["name"] == "r1"


async def test_an_unknown_field_is_refused_as_wandb_does(client: Client) -> None:
    status, message = await client.refusal("{viewer{shoeSize}}")
    assert status == 400
    assert "Cannot query field 'shoeSize' on type 'User'" in message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"query": 3}', b"\xff", b'{"query": "{"}'])
async def test_a_body_that_is_not_a_request_is_refused(client: Client, body: bytes) -> None:
    response = await client.http.post("/graphql", content=body)
    assert response.status_code == 400
    assert response.json()["errors"]


async def test_a_document_nested_without_end_is_refused(client: Client) -> None:
    status, _ = await client.refusal("{a" * 50_000)
    assert status == 400


async def test_a_wrong_filter_is_a_400_with_its_reason(client: Client, project: ProjectRow) -> None:
    query = 'query($f: JSONString){project(name:"demo"){runs(filters:$f){totalCount}}}'
    status, message = await client.refusal(query, f='{"summary.acc": 1}')
    assert status == 400
    assert "runs have no field 'summary.acc'" in message
    status, message = await client.refusal(query, f="{nonsense")
    assert status == 400
    assert "filters are not JSON" in message


async def test_missing_objects_are_null(client: Client, project: ProjectRow) -> None:
    assert await client.ask('{project(name:"none"){name}}') == {"project": None}
    data = await client.ask('{project(name:"demo"){run(name:"none"){name}}}')
    assert data == {"project": {"run": None}}


async def test_ids_of_other_things_are_not_found(client: Client) -> None:
    for storage_id in ("nonsense", "UHJvamVjdDox", "UnVuOjk5"):
        status, message = await client.refusal(
            "mutation($id: ID!){stopRun(input:{id:$id}){success}}", id=storage_id
        )
        assert (status, "not found" in message) == (404, True)


async def test_a_run_may_be_deleted_twice(client: Client, store: Store, run: RunRow) -> None:
    # Clients send a mutation again when its answer got lost.
    found = (await client.ask('{project(name:"demo"){run(name:"r1"){id}}}'))["project"]["run"]
    for _ in range(2):
        await client.ask(
            "mutation($id: ID!){deleteRun(input:{id:$id}){clientMutationId}}", id=found["id"]
        )
    assert store.runs.by_id(run.id) is None


async def test_numbers_that_are_not_json_are_sent_as_strings(
    client: Client, store: Store, run: RunRow
) -> None:
    store.history.append(run, ['{"_step":0,"x":NaN,"y":-Infinity,"big":1180591620717411303424}'])
    data = await client.ask(
        'query($s:[JSONString!]!){project(name:"demo"){run(name:"r1"){sampledHistory(specs:$s)}}}',
        s=['{"keys": ["x", "y", "big"]}'],
    )
    rows = data["project"]["run"]["sampledHistory"]
    assert rows == [[{"x": "NaN", "y": "-Infinity", "big": 2**70}]]


async def test_a_typename_is_the_real_one(client: Client, run: RunRow) -> None:
    data = await client.ask(
        '{project(name:"demo"){__typename runs(first:1){__typename pageInfo{__typename} '
        "edges{node{__typename}}}}}"
    )
    project = data["project"]
    assert project["__typename"] == "Project"
    assert project["runs"]["__typename"] == "RunConnection"
    assert project["runs"]["pageInfo"]["__typename"] == "PageInfo"
    assert project["runs"]["edges"][0]["node"]["__typename"] == "Run"


async def test_introspection_answers_older_clients(client: Client) -> None:
    data = await client.ask('{QueryType: __type(name:"Query"){fields{name}}}')
    assert {"name": "viewer"} in data["QueryType"]["fields"]


async def test_an_unused_name_is_available(client: Client, store: Store) -> None:
    asked = "query($name: String!) { entity(name: $name) { name available members { id } } }"
    free = await client.ask(asked, name="nobody")
    assert free["entity"] == {"name": "nobody", "available": True, "members": []}
    assert store.accounts.entity("nobody") is None
    taken = await client.ask(asked, name="local")
    assert taken["entity"]["available"] is False


async def test_a_user_may_choose_the_entity_that_runs_go_to(client: Client, store: Store) -> None:
    await client.ask('mutation{createTeam(input:{teamName:"team"}){entity{name}}}')
    change = """mutation($entity: String!) { updateUser(input: {defaultEntity: $entity}) {
        user { entity defaultEntity { name } userEntity { name } } } }"""
    answer = await client.ask(change, entity="team")
    assert answer["updateUser"]["user"] == {
        "entity": "team",
        "defaultEntity": {"name": "team"},
        "userEntity": {"name": "local"},
    }
    made = await client.ask(
        'mutation{upsertBucket(input:{modelName:"p"}){bucket{project{entity{name}}}}}'
    )
    assert made["upsertBucket"]["bucket"]["project"]["entity"]["name"] == "team"
    status, message = await client.refusal(change, entity="nowhere")
    assert (status, "nowhere" in message) == (404, True)
    store.accounts.ensure_user("ann")
    other = 'mutation($id: ID!){updateUser(input:{id:$id,defaultEntity:"local"}){user{id}}}'
    ann = store.accounts.user("ann")
    assert ann is not None
    status, _ = await client.refusal(other, id=encode_id("User", ann.id))
    assert status == 404, "she is no member of it"


@pytest.mark.parametrize("name", ["r1", "with:colon"])
async def test_ids_of_runs_that_clients_make_of_names_are_understood(
    client: Client, store: Store, project: ProjectRow, name: str
) -> None:
    run, _ = store.runs.upsert(project, name)
    storage_id = encode_id("Run", "v1", name, "demo", "local")
    stop = "mutation($id: ID!) { stopRun(input: {id: $id}) { success } }"
    assert (await client.ask(stop, id=storage_id))["stopRun"]["success"]
    stopped = store.runs.by_id(run.id)
    assert stopped is not None
    assert stopped.stop_requested
    changed = await client.ask(
        'mutation($id: String){upsertBucket(input:{id:$id,notes:"new"}){bucket{name notes}}}',
        id=storage_id,
    )
    assert changed["upsertBucket"]["bucket"] == {"name": name, "notes": "new"}
    for missing in ("Run:v1:nope:demo:local", "Run:v1:r1:demo:else", "Run:v1:r1", "Run:v1:::"):
        status, _ = await client.refusal(stop, id=base64.b64encode(missing.encode()).decode())
        assert status == 404
    delete = "mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
    await client.ask(delete, id=storage_id)
    assert store.runs.by_id(run.id) is None


async def test_types_of_artifacts_come_in_pages(
    client: Client, store: Store, project: ProjectRow
) -> None:
    for number in range(5):
        store.collections.ensure(project, f"c{number}", f"t{number}")
    asked = """query($after: String) { project(name: "demo") {
        artifactTypes(first: 2, after: $after) {
          edges { node { name } } pageInfo { endCursor hasNextPage } } } }"""
    found, after = [], None
    for size in (2, 2, 1):
        page = (await client.ask(asked, after=after))["project"]["artifactTypes"]
        assert len(page["edges"]) == size
        assert page["pageInfo"]["hasNextPage"] == (size == 2)
        found += [edge["node"]["name"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
    assert found == [f"t{number}" for number in range(5)]


async def test_a_committed_version_has_a_hash_of_its_own(
    client: Client, store: Store, project: ProjectRow
) -> None:
    collection = store.collections.ensure(project, "data", "dataset")
    asked = "query($id: ID!) { artifact(id: $id) { commitHash } }"
    hashes = []
    for number in range(2):
        version = store.artifacts.create(collection, NewVersion(digest=f"d{number}"))
        artifact = encode_id("Artifact", version.id)
        assert (await client.ask(asked, id=artifact))["artifact"] == {"commitHash": None}
        store.artifacts.commit(version.id, size=0, file_count=0)
        hashes.append((await client.ask(asked, id=artifact))["artifact"]["commitHash"])
        assert (await client.ask(asked, id=artifact))["artifact"]["commitHash"] == hashes[-1]
    assert len(set(hashes)) == 2
    assert all(len(found) == 20 for found in hashes)
