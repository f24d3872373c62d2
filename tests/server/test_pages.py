"""Access to the web pages, without a browser: links, cookies, CSRF, and what scripts may do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import httpx
import pytest

from aiowandb_server import LoginLinks, Store, create_app
from aiowandb_server.pages import login_links, sessions
from aiowandb_server.store.records import RunRow
from tests.server.conftest import Clock

pytestmark = pytest.mark.anyio
HOME = "http://127.0.0.1:8080"
VIEWER = {"query": "{viewer{username}}"}
STATIC = resources.files("aiowandb_server.pages") / "static"


@asynccontextmanager
async def browser(store: Store, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client that keeps cookies, at the application's own address."""
    transport = httpx.ASGITransport(app=create_app(store, **options))
    async with httpx.AsyncClient(transport=transport, base_url=HOME) as http:
        yield http


async def csrf(http: httpx.AsyncClient) -> dict[str, str]:
    return {"X-CSRF-Token": (await http.get("/_pages/session")).json()["csrf"]}


async def log_in(http: httpx.AsyncClient, store: Store) -> None:
    assert (await http.post("/_pages/login", json={"key": store.local_key})).status_code == 200


def link(store: Store, path: str = "/") -> str:
    return LoginLinks(store.folder, store.clock).create(HOME, path)


async def test_a_link_sets_a_cookie_once_and_disappears_from_the_address(store: Store) -> None:
    opened = link(store, "/local/demo/runs/r1")
    async with browser(store) as http:
        first = await http.get(opened)
        assert first.status_code == 303
        assert first.headers["location"] == "/local/demo/runs/r1"
        cookie = first.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await http.get("/_pages/session")).json()["user"] == "local"
    async with browser(store) as http:
        second = await http.get(opened)
        assert second.status_code == 303
        assert "set-cookie" not in second.headers
        assert (await http.get("/_pages/session")).status_code == 401


async def test_a_link_expires(store: Store, clock: Clock) -> None:
    opened = link(store)
    clock.now += login_links.LIFETIME_S + 1
    async with browser(store) as http:
        assert "set-cookie" not in (await http.get(opened)).headers


async def test_unused_links_are_removed_once_they_have_expired(store: Store, clock: Clock) -> None:
    link(store)
    clock.now += login_links.LIFETIME_S + 1
    link(store)
    assert len(list((store.folder / "login-links").iterdir())) == 1


@pytest.mark.parametrize("token", ["", "x", "../local-key", "%2e%2e%2flocal-key", "a" * 32])
async def test_an_invalid_token_does_not_log_in(store: Store, token: str) -> None:
    async with browser(store) as http:
        assert "set-cookie" not in (await http.get(f"/?token={token}")).headers
    assert (store.folder / "local-key").exists()


async def test_a_redirect_stays_on_this_host(store: Store) -> None:
    async with browser(store) as http:
        response = await http.get("/x/y/runs//evil.example?token=x")
        assert response.headers["location"].startswith("/x/")
        response = await http.get(f"{HOME}//evil.example/p?token=x")
        assert not response.headers.get("location", "/").startswith("//")


async def test_the_key_logs_in_and_a_wrong_one_does_not(store: Store) -> None:
    async with browser(store) as http:
        assert (await http.post("/_pages/login", json={"key": "0" * 40})).status_code == 401
        assert (await http.get("/_pages/session")).status_code == 401
        await log_in(http, store)
        assert (await http.get("/_pages/session")).json()["user"] == "local"


async def test_a_form_of_another_page_cannot_log_in(store: Store) -> None:
    async with browser(store) as http:
        form = await http.post("/_pages/login", data={"key": store.local_key})
        assert form.status_code == 415
        foreign = {"Origin": "http://evil.example"}
        body = {"key": store.local_key}
        assert (await http.post("/_pages/login", json=body, headers=foreign)).status_code == 403
        assert not http.cookies


async def test_a_request_with_the_cookie_needs_the_csrf_token(store: Store, run: RunRow) -> None:
    query = 'mutation{upsertBucket(input:{id:"%s",notes:"changed"}){inserted}}'
    async with browser(store) as http:
        await log_in(http, store)
        for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 43}):
            response = await http.post("/graphql", json=VIEWER, headers=headers)
            assert response.status_code == 403
            assert "CSRF" in response.json()["errors"][0]["message"]
        answer = await http.post("/graphql", json=VIEWER, headers=await csrf(http))
        assert answer.json()["data"]["viewer"]["username"] == "local"
        storage_id = (
            await http.post(
                "/graphql",
                json={"query": '{project(name:"demo",entityName:"local"){run(name:"r1"){id}}}'},
                headers=await csrf(http),
            )
        ).json()["data"]["project"]["run"]["id"]
        body = {"query": query % storage_id}
        assert (await http.post("/graphql", json=body)).status_code == 403
        assert store.runs.by_id(run.id).notes is None  # type: ignore[union-attr]
        saved = await http.post("/graphql", json=body, headers=await csrf(http))
        assert saved.status_code == 200
        assert store.runs.by_id(run.id).notes == "changed"  # type: ignore[union-attr]


