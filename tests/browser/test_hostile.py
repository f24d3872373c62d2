"""Names and values that are scripts, ten thousand keys, strings of a megabyte are shown as text."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.projects import HOSTILE
from tests.browser.test_run_page import saved

RUN = "/local/hostile/runs/h0"


@pytest.fixture
def hostile(page: Page, site: Site) -> Page:
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(site.url + RUN)
    expect(page.get_by_role("heading", name=HOSTILE[0], exact=True)).to_be_visible()
    return page


def is_unharmed(page: Page) -> bool:
    injected = "main script, main iframe, [onerror], [onload], a[href^='javascript' i], main b b"
    return page.evaluate("window.hacked") is None and page.locator(injected).count() == 0


@pytest.mark.parametrize("tab", ["", "/system", "/logs", "/files", "/artifacts"])
def test_every_part_of_a_hostile_run_is_text(hostile: Page, site: Site, tab: str) -> None:
    hostile.goto(site.url + RUN + tab)
    expect(hostile.get_by_role("heading", name=HOSTILE[0], exact=True)).to_be_visible()
    hostile.locator("main[aria-busy=false]").wait_for()
    assert is_unharmed(hostile)


def test_the_overview_shows_the_text_itself(hostile: Page) -> None:
    facts = hostile.locator("section.panel").first
    for text in HOSTILE[:6]:
        expect(facts).to_contain_text(text)
    expect(hostile.get_by_text("(1000000 characters)").first).to_be_visible()
    expect(hostile.locator("[data-table=t] tbody tr")).to_have_count(3)
    assert is_unharmed(hostile)


def test_ten_thousand_keys_are_found_by_name(hostile: Page) -> None:
    hostile.get_by_label("Find a key").fill("k9998/")
    expect(hostile.locator("figure.chart")).to_have_count(1)
    expect(hostile.locator("figure.chart")).to_have_attribute("data-points", "1")
    assert is_unharmed(hostile)


def test_the_project_of_a_hostile_run_is_text(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/local/hostile")
    expect(page.get_by_role("link", name=HOSTILE[0], exact=True)).to_be_visible()
    rows = saved(page, page.get_by_role("button", name="CSV of the table"))
    assert rows[1][:2] == ["h0", HOSTILE[0]]
    assert not any(cell.startswith("=") for row in rows for cell in row)
    assert is_unharmed(page)


def test_a_html_file_is_shown_as_text_and_downloaded_not_opened(hostile: Page) -> None:
    hostile.get_by_role("link", name="Files").click()
    hostile.get_by_role("button", name="Show page.html").click()
    expect(hostile.locator("pre")).to_have_text("<script>window.hacked = 1</script>")
    address = hostile.get_by_role("link", name="Download page.html").get_attribute("href")
    with hostile.expect_download():
        hostile.evaluate("address => { location.href = address }", address)
    assert is_unharmed(hostile)


def test_a_hostile_run_does_not_freeze_the_page(hostile: Page) -> None:
    start = time.monotonic()
    hostile.get_by_label("Find in Summary").fill("k99")
    expect(hostile.locator(".leaf").first).to_be_visible()
    assert time.monotonic() - start < 20
