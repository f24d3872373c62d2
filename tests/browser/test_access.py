"""How a browser logs in, and what its pages may do."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Site


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


def test_missing_objects_are_reported(page: Page, site: Site) -> None:
    for path in ("/local/none", "/local/demo/runs/none", "/local/search/sweeps/none"):
        page.goto(site.url + path)
        expect(page.get_by_role("alert")).to_contain_text("There is no")
