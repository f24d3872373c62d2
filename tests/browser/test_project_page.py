"""The pages of projects and sweeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Request, Route, expect

from tests.browser.conftest import Site
from tests.browser.projects import POINTS, RUNS_OF_LONG
from tests.browser.test_run_page import saved


@pytest.fixture
def demo(page: Page, site: Site) -> Page:
    page.goto(f"{site.url}/local/demo")
    expect(page.get_by_role("link", name="run number 0")).to_be_visible()
    return page


def names(page: Page) -> list[str]:
    found: list[str] = page.locator("td.name").all_inner_texts()
    return found


def test_projects_lead_to_runs_without_a_reload(page: Page, site: Site) -> None:
    page.evaluate("window.kept = true")
    page.get_by_role("link", name="demo").click()
    page.get_by_role("link", name="run number 2").click()
    expect(page.get_by_role("heading", name="run number 2")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("link", name="run number 3")).to_be_visible()
    assert page.evaluate("window.kept")


def test_nothing_moves_under_the_mouse_when_the_charts_have_come(page: Page, site: Site) -> None:
    held: list[Route] = []

    def is_about_charts(request: Request) -> bool:
        return "historyKeys" in (request.post_data or "")

    def hold(route: Route) -> None:
        if is_about_charts(route.request):
            held.append(route)
        else:
            route.continue_()

    page.route("**/graphql", hold)
    run = page.get_by_role("link", name="run number 2")
    with page.expect_request(is_about_charts):
        page.get_by_role("link", name="demo").click()
    before = run.bounding_box()
    expect(page.get_by_text("Loading …")).to_be_visible()
    for route in held:
        route.continue_()
    expect(page.get_by_text("Loading …")).to_be_hidden()
    after = run.bounding_box()
    assert before
    assert after
    assert before["y"] == after["y"]


def test_runs_are_filtered_by_an_expression(demo: Page) -> None:
    demo.get_by_label("Filter runs").fill('config.lr < 0.5 and tag == "odd"')
    demo.keyboard.press("Enter")
    expect(demo.get_by_text("runs 1 to 2 of 2")).to_be_visible()
    demo.get_by_label("Filter runs").fill("config.lr <")
    demo.keyboard.press("Enter")
    expect(demo.get_by_role("alert")).to_contain_text("column 12: expected a value")
    demo.get_by_label("Filter runs").fill("nothing.such == 1")
    demo.keyboard.press("Enter")
    expect(demo.get_by_role("alert")).to_contain_text("nothing")


def test_a_filter_is_part_of_the_address(demo: Page) -> None:
    demo.get_by_label("Filter runs").fill('display_name matches "[12]$"')
    demo.keyboard.press("Enter")
    expect(demo.get_by_text("runs 1 to 2 of 2")).to_be_visible()
    demo.reload()
    expect(demo.get_by_text("runs 1 to 2 of 2")).to_be_visible()


def test_columns_are_chosen_and_sorted(demo: Page) -> None:
    demo.get_by_role("button", name="Columns").click()
    demo.get_by_label("Find a column").fill("depth")
    demo.get_by_role("checkbox", name="config.model.depth").uncheck()
    demo.get_by_label("Find a column").fill("rows")
    demo.get_by_role("checkbox", name="rows").check()
    demo.get_by_role("button", name="Close").click()
    expect(demo.get_by_role("columnheader", name="rows")).to_be_visible()
    expect(demo.get_by_role("columnheader", name="config.model.depth")).to_have_count(0)
    header = demo.get_by_role("columnheader", name="summary.train/acc")
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "descending")
    assert names(demo) == [f"run number {n}" for n in (3, 2, 1, 0)]
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert names(demo) == [f"run number {n}" for n in (0, 1, 2, 3)]


def test_tags_are_edited_in_the_table(demo: Page, site: Site) -> None:
    demo.get_by_role("button", name="Edit tags of run number 1").click()
    demo.get_by_label("tags of run number 1").fill("odd, kept")
    demo.keyboard.press("Enter")
    expect(demo.get_by_text("kept", exact=True)).to_be_visible()
    project = site.store.projects.get("local", "demo")
    assert project is not None
    run = site.store.runs.get(project, "r1")
    assert run is not None
    assert run.tags == '["odd","kept"]'


def test_selected_runs_are_drawn_together(demo: Page) -> None:
    for number in range(4):
        demo.get_by_label(f"Compare run number {number}").set_checked(number in (0, 2))
    demo.get_by_label("Find a key").fill("train/loss")
    loss = demo.locator("figure.chart")
    expect(loss).to_have_attribute("data-points", str(2 * POINTS))
    expect(loss.locator("path.line")).to_have_count(2)
    rows = saved(demo, demo.get_by_role("button", name="CSV of train/loss"))
    assert rows[0] == ["run", "_step", "train/loss"]
    assert {row[0] for row in rows[1:]} == {"run number 0", "run number 2"}
    for number in (0, 2):
        demo.get_by_label(f"Compare run number {number}").uncheck()
    expect(demo.get_by_text("Select runs in the table")).to_be_visible()


def test_many_runs_come_page_by_page_and_are_saved_together(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/local/long?order=%2Bdisplay_name&columns=config.n")
    expect(page.get_by_text(f"runs 1 to 50 of {RUNS_OF_LONG}")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text(f"runs 51 to 100 of {RUNS_OF_LONG}")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text(f"runs 101 to {RUNS_OF_LONG}")).to_be_visible()
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.get_by_role("button", name="Previous").click()
    expect(page.get_by_text(f"runs 51 to 100 of {RUNS_OF_LONG}")).to_be_visible()
    rows = saved(page, page.get_by_role("button", name="CSV of the table"))
    assert rows[0] == ["id", "name", "config.n"]
    assert sorted(row[0] for row in rows[1:]) == [f"n{n:03d}" for n in range(RUNS_OF_LONG)]
    assert sorted(int(row[2]) for row in rows[1:]) == list(range(RUNS_OF_LONG))


def test_a_sweep_shows_its_best_run_and_parallel_coordinates(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/local/search/sweeps")
    page.get_by_role("link", name="hunt").click()
    expect(page.locator("dl.facts")).to_contain_text("loss 0.25")
    expect(page.locator("svg.parallel path.run")).to_have_count(12)
    expect(page.locator("svg.parallel")).to_contain_text("optimizer")
    best = page.locator("dl.facts").get_by_role("link")
    best.click()
    expect(page.get_by_text("s7", exact=True).last).to_be_visible()


def test_pages_fit_a_phone(
    new_context: Callable[..., BrowserContext], site: Site, complaints: list[str]
) -> None:
    page = new_context().new_page()
    page.set_viewport_size({"width": 375, "height": 740})
    page.goto(site.link("/"))
    for path in (
        "/local/demo",
        "/local/demo/runs/r0",
        "/local/demo/runs/r0/files",
        "/local/hostile/runs/h0",
    ):
        page.goto(site.url + path)
        page.get_by_role("heading").first.wait_for()
        page.locator("main[aria-busy=false]").wait_for()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 375, path
