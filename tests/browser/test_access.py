"""How a browser logs in, and what its pages may do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, expect

from aiowandb_server import Store, create_app, serve_in_thread
from tests.browser.conftest import Site
from tests.security.neighbourhood import build_neighbourhood


def test_a_printed_link_opens_the_page_and_leaves_no_token_behind(page: Page, site: Site) -> None:
    page.goto(site.link("/local/demo/runs/r0"))
    expect(page.get_by_role("heading", name="run number 0")).to_be_visible()
    assert page.url == f"{site.url}/local/demo/runs/r0"
    assert page.evaluate("document.cookie") == ""


def test_without_a_link_the_page_asks_for_the_key(
    new_context: Callable[..., BrowserContext], site: Site
) -> None:
    page = new_context().new_page()
    page.goto(f"{site.url}/local/demo")
    page.get_by_label("API key").fill("0" * 40)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not a valid API key")
    page.get_by_label("API key").fill(site.store.local_key)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("link", name="run number 0")).to_be_visible()


def test_logging_out_shows_the_form(page: Page) -> None:
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_no_script_can_make_markup_of_text_and_none_can_be_injected(
    page: Page, complaints: list[str]
) -> None:
    for attempt in (
        "document.body.innerHTML = '<b>x</b>'",
        "document.write('<b>x</b>')",
        "new DOMParser().parseFromString('<b>x</b>', 'text/html')",
        "document.createElement('img').setAttribute('onerror', 'window.hacked = 1')",
        "document.createElement('script').text = 'window.hacked = 1'",
        "document.createElement('script').src = '/_pages/app.js'",
    ):
        refused = f"() => {{ try {{ {attempt}; return false }} catch (e) {{ return e.name }} }}"
        assert page.evaluate(refused) == "TypeError", attempt
    assert complaints, "the browser reports what it has refused"
    complaints.clear()


def test_a_version_that_was_lent_to_a_team_is_shown_without_a_link(
    new_context: Callable[..., BrowserContext], tmp_path: Path
) -> None:
    with Store.open(tmp_path / "town") as store:
        build_neighbourhood(store)
        project = store.projects.get("crew", "crew-project")
        assert project is not None
        run = store.runs.get(project, "crew-run")
        portfolio = store.collections.get(project.id, "crew-portfolio")
        assert run is not None
        assert portfolio is not None
        lent = store.collections.membership(portfolio.id, "borrowed")
        assert lent is not None
        version = store.artifacts.by_id(lent.artifact_id)
        assert version is not None
        store.artifacts.use(run, version)
        with serve_in_thread(create_app(store, open_access=True)) as url:
            page = new_context().new_page()
            page.goto(f"{url}/crew/crew-project/runs/crew-run/artifacts")
            page.get_by_label("API key").fill("eve")
            page.keyboard.press("Enter")
            expect(page.get_by_role("cell", name="lent:v0")).to_be_visible()
            expect(page.get_by_role("link", name="lent:v0")).to_have_count(0)
            expect(page.get_by_role("link", name="crew-data:v0").first).to_be_visible()


def test_missing_objects_are_reported(page: Page, site: Site) -> None:
    for path in ("/local/none", "/local/demo/runs/none", "/local/search/sweeps/none"):
        page.goto(site.url + path)
        expect(page.get_by_role("alert")).to_contain_text("There is no")
