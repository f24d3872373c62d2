"""Files of runs: uploaded, listed, downloaded, deleted."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from aiowandb_server import Store
from aiowandb_server.store.records import RunRow
from tests.server.conftest import Client

pytestmark = pytest.mark.anyio


LIST = """
query RunFiles($names: [String] = [], $pattern: String, $after: String, $first: Int = 50) {
  project(name: "demo") { internalId run(name: "r1") { fileCount
    files(names: $names, pattern: $pattern, after: $after, first: $first) {
      edges { cursor
        node { id name url(upload: false) directUrl sizeBytes mimetype updatedAt md5 } }
      pageInfo { endCursor hasNextPage } } } } }
"""
CREATE = """
mutation CreateRunFiles($files: [String!]!) {
  createRunFiles(input: {entityName: "local", projectName: "demo", runName: "r1", files: $files}) {
    runID uploadHeaders files { name uploadUrl } } }
"""


async def listed(client: Client, **variables: Any) -> list[dict[str, Any]]:
    run = (await client.ask(LIST, **variables))["project"]["run"]
    return [edge["node"] for edge in run["files"]["edges"]]


async def test_an_uploaded_file_is_listed_and_comes_back(client: Client, run: RunRow) -> None:
    made = (await client.ask(CREATE, files=["media/ä b.txt"]))["createRunFiles"]
    assert made["runID"]
    (slot,) = made["files"]
    data = b"hello" * 1_000_000
    assert (await client.keyless.put(slot["uploadUrl"], content=data)).status_code == 200
    (node,) = await listed(client)
    assert node["name"] == "media/ä b.txt"
    assert node["sizeBytes"] == len(data)
    assert node["mimetype"] == "text/plain"
    assert node["md5"] == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert node["url"] != node["directUrl"]
    for url in (node["url"], node["directUrl"]):
        assert (await client.keyless.get(url)).content == data


async def test_an_upload_needs_a_link_or_a_key(client: Client, store: Store, run: RunRow) -> None:
    path = "/files/local/demo/r1/a.txt"
    assert (await client.http.put(path, content=b"1")).status_code == 200
    assert (await client.http.get(path)).content == b"1"
    assert (await client.keyless.put(path, content=b"2")).status_code == 401
    assert (await client.keyless.get(path)).status_code == 401
    (node,) = [store.files.get(run, "a.txt")]
    assert node is not None
    assert store.files.path(node).read_bytes() == b"1"


async def test_an_upload_to_the_same_name_replaces(client: Client, run: RunRow) -> None:
    path = "/files/local/demo/r1/a.txt"
    await client.http.put(path, content=b"old")
    await client.http.put(path, content=b"")
    assert (await client.http.get(path)).content == b""
    assert len(await listed(client)) == 1


async def test_files_are_listed_by_name_by_pattern_and_in_pages(
    client: Client, store: Store, run: RunRow
) -> None:
    for name in ("a.json", "b.json", "c_d.txt", "cXd.txt"):
        store.files.add(run, name, b"x")

    async def names(**variables: Any) -> list[str]:
        return [node["name"] for node in await listed(client, **variables)]

    assert await names(names=["b.json", "nothing"]) == ["b.json"]
    assert await names(pattern="%.json") == ["a.json", "b.json"]
    assert await names(pattern="c\\_d%") == ["c_d.txt"]
    first = (await client.ask(LIST, first=2))["project"]["run"]["files"]
    assert first["pageInfo"]["hasNextPage"] is True
    rest = await names(first=2, after=first["pageInfo"]["endCursor"])
    assert rest == ["cXd.txt", "c_d.txt"]
    assert (await client.ask(LIST, first=1))["project"]["run"]["fileCount"] == 4


@pytest.mark.parametrize("name", ["../up.txt", "a/../../up.txt", "/etc/passwd", "a\\..\\b", ""])
async def test_a_name_that_climbs_out_is_refused(client: Client, run: RunRow, name: str) -> None:
    status, message = await client.refusal(CREATE, files=[name])
    assert status == 400
    assert "is not a valid file name" in message


async def test_a_path_that_climbs_out_stores_nothing(
    client: Client, store: Store, run: RunRow
) -> None:
    response = await client.http.put("/files/local/demo/r1/%2e%2e/%2e%2e/up.txt", content=b"x")
    assert response.status_code in (400, 404, 405)
    assert store.files.count(run) == 0
    assert not list(store.folder.rglob("up.txt"))


async def test_a_deleted_file_no_longer_exists(client: Client, store: Store, run: RunRow) -> None:
    store.files.add(run, "a.txt", b"x")
    (node,) = await listed(client)
    await client.ask(
        "mutation deleteFiles($files: [ID!]!, $projectId: Int)"
        "{deleteFiles(input:{files:$files, projectId:$projectId}){success}}",
        files=[node["id"]],
        projectId=1,
    )
    assert await listed(client) == []
    assert (await client.http.get(node["url"])).status_code == 404


async def test_uploads_are_confirmed(client: Client, store: Store, run: RunRow) -> None:
    mutation = (
        'mutation($f:[String!]!){markRunFilesUploaded(input:{entityName:"local",'
        'projectName:"demo",runName:"r1",files:$f}){success}}'
    )
    store.files.add(run, "a.txt", b"x")
    yes = await client.ask(mutation, f=["a.txt"])
    no = await client.ask(mutation, f=["a.txt", "b.txt"])
    assert yes["markRunFilesUploaded"]["success"] is True
    assert no["markRunFilesUploaded"]["success"] is False


async def test_a_leading_dot_does_not_make_another_name(
    client: Client, store: Store, run: RunRow
) -> None:
    store.files.add(run, "./a b.txt", b"1")
    assert [node["name"] for node in await listed(client, names=["./a b.txt"])] == ["a b.txt"]
    assert [node["name"] for node in await listed(client, names=["a b.txt"])] == ["a b.txt"]
