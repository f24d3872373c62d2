"""A real browser before a real server; `nox -s pages` runs these tests.

Each test has a browser profile of its own, and fails if a page reports an error or a breach of its
Content-Security-Policy, whatever else it looks at.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aiowandb_server import LoginLinks, Store, create_app, serve_in_thread
from tests.browser.projects import RunId, build_projects

try:
    from playwright.sync_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Page,
        expect,
        sync_playwright,
    )
except ModuleNotFoundError:
    collect_ignore_glob = ["test_*.py"]

# What takes longer than this on a busy machine is stuck.
TIMEOUT_MS = 30_000
LOOPBACK = "127.0.0.1"
# A page of any site reaches this machine, as in browsers that do not ask first.
_NO_OTHER_WALLS = [
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,"
    "PrivateNetworkAccessSendPreflights,PrivateNetworkAccessRespectPreflightResults"
]
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Site:
    """A running server, what it serves, and links into it."""

    url: str
    store: Store
    run: RunId

    def link(self, path: str) -> str:
        """An address that logs in whoever opens it first."""
        return LoginLinks(self.store.folder, self.store.clock).create(self.url, path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Store.open(tmp_path_factory.mktemp("site")) as store:
        run = build_projects(store)
        with serve_in_thread(create_app(store)) as url:
            yield Site(url, store, run)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.fail("no Chromium is installed: apt-get install chromium, or set CHROMIUM")
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        # CI is root, where Chromium has no sandbox.
        browser = playwright.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", f"--host-resolver-rules=MAP *.test {LOOPBACK}", *_NO_OTHER_WALLS],
        )
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the pages of this test have complained about."""
    return []


@pytest.fixture
def new_context(browser: Browser, complaints: list[str]) -> Iterator[Callable[..., BrowserContext]]:
    """Makes browser profiles, which are closed in the end."""
    contexts: list[BrowserContext] = []

    def hear(message: ConsoleMessage) -> None:
        # Browsers report each answer that is an error, such as "not logged in" before the form.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def make(**options: Any) -> BrowserContext:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        context.set_default_timeout(TIMEOUT_MS)
        context.on("console", hear)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(new_context: Callable[..., BrowserContext], site: Site) -> Page:
    """A tab that is logged in."""
    page = new_context().new_page()
    page.goto(site.link("/"))
    page.get_by_role("heading", name="Projects").wait_for()
    return page
