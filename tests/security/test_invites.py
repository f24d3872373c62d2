"""Invitations: nobody is a member who has not accepted, and nobody learns who has which address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiowandb_server import Store
from tests.security.test_neighbours import Neighbour, users_of

pytestmark = pytest.mark.anyio

INVITE = """mutation($email: String, $name: String, $admin: Boolean) { createInvite(input:
    {entityName: "team", email: $email, username: $name, admin: $admin}) {
    invite { id name email createdAt toUser { name email } } } }"""
ACCEPT = 'mutation { acceptInvite(input: {entityName: "team"}) { success } }'
DELETE = 'mutation($id: String) { deleteInvite(input: {entityName: "team", id: $id}) { success } }'
MEMBERS = """{ entity(name: "team") { members {
    id username email name pending admin } } }"""
MINE = "{ invites { id entityName } viewer { teams { edges { node { name } } } } }"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "data", clock=lambda: 1_000_000_000.0) as store:
        for name in ("ann", "eve", "mal"):
            store.accounts.ensure_user(name, email=f"{name}@mail.example")
        yield store


@pytest.fixture
async def people(store: Store) -> AsyncIterator[dict[str, Neighbour]]:
    keys = {"ann": "ann", "eve": "eve", "mal": "mal", "root": "local"}
    async with users_of(store, keys) as users:
        yield users


@pytest.fixture
async def ann(people: dict[str, Neighbour]) -> Neighbour:
    """She has a team."""
    await people["ann"].send('mutation{createTeam(input:{teamName:"team"}){entity{name}}}')
    return people["ann"]


async def members(neighbour: Neighbour) -> dict[str, Any]:
    found = (await neighbour.send(MEMBERS))["data"]["entity"]["members"]
    return {member["name"]: member for member in found}


async def test_an_invitation_does_not_say_whether_somebody_has_the_address(
    ann: Neighbour, people: dict[str, Neighbour]
) -> None:
    answers = []
    for address in ("eve@mail.example", "nil@mail.example"):
        invite = (await ann.send(INVITE, email=address))["data"]["createInvite"]["invite"]
        assert invite.pop("id")
        answers.append(str(invite).replace(address, "ADDRESS"))
        (again,) = (await ann.send(INVITE, email=address))["errors"]
        answers.append(again["message"].replace(address, "ADDRESS"))
        query = "query($q: String) { users(query: $q) { edges { node { username } } } }"
        answers.append(str(await ann.send(query, q=address)))
        answers.append(str((await members(ann))[address] | {"id": ""}).replace(address, "ADDRESS"))
    assert answers[:4] == answers[4:]
    assert "eve" not in str(answers)


@pytest.mark.parametrize("invited", [{"email": "eve@mail.example"}, {"name": "eve"}])
async def test_who_is_invited_is_a_member_after_they_have_accepted(
    ann: Neighbour, people: dict[str, Neighbour], invited: dict[str, str]
) -> None:
    eve, mal = people["eve"], people["mal"]
    await ann.send(INVITE, admin=True, **invited)
    (name,) = invited.values()
    assert (await members(ann))[name]["pending"]
    assert (await eve.send(MEMBERS))["data"]["entity"] is None
    assert (await mal.send(MINE))["data"]["invites"] == []
    (error,) = (await mal.send(ACCEPT))["errors"]
    assert error["message"] == "you are not invited to 'team'"
    mine = (await eve.send(MINE))["data"]
    assert [invite["entityName"] for invite in mine["invites"]] == ["team"]
    assert len(mine["viewer"]["teams"]["edges"]) == 1
    assert (await eve.send(ACCEPT))["data"]["acceptInvite"] == {"success": True}
    found = (await members(eve))["eve"]
    assert (found["pending"], found["admin"]) == (False, True)
    assert (await eve.send(MINE))["data"]["invites"] == []
    (error,) = (await eve.send(ACCEPT))["errors"]
    assert error["message"] == "you are not invited to 'team'"
    (error,) = (await ann.send(INVITE, **invited))["errors"]
    assert "is a member of 'team' already" in error["message"]


async def test_invitations_are_taken_back_and_declined(
    ann: Neighbour, people: dict[str, Neighbour]
) -> None:
    eve = people["eve"]
    for whose in (ann, eve):
        invite = (await ann.send(INVITE, name="eve"))["data"]["createInvite"]["invite"]
        (error,) = (await people["mal"].send(DELETE, id=invite["id"]))["errors"]
        assert "not a member" in error["message"]
        assert (await whose.send(DELETE, id=invite["id"]))["data"]["deleteInvite"]["success"]
        assert "errors" in await eve.send(ACCEPT)


async def test_thousands_of_invitations_hide_no_other(
    ann: Neighbour, people: dict[str, Neighbour], store: Store
) -> None:
    eve = people["eve"]
    with store._database.write() as connection:
        numbers = [(number,) for number in range(100, 1100)]
        connection.executemany("INSERT INTO entity VALUES (?1, 'mal-' || ?1, 1, 0)", numbers)
        connection.executemany("INSERT INTO invite VALUES (NULL, ?, 'eve', 0, 0, 0)", numbers)
    await ann.send(INVITE, name="eve")
    query = "query($after: ID) { invites(after: $after) { id entityName } }"
    first = (await eve.send(query))["data"]["invites"]
    assert "team" not in {invite["entityName"] for invite in first}
    (invite,) = (await eve.send(query, after=first[-1]["id"]))["data"]["invites"]
    assert invite["entityName"] == "team"
    assert (await eve.send(DELETE, id=invite["id"]))["data"]["deleteInvite"]["success"]
    assert "errors" in await eve.send(ACCEPT)


async def test_whom_an_administrator_of_the_server_invites_is_a_member(
    ann: Neighbour, people: dict[str, Neighbour]
) -> None:
    await people["root"].send(INVITE, email="eve@mail.example")
    assert not (await members(ann))["eve"]["pending"]


async def test_a_team_is_not_created_for_others(people: dict[str, Neighbour]) -> None:
    create = """mutation($name: String) { createTeam(
        input: {teamName: "trap", teamAdminUserName: $name}) { entity { name } } }"""
    for name in ("eve", "nobody"):
        (error,) = (await people["mal"].send(create, name=name))["errors"]
        assert "only administrators can create teams for others" in error["message"]
    assert "errors" not in await people["mal"].send(create, name="mal")


async def test_who_leaves_a_team_goes_on_in_their_own_entity(
    ann: Neighbour, people: dict[str, Neighbour]
) -> None:
    eve = people["eve"]
    await ann.send(INVITE, name="eve")
    await eve.send(ACCEPT)
    await eve.send('mutation{updateUser(input:{defaultEntity:"team"}){user{entity}}}')
    create = 'mutation{upsertBucket(input:{name:"r",modelName:"p"}){bucket{project{entityName}}}}'
    made = (await eve.send(create))["data"]["upsertBucket"]["bucket"]
    assert made["project"]["entityName"] == "team"
    member = (await members(ann))["eve"]["id"]
    assert (await ann.send(DELETE, id=member))["data"]["deleteInvite"]["success"]
    made = (await eve.send(create))["data"]["upsertBucket"]["bucket"]
    assert made["project"]["entityName"] == "eve"
