"""A project with 100,000 runs: the page asks for what it shows, and for no more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Page, Request, expect

from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from aiowandb_server.store.schema import add_functions
from tests.browser.conftest import Site

RUNS = 100_000
PER_PAGE = 50


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with the project, whose runs are copies of one."""
    with Store.open(tmp_path_factory.mktemp("large")) as store:
        project = store.projects.ensure("local", "large")[0]
        store.runs.upsert(project, "r0", RunChanges(config='{"n": {"value": 0}}'))
        _copy_run(store, project.id)
        with serve_in_thread(create_app(store)) as url:
            yield Site(url, store, "r0")


def _copy_run(store: Store, project_id: int) -> None:
    with closing(sqlite3.connect(store.folder / "store.sqlite")) as connection:
        add_functions(connection)
        names = [row[1] for row in connection.execute("PRAGMA table_info(run)")]
        same = [name for name in names if name not in ("id", "name", "display_name", "config")]
        connection.execute(
            f"""
            WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted LIMIT ?)
            INSERT INTO run (name, display_name, config, {", ".join(same)})
            SELECT 'r' || n, 'r' || n, '{{"n": {{"value": ' || n || '}}}}',
                   {", ".join(f"run.{name}" for name in same)}
            FROM counted, run WHERE run.project_id = ? AND run.name = 'r0'
            """,
            (RUNS - 1, project_id),
        )
        connection.commit()


def test_a_project_of_100000_runs_is_shown_page_by_page(page: Page, site: Site) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        if request.url.endswith("/graphql") and "runs(filters" in (request.post_data or ""):
            asked.append(request.post_data or "")

    page.on("request", note)
    page.goto(f"{site.url}/local/large?order=%2Bconfig.n&columns=config.n")
    expect(page.get_by_text("runs 1 to 50 of 100,000")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("runs 51 to 100 of 100,000")).to_be_visible()
    assert page.locator("td.name").count() == PER_PAGE
    # Following live runs may ask for the page once more, and never for all the others.
    assert 2 <= len(asked) <= 8
    assert all(f'"first":{PER_PAGE}' in text.replace(" ", "") for text in asked)
    # A page that is frozen would not answer at all.
    assert page.evaluate("document.querySelectorAll('tr').length") < 4 * PER_PAGE
