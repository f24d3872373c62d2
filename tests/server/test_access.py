"""Permissions: keys, open access, signed links."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from aiowandb_server import Store, create_app
from aiowandb_server.access import Access
from aiowandb_server.links import LIFETIME_S, Links
from tests.server.conftest import Client, Clock

pytestmark = pytest.mark.anyio
VIEWER = "{viewer{username entity}}"


def basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"api:{key}".encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        b"Basic \x80\x81",
        None,
        "",
        "Basic",
        "Basic ???",
        "Basic YXBpOg==",
        "Digest x",
        basic("0" * 40),
        "Bearer x",
    ],
)
async def test_without_a_valid_key_nothing_can_be_read_or_written(
    client: Client, authorization: str | bytes | None
) -> None:
    given = authorization.encode() if isinstance(authorization, str) else authorization
    headers = {} if given is None else {b"Authorization": given}
    for path in ("/graphql", "/files/local/demo/r1/file_stream"):
        response = await client.keyless.post(path, json={"query": VIEWER}, headers=headers)
        assert response.status_code == 401
        assert response.json()["errors"][0]["message"] == "user is not logged in"


async def test_a_key_may_come_as_basic_or_bearer(client: Client, store: Store) -> None:
    for header in (basic(store.local_key), f"Bearer {store.local_key}"):
        response = await client.keyless.post(
            "/graphql", json={"query": VIEWER}, headers={"Authorization": header}
        )
        assert response.json()["data"]["viewer"]["username"] == "local"


async def test_keys_given_at_the_start_belong_to_the_local_user(store: Store) -> None:
    user = Access(store, keys=["k" * 40]).user(basic("k" * 40))
    assert user is not None
    assert user.username == "local"
    assert Access(store).user(basic("k" * 40)) is None, "they are not stored"


async def test_open_access_makes_users_at_first_sight(store: Store) -> None:
    access = Access(store, open_access=True)
    ann = access.user(basic("ann"))
    assert ann is not None
    assert (ann.username, ann.entity, ann.is_admin) == ("ann", "ann", False)
    assert access.user(basic("ann")) == ann
    assert all(access.user(basic(name)) is None for name in ("../etc", ".", ".."))
    assert [key.hint for key in access.keys(ann)] == ["ann"]
    assert store.accounts.user_of_key("ann") is None, "with real keys it is none"
    assert access.user(basic(store.local_key)).username == "local"  # type: ignore[union-attr]


async def test_users_do_not_see_each_other(store: Store) -> None:
    store.accounts.ensure_user("bob")
    project, _ = store.projects.ensure("bob", "secret")
    store.runs.upsert(project, "r")
    app = create_app(store, open_access=True)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://x", auth=("api", "ann")
    ) as http:

        async def ask(query: str) -> httpx.Response:
            return await http.post("/graphql", json={"query": query})

        read = await ask('{project(name:"secret", entityName:"bob"){name}}')
        assert read.json() == {"data": {"project": None}}
        write = await ask(
            'mutation{upsertBucket(input:{name:"r",modelName:"secret",entityName:"bob"}){inserted}}'
        )
        assert write.status_code == 403
        stream = await http.post("/files/bob/secret/r/file_stream", json={})
        assert stream.status_code == 403
        assert (await http.get("/files/bob/secret/r/config.yaml")).status_code == 403


async def test_a_generated_key_works_until_it_is_deleted(client: Client, store: Store) -> None:
    answer = await client.ask(
        'mutation{generateApiKey(input:{description:"ci"}){apiKey{id name description}}}'
    )
    made = answer["generateApiKey"]["apiKey"]
    assert Access(store).user(basic(made["name"])) is not None
    listed = await client.ask("{viewer{apiKeys{edges{node{name description}}}}}")
    assert listed["viewer"]["apiKeys"]["edges"][-1]["node"] == {
        "name": made["name"][:6],
        "description": "ci",
    }
    await client.ask("mutation($id:String!){deleteApiKey(input:{id:$id}){success}}", id=made["id"])
    assert Access(store).user(basic(made["name"])) is None


async def test_two_keys_that_are_generated_at_once_have_their_own_ids(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_key = store.accounts.add_key

    def add_two(user_id: int, *more: str, **description: Any) -> str:
        key = add_key(user_id, *more, **description)
        add_key(user_id)
        return key

    monkeypatch.setattr(store.accounts, "add_key", add_two)
    made = (await client.ask("mutation{generateApiKey(input:{}){apiKey{id name}}}"))[
        "generateApiKey"
    ]["apiKey"]
    await client.ask("mutation($id:String!){deleteApiKey(input:{id:$id}){success}}", id=made["id"])
    assert Access(store).user(basic(made["name"])) is None


class TestLinks:
    @pytest.fixture
    def links(self, clock: Clock) -> Links:
        return Links(b"secret", "http://host/base", clock)

    def query(self, url: str) -> dict[str, str]:
        return dict(httpx.URL(url).params)

    def test_a_link_allows_its_method_and_path_only(self, links: Links) -> None:
        url = links.download("/files/a b/ü.txt")
        assert url.startswith("http://host/base/files/a%20b/%C3%BC.txt?")
        query = self.query(url)
        assert links.allows("GET", "/files/a b/ü.txt", query)
        assert links.allows("HEAD", "/files/a b/ü.txt", query)
        assert not links.allows("PUT", "/files/a b/ü.txt", query)
        assert not links.allows("GET", "/files/other", query)

    def test_a_link_expires(self, links: Links, clock: Clock) -> None:
        query = self.query(links.upload("/x"))
        clock.now += LIFETIME_S
        assert links.allows("PUT", "/x", query)
        clock.now += 1
        assert not links.allows("PUT", "/x", query)

    def test_a_link_cannot_be_made_to_last(self, links: Links, clock: Clock) -> None:
        query = self.query(links.download("/x"))
        assert not links.allows("GET", "/x", {**query, "expires": str(int(clock.now) + 10**6)})
        assert not links.allows("GET", "/x", {"expires": "²", "signature": "x"})
        assert not links.allows("GET", "/x", {})

    def test_a_line_break_in_a_path_does_not_make_it_a_link_to_another(self, links: Links) -> None:
        query = self.query(links.download("/x\ny", 5))
        assert links.allows("GET", "/x\ny", query)
        assert not links.allows("GET", "/x", {**query, "id": "y\n5"})
        assert not links.allows("GET", "/x\ny\n5", {**query, "id": ""})

    def test_another_store_does_not_accept_it(self, links: Links, clock: Clock) -> None:
        query = self.query(links.download("/x"))
        assert not Links(b"other", "http://host", clock).allows("GET", "/x", query)
