"""The pages are complete, and their links work."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aiowandb
from aiowandb import filters, sync
from aiowandb.net.retry import RetryPolicy

from .pages import PAGES, README, ROOT, name_of

DOCS = ROOT / "docs"
REPOSITORY = "https://github.com/aiowandb/aiowandb"
API = {"async.md", "results.md", "errors.md"}
FACES = [(aiowandb, API), (sync, {"sync.md"}), (filters, {"filters.md"})]
NAMES = [(pages, name) for face, pages in FACES for name in face.__all__]


def text(*path: str) -> str:
    return DOCS.joinpath(*path).read_text(encoding="utf-8")


@pytest.mark.parametrize(("pages", "name"), NAMES, ids=[name for _, name in NAMES])
def test_every_public_name_is_in_the_api_pages(pages: set[str], name: str) -> None:
    # `Api` is a member of the other face, and `__version__` needs no words.
    if name not in {"Api", "__version__"} or "sync.md" in pages:
        directive = rf"^(\.\. \w+::|  +) {name}$"
        assert any(re.search(directive, text("api", page), re.MULTILINE) for page in pages)


def test_every_option_of_an_export_is_on_its_page() -> None:
    parameters = {*inspect.signature(aiowandb.Runs.export).parameters} - {"self", "target"}
    page = text("exporting.md")
    assert {name for name in parameters if not re.search(rf"`{name}[`=]", page)} == set()


def test_every_argument_of_the_client_is_on_a_page() -> None:
    parameters = {*inspect.signature(aiowandb.AsyncApi).parameters} - {"transport"}
    pages = text("errors.md") + text("concurrency.md") + text("quickstart.md")
    assert {name for name in parameters if not re.search(rf"\b{name}[`=]", pages)} == set()


def test_the_page_on_retries_has_the_numbers_of_the_code() -> None:
    policy, settings = RetryPolicy(), aiowandb.Settings()
    rows = {
        "`AsyncApi(timeout=)`": f"{settings.timeout:g} s",
        "`WANDB_HTTP_TIMEOUT`": f"{settings.http_timeout:g} s",
        "`AsyncApi(max_memory=)`": f"{settings.max_memory >> 30} GiB",
        "`AsyncApi(max_concurrency=)`": f"{settings.max_concurrency}",
        "`RetryPolicy(first_wait=, max_wait=)`": f"{policy.first_wait:g} s, {policy.max_wait:g} s",
        "`RetryPolicy(max_same_failures=)`": f"{policy.max_same_failures}",
        "`RetryPolicy(max_connect_failures=)`": f"{policy.max_connect_failures}",
        "`RetryPolicy(max_failures=)`": f"{policy.max_failures}",
    }
    table = text("errors.md").partition("## Every setting")[2]
    for setting, default in rows.items():
        assert re.search(rf"^\| {re.escape(setting)}.* \| {default} \|", table, re.MULTILINE), (
            setting
        )


def test_a_newcomer_reads_the_readme_in_a_few_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 140


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_links_to_files_of_the_repository_lead_somewhere(page: Path) -> None:
    content = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", content):
        if target.startswith(REPOSITORY):
            path = re.sub(r"^/(blob|tree)/main/?", "", target.removeprefix(REPOSITORY))
            assert (ROOT / path).exists(), target
        elif "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_map_of_the_code_names_modules_that_are_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = re.findall(r"\b[a-z_]+(?:/[a-z_]+)*/[a-z_]+\.(?:py|graphql)\b", page)
    assert len(set(modules)) >= 20
    tops = [ROOT, *(ROOT / "src" / name for name in ("", "aiowandb", "aiowandb_server"))]
    assert {name for name in modules if not any((top / name).exists() for top in tops)} == set()


@pytest.mark.slow
def test_the_pages_are_built_without_a_warning_and_without_the_network(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    build = [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", "-b", "html"]
    # A proxy that is not there: whatever asks the network fails.
    nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        [*build, "-d", tmp_path / "doctrees", DOCS, tmp_path / "html"],
        capture_output=True,
        text=True,
        env=nowhere,
    )
    assert done.returncode == 0, done.stderr
    command_line = (tmp_path / "html" / "cli.html").read_text(encoding="utf-8")
    assert ".. option::" not in command_line
    assert "--on-deleted" in command_line
    made = (tmp_path / "html" / "llms.txt").read_text(encoding="utf-8")
    for name in (*aiowandb.__all__, *sync.__all__, *filters.__all__):
        assert re.search(rf"^(class |def )?{name}\b", made, re.MULTILINE), name
    assert "async def scan_histories" not in made
    assert "def run(self, path: str | Sequence[str], *, fresh: bool = False) -> Run" in made
    assert "    viewer: Viewer" in made.partition("## `aiowandb.sync`")[2]
    assert " at 0x" not in made
