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
from aiowandb_server.graphql.scalars import encode_id
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


async def log_in(http: httpx.AsyncClient, **proof: str) -> httpx.Response:
    """Log in as a page does, which keeps the CSRF token that it is given."""
    answer = await http.post("/_pages/login", json=proof)
    if answer.is_success:
        http.headers["X-CSRF-Token"] = answer.json()["csrf"]
    return answer


def token(store: Store) -> str:
    """The token of a new link."""
    opened = LoginLinks(store.folder, store.clock).create(HOME, "/local/demo/runs/r1")
    address, token = opened.split("?token=")
    assert address == f"{HOME}/local/demo/runs/r1"
    return token


async def test_a_link_logs_in_once(store: Store) -> None:
    opened = token(store)
    async with browser(store) as http:
        for method in ("HEAD", "GET"):  # what merely looks at the address uses up nothing
            assert (await http.request(method, f"/?token={opened}")).status_code == 200
        assert not http.cookies
        cookie = (await log_in(http, token=opened)).headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await http.get("/_pages/session")).json()["user"] == "local"
    async with browser(store) as http:
        second = await log_in(http, token=opened)
        assert second.status_code == 401
        assert "has been used" in second.json()["error"]
        assert (await http.get("/_pages/session")).status_code == 401


async def test_a_link_expires(store: Store, clock: Clock) -> None:
    opened = token(store)
    clock.now += login_links.LIFETIME_S + 1
    async with browser(store) as http:
        assert (await log_in(http, token=opened)).status_code == 401


async def test_unused_links_are_removed_once_they_have_expired(store: Store, clock: Clock) -> None:
    token(store)
    clock.now += login_links.LIFETIME_S + 1
    token(store)
    assert len(list((store.folder / "login-links").iterdir())) == 1


@pytest.mark.parametrize("token", ["", "x", "../local-key", "%2e%2e%2flocal-key", "a" * 32])
async def test_an_invalid_token_does_not_log_in(store: Store, token: str) -> None:
    async with browser(store) as http:
        assert (await log_in(http, token=token)).status_code in (400, 401)
        assert not http.cookies
    assert (store.folder / "local-key").exists()


async def test_the_key_logs_in_and_a_wrong_one_does_not(store: Store) -> None:
    async with browser(store) as http:
        assert (await log_in(http, key="0" * 40)).status_code == 401
        assert (await http.get("/_pages/session")).status_code == 401
        await log_in(http, key=store.local_key)
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
        await log_in(http, key=store.local_key)
        answer = await http.post("/graphql", json=VIEWER)
        assert answer.json()["data"]["viewer"]["username"] == "local"
        body = {"query": query % encode_id("Run", run.id)}
        genuine = http.headers.pop("X-CSRF-Token")
        for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 43}):
            assert (await http.post("/graphql", json=body, headers=headers)).status_code == 401
            # The servers at other ports of a host receive the cookie, too.
            for path in ("/_pages/session", "/_pages/filter?text=x"):
                answer = await http.get(path, headers=headers)
                assert answer.status_code == 401
                assert genuine not in answer.text
        assert store.runs.by_id(run.id).notes is None  # type: ignore[union-attr]
        saved = await http.post("/graphql", json=body, headers={"X-CSRF-Token": genuine})
        assert saved.status_code == 200
        assert store.runs.by_id(run.id).notes == "changed"  # type: ignore[union-attr]


async def test_the_cookie_opens_the_api_for_pages_only(store: Store, run: RunRow) -> None:
    async with browser(store) as http:
        await log_in(http, key=store.local_key)
        path = "/files/local/demo/r1"
        assert (await http.post(f"{path}/file_stream", json={})).status_code == 401
        assert (await http.put(f"{path}/a.txt", content=b"")).status_code == 401
        assert (await http.get(f"{path}/a.txt")).status_code == 401


async def test_logging_out_ends_the_session(store: Store) -> None:
    async with browser(store) as http:
        await log_in(http, key=store.local_key)
        cookies = dict(http.cookies)
        forged = {"X-CSRF-Token": "0" * 43}
        assert (await http.post("/_pages/logout", headers=forged)).status_code == 401
        assert (await http.get("/_pages/session")).status_code == 200
        assert (await http.post("/_pages/logout")).status_code == 200
        http.cookies.update(cookies)
        assert (await http.get("/_pages/session")).status_code == 401


async def test_a_session_ends_with_its_time_and_with_its_key(store: Store, clock: Clock) -> None:
    local = store.accounts.user("local")
    assert local is not None
    key = store.accounts.add_key(local.id)
    async with browser(store) as http:
        await log_in(http, key=key)
        assert (await http.get("/_pages/session")).status_code == 200
        store.accounts.delete_key(local.id, store.accounts.keys(local.id)[-1].id)
        assert (await http.get("/_pages/session")).status_code == 401
        await log_in(http, key=store.local_key)
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


def test_the_pages_have_under_82_kilobytes_and_load_nothing_from_other_hosts() -> None:
    files = {file.name: file.read_text(encoding="utf-8") for file in STATIC.iterdir()}
    ours = [text for name, text in files.items() if name.endswith((".js", ".css"))]
    assert sum(len(text.encode()) for text in ours) < 82_000
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
        await log_in(http, key=store.local_key)
        found = await http.get("/_pages/filter", params={"text": "config.lr > 0.1"})
        assert found.json() == {"filters": {"config.lr": {"$gt": 0.1}}}
        wrong = await http.get("/_pages/filter", params={"text": "state = 1"})
        assert wrong.status_code == 400
        assert "column 7" in wrong.json()["error"]
