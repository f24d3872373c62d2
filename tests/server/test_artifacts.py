"""Artifacts over the wire: created, uploaded, committed, found, linked, deleted."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
import xxhash

from aiowandb_server import Store
from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.scalars import encode_id
from aiowandb_server.store.manifests import hex_digest
from aiowandb_server.store.records import RunRow
from tests.server.conftest import Client

pytestmark = pytest.mark.anyio


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def xxh128(data: bytes) -> str:
    return base64.b64encode(xxhash.xxh128(data).digest()).decode()


async def announce(client: Client, digest: str, **more: Any) -> Any:
    data = await client.ask(
        """
        mutation CreateArtifact($input: CreateArtifactInput!) { createArtifact(input: $input) {
          artifact { id state artifactSequence { latestArtifact { id } } } } }
        """,
        input={
            "entityName": "local",
            "projectName": "demo",
            "runName": "r1",
            "artifactTypeName": "dataset",
            "artifactCollectionName": "data",
            "clientID": f"client-{digest}-{len(more)}",
            "digest": digest,
            "enableDigestDeduplication": True,
            **more,
        },
    )
    return data["createArtifact"]["artifact"]


async def upload(client: Client, artifact_id: str, files: dict[str, bytes], **manifest: Any) -> int:
    """Send files and manifest as the SDK does; gives how many files had to be sent."""
    specs = [{"artifactID": artifact_id, "name": n, "md5": md5(d)} for n, d in files.items()]
    slots = (
        await client.ask(
            """
            mutation($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {
              files { edges { node { storagePath uploadUrl uploadHeaders artifact { id } } } } } }
            """,
            input={"artifactFiles": specs, "storageLayout": "V2"},
        )
    )["createArtifactFiles"]["files"]["edges"]
    assert len(slots) == len(files)
    sent = 0
    for slot, data in zip(slots, files.values(), strict=True):
        if url := slot["node"]["uploadUrl"]:
            sent += 1
            assert (await client.keyless.put(url, content=data)).is_success
    contents = {n: {"digest": md5(d), "size": len(d)} for n, d in files.items()}
    made = (
        await client.ask(
            """
            mutation($input: CreateArtifactManifestInput!) {
              createArtifactManifest(input: $input) { artifactManifest { id file { uploadUrl } } } }
            """,
            input={
                "artifactID": artifact_id,
                "name": "wandb_manifest.json",
                "digest": "",
                "entityName": "local",
                "projectName": "demo",
                **manifest,
            },
        )
    )["createArtifactManifest"]["artifactManifest"]
    body = json.dumps({"version": 1, "contents": contents})
    assert (await client.keyless.put(made["file"]["uploadUrl"], content=body)).is_success
    return sent


COMMIT = "mutation($id:ID!){commitArtifact(input:{artifactID:$id}){artifact{id digest state}}}"


async def log(client: Client, digest: str, files: dict[str, bytes], **more: Any) -> str:
    artifact = await announce(client, digest, **more)
    await upload(client, artifact["id"], files)
    await client.ask(COMMIT, id=artifact["id"])
    identity: str = artifact["id"]
    return identity


async def found(client: Client, name: str, fields: str = "id versionIndex") -> Any:
    data = await client.ask(
        f'query($n:String!){{project(name:"demo"){{artifact(name:$n){{{fields}}}}}}}', n=name
    )
    return data["project"]["artifact"]


async def test_versions_are_numbered_and_aliased(client: Client, run: RunRow) -> None:
    await log(client, "d0", {"a": b"1"})
    await log(
        client,
        "d1",
        {"a": b"2"},
        aliases=[{"alias": "best", "artifactCollectionName": "data"}],
    )
    assert (await found(client, "data:v0"))["versionIndex"] == 0
    for name in ("data", "data:latest", "data:best", "data:v1"):
        assert (await found(client, name))["versionIndex"] == 1
    assert await found(client, "data:v2") is None
    assert await found(client, "other:latest") is None
    aliases = (await found(client, "data:v0", "aliases{alias}"))["aliases"]
    assert aliases == []


async def test_a_version_is_invisible_until_it_is_committed(client: Client, run: RunRow) -> None:
    artifact = await announce(client, "d0")
    assert artifact["state"] == "PENDING"
    assert await found(client, "data") is None


async def test_a_version_with_a_missing_file_is_never_committed(
    client: Client, store: Store, run: RunRow
) -> None:
    artifact = await announce(client, "d0")
    status, message = await client.refusal(COMMIT, id=artifact["id"])
    assert (status, "never uploaded" in message) == (400, True)
    await upload(client, artifact["id"], {"a": b"1"})
    with store._database.write() as connection:
        connection.execute("DELETE FROM content")
    status, message = await client.refusal(COMMIT, id=artifact["id"])
    assert (status, "'a' is in the manifest but" in message) == (400, True)


async def test_an_upload_that_is_something_else_is_refused(client: Client, run: RunRow) -> None:
    artifact = await announce(client, "d0")
    data = await client.ask(
        "mutation($i:CreateArtifactFilesInput!){createArtifactFiles(input:$i){files{edges{node{"
        "uploadUrl}}}}}",
        i={"artifactFiles": [{"artifactID": artifact["id"], "name": "a", "md5": md5(b"1")}]},
    )
    url = data["createArtifactFiles"]["files"]["edges"][0]["node"]["uploadUrl"]
    assert (await client.http.put(url, content=b"2")).status_code == 400


async def test_the_same_content_is_not_uploaded_twice(client: Client, run: RunRow) -> None:
    await log(client, "d0", {"a": b"1"})
    again = await announce(client, "d0", clientID="other")
    assert again["state"] == "COMMITTED"
    fresh = await announce(client, "d1")
    assert await upload(client, fresh["id"], {"a": b"1", "b": b"2"}) == 1


async def test_a_repeated_announcement_is_the_same_version(client: Client, run: RunRow) -> None:
    first = await announce(client, "d0")
    assert (await announce(client, "d0"))["id"] == first["id"]


async def test_files_and_manifest_can_be_downloaded_without_a_key(
    client: Client, run: RunRow
) -> None:
    await log(client, "d0", {"x/a.txt": b"one", "b.txt": b"two"})
    fields = """
      size fileCount currentManifest { file { directUrl } }
      files(first: 10) { edges { node { name directUrl sizeBytes } } }
    """
    artifact = await found(client, "data", fields)
    assert (artifact["size"], artifact["fileCount"]) == (6, 2)
    nodes = [edge["node"] for edge in artifact["files"]["edges"]]
    assert [node["name"] for node in nodes] == ["b.txt", "x/a.txt"]
    assert (await client.keyless.get(nodes[1]["directUrl"])).content == b"one"
    manifest = await client.keyless.get(artifact["currentManifest"]["file"]["directUrl"])
    assert set(manifest.json()["contents"]) == {"x/a.txt", "b.txt"}


async def test_an_incremental_version_has_the_files_of_its_base(
    client: Client, run: RunRow
) -> None:
    base = await log(client, "d0", {"a": b"1", "b": b"2"})
    artifact = await announce(client, "d1")
    await upload(
        client, artifact["id"], {"b": b"3", "c": b"4"}, type="INCREMENTAL", baseArtifactID=base
    )
    await client.ask(COMMIT, id=artifact["id"])
    version = await found(
        client, "data", "files{edges{node{name directUrl}}} currentManifest{file{directUrl}}"
    )
    nodes = [edge["node"] for edge in version["files"]["edges"]]
    content = {n["name"]: (await client.http.get(n["directUrl"])).content for n in nodes}
    assert content == {"a": b"1", "b": b"3", "c": b"4"}
    manifest = await client.http.get(version["currentManifest"]["file"]["directUrl"])
    assert set(manifest.json()["contents"]) == {"a", "b", "c"}


async def test_processes_make_a_version_together(client: Client, run: RunRow) -> None:
    """Each sends a patch; the version holds them all once one of them commits it."""
    first = await announce(client, "d0", distributedID="group", clientID="one")
    second = await announce(client, "d1", distributedID="group", clientID="two")
    assert first["id"] == second["id"]
    for files in ({"a": b"1", "both": b"1"}, {"b": b"2", "both": b"2"}):
        await upload(client, first["id"], files, type="PATCH")
    await client.ask(COMMIT, id=first["id"])
    version = await found(client, "data", "files{totalCount edges{node{name directUrl}}}")
    nodes = [edge["node"] for edge in version["files"]["edges"]]
    content = {n["name"]: (await client.http.get(n["directUrl"])).content for n in nodes}
    assert content == {"a": b"1", "b": b"2", "both": b"2"}
    assert version["files"]["totalCount"] == 3
    assert (await announce(client, "d2", distributedID="group"))["id"] != first["id"]


async def test_a_file_is_found_without_its_link(client: Client, run: RunRow) -> None:
    await log(client, "d0", {"a": b"one"})
    hex_md5 = hashlib.md5(b"one").hexdigest()
    for path in (
        f"/artifacts/local/{hex_md5}",
        f"/artifactsV2/default/local/demo/data/QXJ0aWZhY3Q6MQ==/{hex_md5}/a",
        f"/artifactsV2/default/local/demo/data//{hex_md5}/a",
    ):
        assert (await client.http.get(path)).content == b"one"
        assert (await client.keyless.get(path)).status_code == 401


async def test_collections_are_filtered_and_ordered(client: Client, run: RunRow) -> None:
    for name in ("b", "c", "a"):
        await log(client, name, {"f": b"1"}, artifactCollectionName=name)

    async def names(**page: Any) -> list[str]:
        data = await client.ask(
            """
            query($filters: JSONString, $order: String) { project(name: "demo") {
              artifactType(name: "dataset") {
                artifactCollections(filters: $filters, order: $order) {
                  totalCount edges { node { name } } } } } }
            """,
            **page,
        )
        found = data["project"]["artifactType"]["artifactCollections"]
        assert found["totalCount"] == len(found["edges"])
        return [edge["node"]["name"] for edge in found["edges"]]

    assert await names(order="name") == ["a", "b", "c"]
    assert await names(order="-name") == ["c", "b", "a"]
    assert await names(filters='{"name": {"$in": ["a", "c"]}}', order="+createdAt") == ["c", "a"]


async def test_an_unknown_storage_region_is_refused(client: Client, run: RunRow) -> None:
    with pytest.raises(AssertionError, match="invalid storageRegion 'mars'"):
        await announce(client, "d0", storageRegion="mars")


async def test_aliases_move_and_are_removed(client: Client, run: RunRow) -> None:
    old = await log(client, "d0", {"a": b"1"})
    new = await log(client, "d1", {"a": b"2"})
    alias = {
        "alias": "prod",
        "artifactCollectionName": "data",
        "entityName": "local",
        "projectName": "demo",
    }
    add = "mutation($i:AddAliasesInput!){result:addAliases(input:$i){success}}"
    await client.ask(add, i={"artifactID": old, "aliases": [alias]})
    assert (await found(client, "data:prod"))["id"] == old
    await client.ask(add, i={"artifactID": new, "aliases": [alias]})
    assert (await found(client, "data:prod"))["id"] == new
    remove = "mutation($i:DeleteAliasesInput!){result:deleteAliases(input:$i){success}}"
    await client.ask(remove, i={"artifactID": new, "aliases": [alias]})
    assert await found(client, "data:prod") is None


async def test_links_used_and_logged_are_found(client: Client, store: Store, run: RunRow) -> None:
    identity = await log(client, "d0", {"a": b"1"})
    await client.ask(
        "mutation($i:UseArtifactInput!){useArtifact(input:$i){artifact{id}}}",
        i={
            "artifactID": identity,
            "entityName": "local",
            "projectName": "demo",
            "runName": "r1",
        },
    )
    linked = await client.ask(
        "mutation($i:LinkArtifactInput!){result:linkArtifact(input:$i){versionIndex "
        "artifactMembership{artifactCollection{__typename name}}}}",
        i={
            "artifactID": identity,
            "artifactPortfolioName": "best",
            "entityName": "local",
            "projectName": "demo",
            "aliases": [{"alias": "top", "artifactCollectionName": "best"}],
        },
    )
    member = linked["result"]["artifactMembership"]
    assert member["artifactCollection"] == {"__typename": "ArtifactPortfolio", "name": "best"}
    assert (await found(client, "best:top"))["id"] == identity
    data = await client.ask(
        '{project(name:"demo"){run(name:"r1"){artifacts: outputArtifacts{edges{node{id}}}'
        " inputArtifacts{totalCount}}}}"
    )
    assert data["project"]["run"]["artifacts"]["edges"] == [{"node": {"id": identity}}]
    assert data["project"]["run"]["inputArtifacts"]["totalCount"] == 1
    seen = await found(
        client, "data", "createdBy{__typename ... on Run{name}} usedBy{edges{node{name}}}"
    )
    assert seen == {
        "createdBy": {"__typename": "Run", "name": "r1"},
        "usedBy": {"edges": [{"node": {"name": "r1"}}]},
    }


async def test_a_version_with_aliases_is_deleted_only_if_they_may_go(
    client: Client, run: RunRow
) -> None:
    identity = await log(
        client, "d0", {"a": b"1"}, aliases=[{"alias": "x", "artifactCollectionName": "data"}]
    )
    mutation = "mutation($i:DeleteArtifactInput!){result:deleteArtifact(input:$i){artifact{id}}}"
    status, _ = await client.refusal(mutation, i={"artifactID": identity})
    assert status == 400
    await client.ask(mutation, i={"artifactID": identity, "deleteAliases": True})
    assert await found(client, "data:v0") is None
    place = {"entityName": "local", "projectName": "demo", "artifactPortfolioName": "best"}
    link = "mutation($i:LinkArtifactInput!){result:linkArtifact(input:$i){versionIndex}}"
    status, message = await client.refusal(link, i={"artifactID": identity, **place})
    assert (status, message) == (404, "this version has been deleted")
    again = await announce(client, "d0", clientID="again")
    assert again["state"] == "PENDING", "deleted content is uploaded anew"


async def test_a_collection_is_of_one_type(client: Client, run: RunRow) -> None:
    await log(client, "d0", {"a": b"1"})
    response = await client.send(
        "mutation($i:CreateArtifactInput!){createArtifact(input:$i){artifact{id}}}",
        i={
            "entityName": "local",
            "projectName": "demo",
            "artifactTypeName": "model",
            "artifactCollectionName": "data",
            "digest": "x",
        },
    )
    assert response.status_code == 400
    assert "of type 'dataset', not a sequence of type 'model'" in response.text


async def test_a_deleted_collection_is_returned_by_its_mutation(
    client: Client, store: Store, run: RunRow
) -> None:
    project = store.projects.get("local", "demo")
    assert project is not None
    collection = store.collections.ensure(project, "data", "dataset")
    data = await client.ask(
        """
        mutation($id: ID!) { deleteArtifactSequence(input: {artifactSequenceID: $id}) {
          artifactCollection { __typename id name state } } }
        """,
        id=encode_id("ArtifactCollection", collection.id),
    )
    assert data["deleteArtifactSequence"]["artifactCollection"] == {
        "__typename": "ArtifactSequence",
        "id": encode_id("ArtifactCollection", collection.id),
        "name": "data",
        "state": "DELETED",
    }
    assert store.collections.by_id(collection.id) is None


@pytest.mark.parametrize("md5", ["\x80", "no base64!", "AAAA", ""])
def test_an_invalid_md5_is_refused(md5: str) -> None:
    with pytest.raises(RequestError, match="is not a base64 md5"):
        hex_digest(md5)


async def announce_files(client: Client, artifact_id: str, **spec: Any) -> str:
    """Where to upload a file; empty if its content is there."""
    data = await client.ask(
        """
        mutation($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {
          files { edges { node { uploadUrl md5 digest } } } } }
        """,
        input={"artifactFiles": [{"artifactID": artifact_id, "name": "f", **spec}]},
    )
    node = data["createArtifactFiles"]["files"]["edges"][0]["node"]
    assert node["digest"] == spec.get("digest", spec["md5"])
    return str(node["uploadUrl"] or "")


async def test_content_is_stored_by_the_digest_of_its_artifact(
    client: Client, store: Store, run: RunRow
) -> None:
    fast = (await announce(client, "d1", digestAlgorithm="MANIFEST_XXH128"))["id"]
    usual = (await announce(client, "d2", artifactCollectionName="usual"))["id"]
    digest = xxh128(b"data")
    url = await announce_files(client, fast, md5=md5(b"data"), digest=digest)
    refused = await client.keyless.put(url, content=b"other")
    assert refused.status_code == 400
    assert "the xxh128 of the upload is" in refused.text
    assert (await client.keyless.put(url, content=b"data")).is_success
    assert not await announce_files(client, fast, md5=md5(b"data"), digest=digest)
    # Whoever makes content with a chosen XXH128 must not take the place of an MD5.
    entity = store.accounts.entity("local")
    assert entity
    assert store.manifests.content(entity.id, digest) is not None
    assert not store.manifests.has_content(entity.id, digest)
    assert await announce_files(client, usual, md5=digest)
    download = f"/artifacts/local/{hex_digest(digest)}"
    assert (await client.http.get(download)).content == b"data"


async def test_a_collection_has_the_algorithm_of_its_first_version(
    client: Client, run: RunRow
) -> None:
    question = """
    query { entity(name: "local") { xxhashDigestsEnabled } project(name: "demo") {
      a: artifactCollection(name: "data") { ... on ArtifactSequence { digestAlgorithm } }
      b: artifactCollection(name: "usual") { ... on ArtifactSequence { digestAlgorithm } } } }
    """
    await announce(client, "d1", digestAlgorithm="MANIFEST_XXH128")
    await announce(client, "d2", artifactCollectionName="usual")
    data = await client.ask(question)
    assert data["entity"]["xxhashDigestsEnabled"] is True
    assert data["project"]["a"] == {"digestAlgorithm": "MANIFEST_XXH128"}
    assert data["project"]["b"] == {"digestAlgorithm": "MANIFEST_MD5"}
