"""Every route of the server, tried with the names of what belongs to somebody else.

The routes are those of the application, so that a new one is tried as soon as it is there.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from starlette.routing import Route

from aiowandb_server import create_app
from aiowandb_server.gate import RequestGate
from aiowandb_server.graphql.scalars import row_id
from aiowandb_server.links import Links
from tests.security.contents import Contents
from tests.security.neighbourhood import SECRET, Neighbourhood, as_nobodys

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
# Those whose answers are contents; the other routes are pages without any data, and the API.
CONTENTS = (
    "/files/",
    "/exports/",
    "/wandb_artifacts/",
    "/artifacts/",
    "/artifactsV2/",
    "/manifests/",
)
# The name of the file, if it is not one of a run.
_NAMES = {"/_pages/{name}": "app.js"}


@pytest.fixture
def app(town: Neighbourhood) -> RequestGate:
    return create_app(town.store, open_access=True)


@pytest.fixture
async def http(app: RequestGate) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://wandb.test"
    ) as http:
        yield http


def paths(town: Neighbourhood, app: RequestGate, owner: str) -> dict[str, str]:
    """The path of every route, with the names of this owner."""
    names, ids = town.owners[owner].names, town.owners[owner].ids
    text = {"ann": SECRET, "eve": "eves"}.get(owner, owner)
    content = hashlib.md5(f"content of {text}".encode()).hexdigest()
    values = {
        "entity": names["entity"],
        "project": names["project"],
        "run": names["run"],
        "name": names["file"],
        "token": _token(town, owner),
        "digest": content,
        "manifest": str(row_id("Manifest", ids["Manifest"])),
        "region": "any",
        "place": "any",
        "kind": "runs",
        "rest": names["run"],
    }
    routes: list[Route] = vars(app)["_app"].routes
    return {
        route.path: re.sub(
            r"\{(\w+)(:\w+)?\}",
            lambda found: _NAMES.get(found.string, values[found[1]]),
            route.path,
        )
        for route in routes
    }


def _token(town: Neighbourhood, owner: str) -> str:
    """That of the Parquet file of the owner's run."""
    names, store = town.owners[owner].names, town.store
    project = store.projects.get(names["entity"], names["project"])
    run = store.runs.get(project, names["run"]) if project else None
    if run is None:
        return "0" * 32
    store.finish(run)
    finished = store.runs.by_id(run.id)
    assert finished is not None
    (token,) = store.history.exported(finished, "parquet").tokens
    return token


def basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"api:{key}".encode()).decode()}


def files(town: Neighbourhood) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in town.store.folder.rglob("*")
        if path.is_file() and "sqlite" not in path.name
    }


@pytest.mark.anyio
async def test_no_route_gives_or_changes_what_is_hers(
    town: Neighbourhood, app: RequestGate, http: httpx.AsyncClient
) -> None:
    hers, missing = (paths(town, app, owner) for owner in ("ann", "nobody"))
    before = files(town)
    with closing(Contents(town.store.folder)) as contents:
        for route, path in hers.items():
            for method in METHODS:
                for headers in (basic("eve"), {}):
                    answer = await http.request(method, path, headers=headers, content=b"{}")
                    other = await http.request(
                        method, missing[route], headers=headers, content=b"{}"
                    )
                    assert SECRET.encode() not in answer.content, (method, path)
                    assert contents.undo() == set(), (method, path)
                    assert answer.status_code == other.status_code, (method, path)
                    assert as_nobodys(town, ["ann"], path, answer.text) == other.text, (
                        method,
                        path,
                    )
                    if path.startswith(CONTENTS):
                        assert answer.status_code in (401, 403, 404, 405), (method, path)
    assert files(town) == before


@pytest.mark.anyio
async def test_a_link_to_what_is_ones_own_opens_nothing_of_hers(
    town: Neighbourhood, app: RequestGate, http: httpx.AsyncClient
) -> None:
    links = Links(town.store.link_secret, "http://wandb.test", town.store.clock)
    hers, own = (paths(town, app, owner) for owner in ("ann", "eve"))
    before = files(town)
    opened = set()
    for route, path in hers.items():
        if not path.startswith(CONTENTS):
            continue
        answer = await http.get(links.download(path))
        if answer.status_code == 200:
            opened.add(route)
        for sign in (links.download, links.upload):
            for number in (None, 1, 3):
                query = httpx.URL(sign(own[route], number)).query.decode()
                for method in METHODS:
                    answer = await http.request(method, f"{path}?{query}", content=b"{}")
                    assert answer.status_code in (401, 403, 404, 405), (method, path)
                    assert SECRET.encode() not in answer.content
    assert files(town) == before
    with_content = {route for route in hers if route.startswith(CONTENTS)}
    assert with_content - opened == {"/files/{entity}/{project}/{run}/file_stream"}
