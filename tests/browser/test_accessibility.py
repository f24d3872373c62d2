"""axe finds nothing on the pages, in light and in dark mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Site

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def check(page: Page) -> None:
    page.locator("main[aria-busy=false]").wait_for()
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    new_context: Callable[..., BrowserContext], site: Site, scheme: str
) -> None:
    page = new_context(color_scheme=scheme).new_page()
    page.goto(f"{site.url}/local/demo")
    page.get_by_label("API key").wait_for()
    check(page)
    page.goto(site.link("/"))
    sweep = site.store.sweeps.page(site.store.projects.get("local", "search"), first=1)  # type: ignore[arg-type]
    for path in (
        "/",
        "/local/demo",
        "/local/demo/runs/r0",
        "/local/demo/runs/r0/system",
        "/local/demo/runs/r0/logs",
        "/local/demo/runs/r0/files",
        "/local/demo/runs/r0/artifacts",
        f"/local/search/sweeps/{sweep.items[0].name}",
        "/local/demo/artifacts",
    ):
        page.goto(site.url + path)
        page.get_by_role("heading").first.wait_for()
        check(page)


def test_a_page_is_used_by_keyboard_alone(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/local/demo")
    expect(page.get_by_role("link", name="run number 0")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("Tab")  # the tabs of the project
    page.keyboard.press("Tab")
    expect(page.get_by_label("Filter runs")).to_be_focused()
    page.keyboard.type("config.lr == 1")
    page.keyboard.press("Enter")
    expect(page.get_by_text("runs 1 to 1 of 1")).to_be_visible()
    page.get_by_label("Compare run number 0").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="run number 0")).to_be_visible()
