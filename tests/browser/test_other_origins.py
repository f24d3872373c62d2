"""Pages of other sites, opened by somebody who is logged in, read nothing and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext, Frame, Page, expect

from aiowandb_server import LoginLinks, RunChanges, Store, create_app, serve_in_thread
from aiowandb_server.gate import RequestGate
from aiowandb_server.graphql.scalars import encode_id
from tests.browser.conftest import LOOPBACK
from tests.browser.projects import PNG
from tests.security.contents import Contents

SECRET = "what nobody else may read"
ATTACK = (Path(__file__).parent / "attack.js").read_text(encoding="utf-8")
FILE = "/files/local/demo/r/image.png"
# With another document inside, whose origin is `null`.
_SANDBOX = "<iframe sandbox='allow-scripts allow-forms' srcdoc='<body></body>'></iframe>"


@dataclass(frozen=True)
class Target:
    """A server that accepts any key, so that only its rules for browsers protect it."""

    url: str
    app: RequestGate
    store: Store
    run: str

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    with Store.open(tmp_path / "data") as store:
        project, _ = store.projects.ensure("local", "demo")
        run, _ = store.runs.upsert(project, "r", RunChanges(display_name=SECRET, state="finished"))
        store.files.add(run, "image.png", PNG)
        app = create_app(store, open_access=True)
        with serve_in_thread(app) as url:
            yield Target(url, app, store, encode_id("Run", run.id))


@pytest.fixture
def context(
    target: Target, new_context: Callable[..., BrowserContext], complaints: list[str]
) -> Iterator[BrowserContext]:
    """A browser that is logged in, for which `/attack` of any host is a page of somebody else.

    Playwright answers preflights itself where it answers requests: the server receives even those
    that a browser would not send to it.
    """
    context = new_context()
    page = context.new_page()
    page.goto(LoginLinks(target.store.folder, target.store.clock).create(target.url))
    page.get_by_role("heading", name="Projects").wait_for()
    page.close()
    html = {"content_type": "text/html", "body": f"<!DOCTYPE html><body>{_SANDBOX}</body>"}
    context.route("**/attack", lambda route: route.fulfill(status=200, **html))
    yield context
    complaints.clear()  # the browser reports what it has refused


def attack(target: Target, place: Page | Frame) -> dict[str, str]:
    arguments = {"url": target.url, "run": target.run, "file": FILE}
    found: dict[str, str] = place.evaluate(ATTACK, arguments)
    return found


def is_logged_in(context: BrowserContext, target: Target) -> bool:
    page = context.new_page()
    page.goto(f"{target.url}/local/demo/runs/r")
    expect(page.get_by_text(SECRET).first).to_be_visible()
    page.close()
    return True


def test_a_page_of_the_server_itself_can_do_all_this(
    context: BrowserContext, target: Target
) -> None:
    with closing(Contents(target.store.folder)) as contents:
        page = context.new_page()
        page.goto(f"{target.url}/attack")
        seen = attack(target, page)
        assert contents.undo()
    assert SECRET in seen["read, both"]
    assert seen["write, key"].startswith("200")
    assert '"local"' in seen["session"]


@pytest.mark.parametrize("origin", ["another port", "another site", "another name", "null"])
def test_a_page_of_another_origin_reads_and_changes_nothing(
    context: BrowserContext, target: Target, origin: str
) -> None:
    hosts = {
        "another site": "evil.test",
        "another name": f"localhost:{target.port}",
    }
    page = context.new_page()
    page.goto(f"http://{hosts.get(origin, f'{LOOPBACK}:9')}/attack")
    place = page.frames[1] if origin == "null" else page
    refused = target.app.requests["refused"]
    with closing(Contents(target.store.folder)) as contents:
        seen = attack(target, place)
        assert contents.undo() == set()
    # What it could not see the answers of did arrive.
    assert target.app.requests["refused"] > refused + 20
    assert {name for name, text in seen.items() if not is_blind(text)} == set()
    assert is_logged_in(context, target)


def test_a_name_that_was_rebound_to_the_server_reads_and_changes_nothing(
    context: BrowserContext, target: Target
) -> None:
    """The page is of the same origin as the server's answers, and may read them."""
    page = context.new_page()
    page.goto(f"http://rebound.test:{target.port}/attack")
    rebound = Target(f"http://rebound.test:{target.port}", target.app, target.store, target.run)
    with closing(Contents(target.store.folder)) as contents:
        seen = attack(rebound, page)
        assert contents.undo() == set()
    assert "does not answer to the name" in seen["read, both"]
    readable = {
        name
        for name, text in seen.items()
        if not is_blind(text) and "does not answer to the name" not in text
    }
    assert readable == set()
    assert is_logged_in(context, target)


def test_a_server_at_another_port_uses_no_cookie_that_it_receives_and_plants_none(
    context: BrowserContext, target: Target
) -> None:
    """Browsers keep cookies for a host, with all its ports."""
    (cookie,) = context.cookies(f"http://{LOOPBACK}:9")
    received = {cookie["name"]: cookie["value"]}
    with httpx.Client(base_url=target.url, cookies=received) as http:
        assert http.get("/_pages/session").json() == {"user": None}
        assert http.post("/graphql", json={"query": "{ viewer { id } }"}).status_code == 401
    page = context.new_page()
    page.goto(f"{target.url}/local/demo/runs/r")
    expect(page.get_by_text(SECRET).first).to_be_visible()
    hers = httpx.post(f"{target.url}/_pages/login", json={"key": "mallory"}).cookies
    name, planted = cookie["name"], hers[cookie["name"]]
    context.add_cookies([{"name": name, "value": planted, "url": f"http://{LOOPBACK}:9"}])
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()
    page.goto(LoginLinks(target.store.folder, target.store.clock).create(target.url))
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    assert is_logged_in(context, target)


def is_blind(text: str) -> bool:
    """Whether this tells a page nothing: an opaque answer, an error, a frame of others."""
    opaque = "0 "
    return text in (opaque, "undefined", "true", "refused") or text.startswith("refused: ")
