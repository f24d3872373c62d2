"""Everything that the schema has, tried by neighbours: none reads or changes what is not theirs.

The requests are made from the schema, so that new fields are tried as soon as they are there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from graphql import GraphQLObjectType

from aiowandb_server.access import Access
from aiowandb_server.graphql.context import Context
from aiowandb_server.graphql.execution import answer, load_schema
from aiowandb_server.links import Links
from tests.security.contents import Contents
from tests.security.neighbourhood import (
    HER_EMAIL,
    SECRET,
    Neighbourhood,
    as_nobodys,
)
from tests.security.schema_changes import Changes
from tests.security.schema_walk import Reader


class Person:
    """Somebody who sends requests, and what they have received."""

    def __init__(self, town: Neighbourhood, name: str) -> None:
        store = town.store
        user = store.accounts.user(name)
        assert user is not None
        links = Links(store.link_secret, "http://wandb.test", store.clock)
        access = Access(store, open_access=True)
        self._context = partial(Context, store, user, access, links, "parquet")
        self.received: list[tuple[str, str]] = []

    def send(self, query: str, variables: dict[str, Any]) -> Any:
        body = json.dumps({"query": query, "variables": variables})
        found = answer(body.encode(), self._context())
        self.received.append((body, found.body.decode()))
        return json.loads(found.body)


# Types that no answer has, with the reason.
UNREACHABLE = {
    "Organization": "not supported",
    "RampFeatureFlag": "of an organization",
    "LatestLocalVersionInfo": "always null",
    "UploadMultipartUrls": "always null",
    "UploadUrlPart": "always null",
}
# Fields whose answers say on purpose whether something exists.
TELLING = {
    "entity": "whether the name of a team is free",
    "users": "who has exactly this name, to invite them",
    "createInvite": "whether there is a user of this name",
    "createTeam": "whether the name of a team is free",
}


def read_all(town: Neighbourhood, reader: str, owners: Iterable[str]) -> tuple[Person, set[str]]:
    """Read all that can be reached with the names of these owners; gives the types that were."""
    person = Person(town, reader)
    types: set[str] = set()
    for owner in owners:
        found = Reader(load_schema(), town.owners[owner], person.send)
        found.read()
        types |= found.types
    return person, types


def leaks(town: Neighbourhood, person: Person, secrets: tuple[str, ...]) -> list[str]:
    """Queries whose answer has a secret in it that they do not have themselves."""
    return [
        sent
        for sent, received in person.received
        if any(secret in as_nobodys(town, town.owners, sent, received) for secret in secrets)
    ]


def test_a_member_of_her_team_reads_what_is_the_teams_and_nothing_of_hers(
    town: Neighbourhood,
) -> None:
    eve, types = read_all(town, "eve", ("ann", "crew"))
    assert leaks(town, eve, (SECRET,)) == []
    objects = {
        name
        for name, kind in load_schema().type_map.items()
        if isinstance(kind, GraphQLObjectType) and not name.startswith("__")
    }
    wrappers = ("Connection", "Edge", "Payload", "PageInfo", "Query", "Mutation", "Invite")
    assert {name for name in objects - types if not name.endswith(wrappers)} == set(UNREACHABLE)


def test_a_stranger_reads_nothing_of_hers_and_of_her_team(town: Neighbourhood) -> None:
    mal, _ = read_all(town, "mal", ("ann", "crew"))
    assert leaks(town, mal, (SECRET, HER_EMAIL, "crews")) == []


def test_queries_do_not_say_whether_something_of_hers_exists(town: Neighbourhood) -> None:
    mal, _ = read_all(town, "mal", ("ann",))
    nobody, _ = read_all(town, "mal", ("nobody",))
    sent, received = mal.received[0]
    asked, answered = (
        json.loads(as_nobodys(town, ["ann"], sent, text)) for text in (sent, received)
    )
    sent, received = nobody.received[0]
    assert json.loads(sent) == asked
    expected = json.loads(received)
    keys = re.findall(r"(f\d+): (\w+)", asked["query"])
    for key, name in keys:
        if name not in TELLING:
            assert answered["data"].get(key) == expected["data"].get(key), name
    assert [(error["message"], error["path"]) for error in answered["errors"]] == [
        (error["message"], error["path"]) for error in expected["errors"]
    ]


# Changes that she herself cannot make either, with the reason.
IMPOSSIBLE = {
    "acceptInvite": "she is a member of all that she has",
    "createInvite": "she would invite herself",
    "createTeam": "she has what is named like this already",
    "createUser": "only administrators can",
    "completeMultipartUploadArtifact": "no upload in parts is ever started",
}
HERS = {"ann", f"{SECRET}-team"}


@pytest.fixture
def contents(town: Neighbourhood) -> Iterator[Contents]:
    with closing(Contents(town.store.folder)) as contents:
        yield contents


def test_no_change_reaches_what_is_hers(town: Neighbourhood, contents: Contents) -> None:
    changes = Changes(load_schema(), town.owners)
    eve = Person(town, "eve")
    tried = 0
    for mutation in changes.fields:
        query = changes.query(mutation)
        for change in changes.of(mutation, ("ann", "eve")):
            if "ann" not in change.owners():
                continue
            tried += 1
            eve.send(query, changes.variables(change))
            changed = contents.undo()
            assert not any(contents.owners(row, changed) & HERS for row in changed), change
            eve.send(query, changes.variables(change.with_nobodys("ann")))
            contents.undo()
            (sent, received), (_, expected) = eve.received[-2:]
            received = as_nobodys(town, ["ann"], sent, received)
            assert SECRET not in received, change
            if mutation not in TELLING:
                assert unsigned(received) == unsigned(expected), change
    assert tried > len(changes.fields)


def test_she_herself_can_make_each_of_these_changes(
    town: Neighbourhood, contents: Contents
) -> None:
    changes = Changes(load_schema(), town.owners)
    ann = Person(town, "ann")
    impossible = set()
    for mutation in changes.fields:
        query = changes.query(mutation)
        for change in changes.of(mutation, ("ann",)):
            answer = ann.send(query, changes.variables(change))
            contents.undo()
            if "errors" not in answer:
                break
        else:
            impossible.add(mutation)
    assert impossible == set(IMPOSSIBLE)


def unsigned(answer: str) -> str:
    """The answer without the signatures of its links, which depend on their paths."""
    return re.sub("signature=[0-9a-f]{64}", "", answer)
