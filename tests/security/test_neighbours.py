"""Several users of one embedded W&B: none can read, write or become what belongs to another."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from aiowandb_server import Store, create_app
from aiowandb_server.graphql.scalars import row_id

pytestmark = pytest.mark.anyio
SECRET = b'{"version": 1, "contents": {"secret.txt": {"digest": "x", "ref": "s3://a/secret"}}}'


class Neighbour:
    """Somebody with a key of their own."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def send(self, query: str, **variables: Any) -> Any:
        response = await self.http.post("/graphql", json={"query": query, "variables": variables})
        return response.json()

    async def artifact(self, entity: str, client_id: str) -> Any:
        """A version that is announced, with what its maker sees of it."""
        answer = await self.send(
            """mutation($input: CreateArtifactInput!) { createArtifact(input: $input) {
                 artifact { id state currentManifest { file { directUrl } } } } }""",
            input={
                "entityName": entity,
                "projectName": "p",
                "artifactTypeName": "dataset",
                "artifactCollectionName": "data",
                "clientID": client_id,
                "digest": client_id,
            },
        )
        made = (answer["data"] or {}).get("createArtifact")
        return made["artifact"] if made else None

    async def manifest(self, artifact: str, content: bytes, **more: Any) -> Any:
        """Announce a manifest and upload it; the errors, if there are any."""
        answer = await self.send(
            """mutation($input: CreateArtifactManifestInput!) {
                 createArtifactManifest(input: $input) {
                   artifactManifest { id file { uploadUrl } } } }""",
            input={
                "artifactID": artifact,
                "name": "wandb_manifest.json",
                "digest": base64.b64encode(hashlib.md5(content).digest()).decode(),
                "entityName": "x",
                "projectName": "x",
                "runName": "x",
                **more,
            },
        )
        if "errors" in answer:
            return answer["errors"]
        manifest = answer["data"]["createArtifactManifest"]["artifactManifest"]
        await self.http.put(manifest["file"]["uploadUrl"], content=content)
        return manifest["id"]


@asynccontextmanager
async def users_of(store: Store, keys: Mapping[str, str]) -> AsyncIterator[dict[str, Neighbour]]:
    """Users of one server, by their names; each has one of these keys."""
    app = create_app(store, open_access=True)
    async with AsyncExitStack() as stack:
        yield {
            name: Neighbour(
                await stack.enter_async_context(
                    httpx.AsyncClient(
                        transport=httpx.ASGITransport(app),
                        base_url="http://wandb.test",
                        auth=("api", key),
                    )
                )
            )
            for name, key in keys.items()
        }


@pytest.fixture
async def neighbours(store: Store) -> AsyncIterator[dict[str, Neighbour]]:
    async with users_of(store, {"ann": "ann", "eve": "eve"}) as users:
        yield users


async def share_team(store: Store, ann: Neighbour, eve: Neighbour) -> None:
    """A team of ann's, of which eve is a member."""
    await ann.send('mutation{createTeam(input:{teamName:"team"}){entity{name}}}')
    await eve.send("{viewer{id}}")
    team, member = store.accounts.entity("team"), store.accounts.user("eve")
    assert team is not None
    assert member is not None
    store.accounts.add_member(team.id, member.id)


async def test_the_manifest_of_another_user_cannot_be_a_base(
    neighbours: dict[str, Neighbour],
) -> None:
    ann, eve = neighbours["ann"], neighbours["eve"]
    hers = (await ann.artifact("ann", "a1"))["id"]
    await ann.manifest(hers, SECRET)
    stolen = (await eve.artifact("eve", "e1"))["id"]
    empty = b'{"version": 1, "contents": {}}'
    (error,) = await eve.manifest(stolen, empty, type="INCREMENTAL", baseArtifactID=hers)
    assert "not found" in error["message"]
    manifest = await eve.manifest(stolen, empty, type="INCREMENTAL")
    changed = await eve.send(
        """mutation($input: UpdateArtifactManifestInput!) {
             updateArtifactManifest(input: $input) { artifactManifest { id } } }""",
        input={"artifactManifestID": manifest, "baseArtifactID": hers},
    )
    assert "not found" in changed["errors"][0]["message"]


async def test_the_version_of_another_user_is_not_found_by_its_client_id(
    neighbours: dict[str, Neighbour],
) -> None:
    ann, eve = neighbours["ann"], neighbours["eve"]
    hers = (await ann.artifact("ann", "a1"))["id"]
    await ann.manifest(hers, SECRET)
    mapping = "query($id: ID!) { clientIDMapping(clientID: $id) { serverID } }"
    assert (await ann.send(mapping, id="a1"))["data"]["clientIDMapping"] == {"serverID": hers}
    assert (await eve.send(mapping, id="a1"))["data"]["clientIDMapping"] is None
    own = (await eve.artifact("eve", "a1"))["id"]
    assert own != hers, "announcing it again gives no access either"
    assert (await eve.send(mapping, id="a1"))["data"]["clientIDMapping"] == {"serverID": own}
    assert (await ann.artifact("ann", "a1"))["id"] == hers, "and takes nothing away"
    assert (await ann.send(mapping, id="a1"))["data"]["clientIDMapping"] == {"serverID": hers}