async def test_the_cookie_opens_the_api_for_pages_only(store: Store, run: RunRow) -> None:
    async with browser(store) as http:
        await log_in(http, store)
        headers = await csrf(http)
        path = "/files/local/demo/r1"
        assert (await http.post(f"{path}/file_stream", json={}, headers=headers)).status_code == 401
        assert (await http.put(f"{path}/a.txt", content=b"", headers=headers)).status_code == 401
        assert (await http.get(f"{path}/a.txt")).status_code == 401


async def test_logging_out_ends_the_session(store: Store) -> None:
    async with browser(store) as http:
        await log_in(http, store)
        cookies = dict(http.cookies)
        assert (await http.post("/_pages/logout")).status_code == 403
        headers = await csrf(http)
        assert (await http.post("/_pages/logout", headers=headers)).status_code == 200
        http.cookies.update(cookies)
        assert (await http.get("/_pages/session")).status_code == 401


async def test_a_session_ends_with_its_time_and_with_its_key(store: Store, clock: Clock) -> None:
    local = store.accounts.user("local")
    assert local is not None
    key = store.accounts.add_key(local.id)
    async with browser(store) as http:
        await http.post("/_pages/login", json={"key": key})
        assert (await http.get("/_pages/session")).status_code == 200
        store.accounts.delete_key(local.id, store.accounts.keys(local.id)[-1].id)
        assert (await http.get("/_pages/session")).status_code == 401
        await log_in(http, store)
        clock.now += sessions.LIFETIME_S + 1
        http_cookies = dict(http.cookies)
        assert http_cookies
        assert (await http.get("/_pages/session")).status_code == 401


async def test_pages_allow_no_script_but_their_own_files(store: Store) -> None:
    async with browser(store) as http:
        for path in ("/", "/local", "/local/demo", "/local/demo/runs/r1", "/_pages/app.js"):
            response = await http.get(path)
            assert response.status_code == 200
            policy = dict(
                part.strip().partition(" ")[::2]
                for part in response.headers["content-security-policy"].split(";")
            )
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == "'self'"
            assert policy["require-trusted-types-for"] == "'script'"
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["x-frame-options"] == "DENY"


async def test_the_html_does_not_depend_on_the_path_or_the_data(store: Store) -> None:
    async with browser(store) as http:
        plain = (await http.get("/")).text
        hostile = (await http.get("/<script>alert(1)<script>/%22%3E")).text
        assert hostile == plain
    assert not re.search(r"\son\w+=|style=|javascript:", plain)
    assert re.findall(r"<script[^>]*>(.*?)</script>", plain) == [""]


def test_the_scripts_never_turn_text_into_markup() -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    for file in STATIC.iterdir():
        assert not re.search(sinks, file.read_text(encoding="utf-8")), file.name


def test_the_pages_have_under_80_kilobytes_and_load_nothing_from_other_hosts() -> None:
    files = {file.name: file.read_text(encoding="utf-8") for file in STATIC.iterdir()}
    ours = [text for name, text in files.items() if name.endswith((".js", ".css"))]
    assert sum(len(text.encode()) for text in ours) < 80_000
    allowed = ("http://www.w3.org/2000/svg", "http://x")
    for name, text in files.items():
        for address in re.findall(r"https?://[\w./]+", text):
            assert address in allowed, f"{name}: {address}"


async def test_without_pages_there_is_only_the_api(store: Store) -> None:
    async with browser(store, pages=False) as http:
        for path in ("/", "/local/demo/runs/r1", "/_pages/app.js", "/_pages/session"):
            assert (await http.get(path)).status_code == 404
        assert (await http.get("/healthz")).text == "ok"


async def test_an_unknown_page_is_not_found(store: Store) -> None:
    async with browser(store) as http:
        for path in ("/favicon.ico", "/a/b/nothing/c", "/_pages/none.js", "/_pages/%2e%2e"):
            assert (await http.get(path)).status_code == 404


async def test_a_filter_is_read_and_a_mistake_is_pointed_at(store: Store) -> None:
    async with browser(store) as http:
        assert (await http.get("/_pages/filter", params={"text": "x > 1"})).status_code == 401
        await log_in(http, store)
        found = await http.get("/_pages/filter", params={"text": "config.lr > 0.1"})
        assert found.json() == {"filters": {"config.lr": {"$gt": 0.1}}}
        wrong = await http.get("/_pages/filter", params={"text": "state = 1"})
        assert wrong.status_code == 400
        assert "column 7" in wrong.json()["error"]
