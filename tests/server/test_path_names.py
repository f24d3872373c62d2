"""No project and no run has a name that a link to its files would not lead to."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from aiowandb_server.store.records import RunRow
from tests.server.conftest import Client

pytestmark = pytest.mark.anyio

PROJECT = "mutation($name: String) { upsertModel(input: {name: $name}) { project { name } } }"
RUN = """mutation($name: String) {
    upsertBucket(input: {name: $name, modelName: "demo"}) { bucket { name } } }"""
UPLOAD = """mutation($name: String!) { createRunFiles(input:
    {runName: $name, projectName: "demo", files: ["a.txt"]}) { files { uploadUrl } } }"""
FILES = """query($name: String!) { project(name: "demo") { run(name: $name) {
    files { edges { node { url } } } } } }"""


@pytest.mark.parametrize("mutation", [PROJECT, RUN])
@pytest.mark.parametrize("name", ["..", "a/b"])
async def test_a_name_that_leads_to_another_path_is_refused(
    client: Client, run: RunRow, mutation: str, name: str
) -> None:
    status, message = await client.refusal(mutation, name=name)
    assert status == 400
    assert f"{name!r} is not a valid" in message
    assert "name: 1 to" in message


@pytest.mark.parametrize("name", ["a b?c#d%41:e", "é\\\n."])
async def test_links_lead_to_the_files_of_any_other_run(
    client: Client, run: RunRow, name: str
) -> None:
    async def ask(query: str) -> Any:
        return await client.ask(query, name=name)

    await ask(RUN)
    ((file,),) = [(await ask(UPLOAD))["createRunFiles"]["files"]]
    async with httpx.AsyncClient(transport=client.http._transport) as keyless:
        assert (await keyless.put(file["uploadUrl"], content=name.encode())).status_code == 200
        (edge,) = (await ask(FILES))["project"]["run"]["files"]["edges"]
        assert (await keyless.get(edge["node"]["url"])).content == name.encode()