async def test_the_runs_behind_an_artifact_are_shown_to_those_who_may_see_them(
    store: Store, neighbours: dict[str, Neighbour]
) -> None:
    ann, eve = neighbours["ann"], neighbours["eve"]
    await share_team(store, ann, eve)
    shared = (await ann.artifact("team", "t1"))["id"]
    project, _ = store.projects.ensure("ann", "private")
    run, _ = store.runs.upsert(project, "hidden")
    version = store.artifacts.by_client_id("t1")
    assert version is not None
    store.artifacts.use(run, version)
    asked = "query($id: ID!) { artifact(id: $id) { usedBy { edges { node { name } } } } }"
    assert "hidden" in str(await ann.send(asked, id=shared))
    assert (await eve.send(asked, id=shared))["data"]["artifact"]["usedBy"]["edges"] == []


async def test_a_version_that_is_linked_to_a_team_is_read_and_used_there_and_not_changed(
    store: Store, neighbours: dict[str, Neighbour]
) -> None:
    ann, eve = neighbours["ann"], neighbours["eve"]
    await share_team(store, ann, eve)
    hers = (await ann.artifact("ann", "a1"))["id"]
    await ann.manifest(hers, SECRET)
    query = """query($id: ID!) { artifact(id: $id) { currentManifest { file { directUrl } }
        artifactSequence { name description project { name } } } }"""
    commit = "mutation($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id } } }"
    link = """mutation($id: ID!) { linkArtifact(input: {artifactID: $id, entityName: "team",
        projectName: "shared", artifactPortfolioName: "best"}) { versionIndex } }"""
    await ann.send(commit, id=hers)
    assert (await eve.send(query, id=hers))["data"] == {"artifact": None}
    await ann.send(link, id=hers)
    seen = (await eve.send(query, id=hers))["data"]["artifact"]
    assert seen["artifactSequence"] == {"name": "data", "description": None, "project": None}
    manifest = await eve.http.get(seen["currentManifest"]["file"]["directUrl"])
    assert manifest.content == SECRET
    project, _ = store.projects.ensure("eve", "mine")
    store.runs.upsert(project, "r")
    use = """mutation($id: ID!) { useArtifact(input: {artifactID: $id, entityName: "eve",
        projectName: "mine", runName: "r"}) { artifact { id } } }"""
    used = 'query { project(name: "mine") { run(name: "r") { inputArtifacts { totalCount } } } }'
    await eve.send(use, id=hers)
    run = (await eve.send(used))["data"]["project"]["run"]
    assert run["inputArtifacts"] == {"totalCount": 1}
    for change in (
        'updateArtifact(input: {artifactID: $id, description: "x"}) { artifact { id } }',
        "deleteArtifact(input: {artifactID: $id, deleteAliases: true}) { artifact { id } }",
        'linkArtifact(input: {artifactID: $id, artifactPortfolioName: "x"}) { versionIndex }',
    ):
        (error,) = (await eve.send(f"mutation($id: ID!) {{ {change} }}", id=hers))["errors"]
        assert error["message"] == f"artifact {hers!r} not found"


async def test_only_administrators_of_a_team_add_and_remove_its_members(
    store: Store, neighbours: dict[str, Neighbour]
) -> None:
    ann, eve = neighbours["ann"], neighbours["eve"]
    invite = """mutation($user: String, $admin: Boolean) { createInvite(
        input: {entityName: "team", username: $user, admin: $admin}) { invite { id } } }"""
    remove = """mutation($id: String) {
        deleteInvite(input: {entityName: "team", id: $id}) { success } }"""
    account = 'mutation{createServiceAccount(input:{entityName:"team"}){user{id}}}'
    await ann.send('mutation{createTeam(input:{teamName:"team"}){entity{name}}}')
    leader = (await ann.send("{viewer{id}}"))["data"]["viewer"]["id"]
    member = (await eve.send("{viewer{id}}"))["data"]["viewer"]["id"]
    await ann.send(invite, user="eve", admin=False)
    await eve.send('mutation{acceptInvite(input:{entityName:"team"}){success}}')
    team = store.accounts.entity("team")
    assert team is not None
    before = store.accounts.members(team.id)
    for query, variables in (
        (invite, {"user": "eve", "admin": True}),
        (invite, {"user": "local"}),
        (remove, {"id": leader}),
        (account, {}),
    ):
        (error,) = (await eve.send(query, **variables))["errors"]
        assert "only administrators of 'team'" in error["message"]
    assert store.accounts.members(team.id) == before
    assert (await ann.send(account))["data"]["createServiceAccount"]["user"]
    assert (await eve.send(remove, id=member))["data"]["deleteInvite"] == {"success": True}
    assert store.accounts.teams(row_id("User", member)) == ["eve"]


