"""The page of a run: each of its parts is clicked and read."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Site
from tests.browser.projects import COMMIT, POINTS


@pytest.fixture
def run_page(page: Page, site: Site) -> Page:
    page.goto(f"{site.url}/local/demo/runs/r0")
    expect(page.get_by_role("heading", name="run number 0")).to_be_visible()
    return page


def chart(page: Page, key: str) -> Locator:
    found = page.locator("figure.chart").filter(has=page.get_by_text(key, exact=True))
    found.scroll_into_view_if_needed()
    expect(found).to_have_attribute("data-points", re.compile(r"[1-9]"))
    return found


def saved(page: Page, button: Locator) -> list[list[str]]:
    """The rows of the CSV file that a click saves."""
    with page.expect_download() as waiting:
        button.click()
    with Path(waiting.value.path()).open(newline="") as file:
        return list(csv.reader(file))


def test_the_overview_shows_the_program_and_its_commit(run_page: Page) -> None:
    facts = run_page.locator("dl.facts")
    for text in (COMMIT, "train.py", "node-1", "local"):
        expect(facts).to_contain_text(text)
    remote = facts.get_by_role("link", name="https://example.com/vision/train.git")
    expect(remote).to_have_attribute("href", "https://example.com/vision/train")


def test_tags_and_notes_are_edited_in_place(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/local/demo/runs/r3")
    page.get_by_role("button", name="Edit tags of this run").click()
    page.get_by_label("tags of this run").fill("odd, best , best")
    page.keyboard.press("Enter")
    expect(page.get_by_text("best", exact=True)).to_be_visible()
    page.get_by_role("button", name="Edit notes").click()
    page.get_by_label("notes", exact=True).fill("looked at <twice>")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("looked at <twice>")).to_be_visible()
    project = site.store.projects.get("local", "demo")
    assert project is not None
    run = site.store.runs.get(project, "r3")
    assert run is not None
    assert (run.tags, run.notes) == ('["odd","best"]', "looked at <twice>")
    page.get_by_role("button", name="Edit notes").click()
    page.get_by_label("notes", exact=True).fill("never mind")
    page.keyboard.press("Escape")
    expect(page.get_by_text("looked at <twice>")).to_be_visible()


def test_a_chart_has_bands_and_is_zoomed_by_mouse_and_keyboard(run_page: Page) -> None:
    loss = chart(run_page, "train/loss")
    expect(loss).to_have_attribute("data-points", str(POINTS))
    expect(loss.locator("path.band")).to_have_count(1)
    box = loss.locator("svg").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    run_page.mouse.move(box["x"] + box["width"] * 0.4, middle)
    run_page.mouse.down()
    run_page.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=4)
    run_page.mouse.up()
    expect(loss).not_to_have_attribute("data-points", str(POINTS))
    zoomed = int(loss.get_attribute("data-points") or 0)
    assert POINTS / 20 < zoomed < POINTS / 4
    expect(loss.locator("path.band")).to_have_count(0)
    loss.get_by_role("group").focus()
    run_page.keyboard.press("ArrowRight")
    expect(loss.locator(".tip")).to_contain_text("train/loss")
    run_page.keyboard.press("+")
    expect(loss).not_to_have_attribute("data-points", str(zoomed))
    run_page.keyboard.press("Escape")
    expect(loss).to_have_attribute("data-points", str(POINTS))


def test_smoothing_log_scale_and_axis_change_the_charts(run_page: Page) -> None:
    loss = chart(run_page, "train/loss")
    line = loss.locator("path.line").last
    plain = line.get_attribute("d")
    run_page.get_by_label("smoothing").fill("0.9")
    expect(loss.locator("path.line")).to_have_count(2)
    expect(line).not_to_have_attribute("d", plain or "")
    run_page.get_by_label("smoothing").fill("0")
    run_page.get_by_label("log scale").check()
    expect(line).not_to_have_attribute("d", plain or "")
    run_page.get_by_label("log scale").uncheck()
    expect(line).to_have_attribute("d", plain or "")
    run_page.get_by_label("x-axis").select_option("_runtime")
    expect(loss.locator("svg text").last).to_have_text("3,000")
    run_page.get_by_label("x-axis").select_option("epoch")
    expect(loss.locator("svg text").last).to_have_text("15")


def test_a_metric_with_a_defined_axis_is_drawn_over_it(run_page: Page) -> None:
    expect(chart(run_page, "val/loss").locator("svg text").last).to_have_text("15")


def test_a_chart_is_saved_with_every_point_of_what_is_seen(run_page: Page) -> None:
    chart(run_page, "train/loss")
    rows = saved(run_page, run_page.get_by_role("button", name="CSV of train/loss"))
    assert rows[0] == ["_step", "train/loss"]
    assert len(rows) == POINTS + 1
    assert rows[778] == ["777", "5"]


def test_a_key_is_found_and_a_chart_enlarged(run_page: Page) -> None:
    chart(run_page, "train/loss")
    run_page.get_by_label("Find a key").fill("acc")
    expect(run_page.locator("figure.chart")).to_have_count(1)
    run_page.get_by_role("button", name="Enlarge train/acc").click()
    expect(run_page.get_by_role("dialog").locator("path.line")).to_have_count(1)
    run_page.keyboard.press("Escape")
    expect(run_page.get_by_role("dialog")).to_have_count(0)


def test_config_and_summary_are_trees_that_can_be_searched(run_page: Page) -> None:
    config = run_page.locator("section.panel").filter(
        has=run_page.get_by_role("heading", name="Config")
    )
    expect(config).not_to_contain_text("resnet")
    config.get_by_text("model", exact=True).click()
    expect(config).to_contain_text("resnet")
    run_page.get_by_label("Find in Summary").fill("acc")
    summary = run_page.locator("section.panel").filter(
        has=run_page.get_by_role("heading", name="Summary")
    )
    expect(summary.locator(".leaf")).to_have_count(1)
    with run_page.expect_download() as waiting:
        run_page.get_by_role("button", name="Config as JSON").click()
    assert '"depth"' in Path(waiting.value.path()).read_text()


def test_tables_are_shown_sorted_and_saved(run_page: Page) -> None:
    table = run_page.locator("[data-table=samples]")
    expect(table.locator("tbody tr")).to_have_count(25)
    table.get_by_role("button", name="score").click()
    table.get_by_role("button", name="score").click()
    expect(table.locator("tbody tr").first).to_contain_text("word 59")
    table.get_by_role("button", name="Next").click()
    expect(table.locator("tbody tr").first).to_contain_text("word 34")
    rows = saved(run_page, table.get_by_role("button", name="CSV of samples"))
    assert rows[:2] == [["id", "word", "score"], ["0", "word 0", "0"]]
    assert len(rows) == 61


def test_images_are_shown(run_page: Page) -> None:
    for name in ("example_3_0123456789abcdef0123.png", "drawing_3_0123456789abcdef0123.svg"):
        image = run_page.get_by_alt_text(name)
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True)
        run_page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())


def test_system_metrics_have_charts(run_page: Page) -> None:
    run_page.get_by_role("link", name="System").click()
    expect(chart(run_page, "system.cpu")).to_have_attribute("data-points", "200")
    rows = saved(run_page, run_page.get_by_role("button", name="CSV of system.cpu"))
    assert rows[:2] == [["_runtime", "system.cpu"], ["0", "50"]]


def test_the_console_begins_at_its_end_and_goes_back(run_page: Page) -> None:
    run_page.get_by_role("link", name="Logs").click()
    lines = run_page.locator("ol.console li")
    expect(lines).to_have_count(1000)
    expect(lines.last).to_have_text("something broke")
    expect(lines.last).to_have_class("error")
    expect(lines.last).to_be_in_viewport()
    run_page.get_by_role("button", name="Show earlier lines").click()
    expect(lines).to_have_count(1501)
    expect(lines.first).to_have_text("line 0")


def test_files_are_listed_shown_and_downloaded(run_page: Page) -> None:
    run_page.get_by_role("link", name="Files").click()
    run_page.get_by_role("button", name="Show config.yaml").click()
    expect(run_page.locator("pre")).to_contain_text("value: 0.1")
    with run_page.expect_download() as waiting:
        run_page.get_by_role("link", name="Download config.yaml").click()
    assert Path(waiting.value.path()).read_bytes() == b"lr:\n  value: 0.1\n"
