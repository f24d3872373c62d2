"""Whoever has left a team reads nothing that is made there afterwards, whatever they prepared."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from aiowandb_server import Store, create_app, gate
from aiowandb_server.graphql.scalars import row_id
from tests.security.test_neighbours import Neighbour, share_team, users_of

pytestmark = pytest.mark.anyio

LATER = "s3://team/made-after-she-left"
COMMIT = "mutation($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id } } }"
LINK = """mutation($id: ID, $entity: String) { linkArtifact(input: {artifactID: $id,
    entityName: $entity, projectName: "p", artifactPortfolioName: "kept"}) { versionIndex } }"""
LEAVE = 'mutation($id: String) { deleteInvite(input: {entityName: "team", id: $id}) { success } }'


@pytest.fixture
async def people(store: Store) -> AsyncIterator[dict[str, Neighbour]]:
    """ann leads a team that eve is a member of."""
    async with users_of(store, {"ann": "ann", "eve": "eve", "team": "team"}) as users:
        await share_team(store, users["ann"], users["eve"])
        yield users


def manifest(**files: str) -> bytes:
    contents = {name: {"digest": "x", "ref": place} for name, place in files.items()}
    return json.dumps({"version": 1, "contents": contents}).encode()


async def leave(who: Neighbour) -> Any:
    mine = (await who.send("{ viewer { id } }"))["data"]["viewer"]["id"]
    return await who.send(LEAVE, id=mine)


async def test_only_administrators_share_versions_of_a_team_with_others(
    people: dict[str, Neighbour], store: Store
) -> None:
    # What is linked into a collection can be read by all who see that, even if they have left.
    ann, eve = people["ann"], people["eve"]
    shared = (await eve.artifact("team", "t1"))["id"]
    await eve.manifest(shared, manifest(a=LATER))
    await eve.send(COMMIT, id=shared)
    (error,) = (await eve.send(LINK, id=shared, entity="eve"))["errors"]
    assert "only administrators of 'team'" in error["message"]
    project = store.projects.get("eve", "p")
    assert project is None or store.collections.get(project.id, "kept") is None
    portfolio = store.collections.ensure(
        store.projects.ensure("eve", "p")[0], "mine", "dataset", "PORTFOLIO"
    )
    by_id = """mutation($id: ID!, $to: ID!) { linkArtifact(
        input: {artifactID: $id, artifactPortfolioID: $to}) { versionIndex } }"""
    wanted = f'{{ project(name: "p") {{ artifactCollection(name: "{portfolio.name}") {{ id }} }} }}'
    to = (await eve.send(wanted))["data"]["project"]["artifactCollection"]["id"]
    (error,) = (await eve.send(by_id, id=shared, to=to))["errors"]
    assert "only administrators of 'team'" in error["message"]
    assert "errors" not in await eve.send(LINK, id=shared, entity="team")
    assert "errors" not in await ann.send(LINK, id=shared, entity="ann")
    await leave(eve)
    read = "query($id: ID!) { artifact(id: $id) { id } }"
    assert (await eve.send(read, id=shared))["data"]["artifact"] is None
    assert (await ann.send(read, id=shared))["data"]["artifact"] == {"id": shared}


async def test_a_version_gets_no_files_of_a_base_that_its_maker_may_not_see_any_more(
    people: dict[str, Neighbour], store: Store
) -> None:
    ann, eve = people["ann"], people["eve"]
    base = (await ann.artifact("team", "t1"))["id"]
    own = (await eve.artifact("eve", "e1"))["id"]
    await eve.manifest(own, manifest(), type="INCREMENTAL", baseArtifactID=base)
    await leave(eve)
    await ann.manifest(base, manifest(secret=LATER))
    await ann.send(COMMIT, id=base)
    (error,) = (await eve.send(COMMIT, id=own))["errors"]
    assert error["message"] == "the base of this artifact was not found"
    assert store.manifests.entries(row_id("Artifact", own), first=9).items == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/graphql", {"query": '{ project(name: "p", entityName: "team") { name } }'}),
        ("POST", "/files/team/p/r/file_stream", {"files": {"output.log": {"content": ["x"]}}}),
        ("PUT", "/files/team/p/r/a.txt", {}),
        ("PUT", "/wandb_artifacts/team/99914b932bd37a50b983c5e7c90ae93b", {}),
    ],
)
@pytest.mark.parametrize("has_left", [False, True])
async def test_a_slow_request_outlives_neither_its_key_nor_the_membership(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    body: dict[str, Any],
    has_left: bool,
) -> None:
    monkeypatch.setattr(gate, "_KEY_HOLDS_S", -1.0)
    ann, eve = store.accounts.ensure_user("ann"), store.accounts.ensure_user("eve")
    team = store.accounts.create_team("team", ann.id)
    store.accounts.add_member(team.id, eve.id)
    run, _ = store.runs.upsert(store.projects.ensure("team", "p")[0], "r")
    key = store.accounts.add_key(eve.id)

    async def slowly() -> AsyncIterator[bytes]:
        content = json.dumps(body).encode()
        yield content[:-1]
        if has_left:
            assert store.accounts.remove_member(team.id, eve.id)
        else:
            (known,) = store.accounts.keys(eve.id)
            assert store.accounts.delete_key(eve.id, known.id)
        yield content[-1:]

    transport = httpx.ASGITransport(create_app(store))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://wandb.test", auth=("api", key)
    ) as http:
        response = await http.request(method, path, content=slowly())
    if has_left and path == "/graphql":
        assert response.json() == {"data": {"project": None}}
    else:
        assert response.status_code == (403 if has_left else 401)
    assert store.files.count(run) == 0
    assert not store.console.tail(run, 1).items
    assert not list((store.folder / "blobs").iterdir())


async def test_the_rest_of_a_request_changes_nothing_in_a_team_that_was_left_meanwhile(
    people: dict[str, Neighbour], store: Store
) -> None:
    eve = people["eve"]
    mine = (await eve.send("{ viewer { id } }"))["data"]["viewer"]["id"]
    write = 'upsertBucket(input: {entityName: "team", modelName: "p", name: "%s"}) { inserted }'
    leave = 'deleteInvite(input: {entityName: "team", id: $id}) { success }'
    both = f"mutation($id: String) {{ a: {write % 'a'} {leave} b: {write % 'b'} }}"
    (error,) = (await eve.send(both, id=mine))["errors"]
    assert error["path"] == ["b"]
    assert "not a member of 'team'" in error["message"]
    project = store.projects.get("team", "p")
    assert project is not None
    assert [run.name for run in store.runs.page(project).items] == ["a"]


async def test_a_team_keeps_its_last_administrator(people: dict[str, Neighbour]) -> None:
    # Without members, it would become the entity of the next user who has its name.
    ann, eve = people["ann"], people["eve"]
    for _ in range(2):
        (error,) = (await leave(ann))["errors"]
        assert "keeps its last administrator" in error["message"]
        await leave(eve)
    await ann.artifact("team", "t1")
    viewer = (await people["team"].send("{ viewer { entity } }"))["data"]["viewer"]
    assert viewer["entity"] == "team-2"
    found = await people["team"].send('{ project(name: "p", entityName: "team") { name } }')
    assert found["data"]["project"] is None