@pytest.mark.parametrize("name", ["", "ann/private", "..", "a b", "x" * 129, "%2e", "a:b"])
async def test_a_team_has_a_name_that_is_one_part_of_a_path(
    neighbours: dict[str, Neighbour], name: str
) -> None:
    answer = await neighbours["eve"].send(
        "mutation($name:String!){createTeam(input:{teamName:$name}){entity{name}}}", name=name
    )
    assert "is not a valid name" in answer["errors"][0]["message"]


async def test_a_team_that_is_named_like_a_future_user_is_not_theirs(
    store: Store, neighbours: dict[str, Neighbour]
) -> None:
    eve, ann = neighbours["eve"], neighbours["ann"]
    await eve.send('mutation{createTeam(input:{teamName:"ann"}){entity{name}}}')
    assert (await ann.send("{viewer{username entity}}"))["data"]["viewer"] == {
        "username": "ann",
        "entity": "ann-2",
    }
    project, _ = store.projects.ensure("ann-2", "mine")
    store.runs.upsert(project, "r")
    read = await eve.send('{project(name:"mine", entityName:"ann-2"){name}}')
    assert read["data"]["project"] is None
    read = await ann.send('{project(name:"p", entityName:"ann"){name}}')
    assert read["data"]["project"] is None, "nor is she a member of it"


async def test_two_who_make_a_team_of_one_name_at_once_do_not_share_it(
    store: Store, neighbours: dict[str, Neighbour], monkeypatch: pytest.MonkeyPatch
) -> None:
    await neighbours["ann"].send('mutation{createTeam(input:{teamName:"team"}){entity{name}}}')
    await neighbours["eve"].send("{viewer{id}}")
    team = store.accounts.entity("team")
    assert team is not None
    # As if she had looked for it before it was there.
    monkeypatch.setattr(store.accounts, "entity", lambda _: None)
    for name in ("team", "ann"):
        made = await neighbours["eve"].send(
            "mutation($name:String!){createTeam(input:{teamName:$name}){entity{name}}}", name=name
        )
        assert made["errors"][0]["message"] == f"the entity {name!r} already exists"
    assert [row.user.username for row in store.accounts.members(team.id)] == ["ann"]


async def test_runs_of_an_administrator_in_an_entity_belong_to_its_later_user(store: Store) -> None:
    store.accounts.ensure_entity("bob", is_team=True)
    store.projects.ensure("bob", "p")
    assert store.accounts.ensure_user("bob").entity == "bob"
    entity = store.accounts.entity("bob")
    assert entity is not None
    assert not entity.is_team


async def test_nobody_becomes_the_author_of_a_run_of_somebody_else(
    store: Store, neighbours: dict[str, Neighbour]
) -> None:
    ann, eve = neighbours["ann"], neighbours["eve"]
    await share_team(store, ann, eve)
    make = """mutation { upsertBucket(input: {entityName: "team", modelName: "p", name: "r"}) {
        bucket { id } } }"""
    run = (await ann.send(make))["data"]["upsertBucket"]["bucket"]["id"]
    for place in ("id: $id", 'entityName: "team", modelName: "p", name: "r"'):
        changed = await eve.send(
            f"""mutation($id: String) {{ upsertBucket(input: {{{place}, username: "eve",
            notes: "by eve"}}) {{ bucket {{ notes user {{ username }} }} }} }}""",
            id=run,
        )
        expected = {"notes": "by eve", "user": {"username": "ann"}}
        assert changed["data"]["upsertBucket"]["bucket"] == expected


async def test_a_link_to_a_manifest_changes_no_committed_version(
    store: Store, neighbours: dict[str, Neighbour]
) -> None:
    # Whoever has got the link may have left the team meanwhile.
    ann = neighbours["ann"]
    version = (await ann.artifact("ann", "a1"))["id"]
    manifest = await ann.manifest(version, SECRET)
    query = """query($id: ID!) { artifact(id: $id) {
        currentManifest { file { uploadUrl directUrl } } } }"""
    file = (await ann.send(query, id=version))["data"]["artifact"]["currentManifest"]["file"]
    assert (await ann.http.put(file["uploadUrl"], content=SECRET)).status_code == 200
    commit = "mutation($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id } } }"
    assert "errors" not in await ann.send(commit, id=version)
    changed = await ann.http.put(file["uploadUrl"], content=b'{"version": 1, "contents": {}}')
    assert changed.status_code == 409
    assert (await ann.http.get(file["directUrl"])).content == SECRET
    assert store.manifests.get(row_id("Manifest", manifest)) is not None
