"""The open page of a run that the real SDK is logging updates itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_run_page import chart

pytestmark = pytest.mark.sdk
# Does what it is told, line by line, and says when it is done.
SCRIPT = """
import sys, wandb
run = wandb.init(project="live", id="now", name="live one", config={"lr": 0.1},
                 settings=wandb.Settings(x_file_stream_transmit_interval=1))
run.define_metric("epoch")
run.define_metric("val/*", step_metric="epoch")
print("started", flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == "rows":
        for step in range(5):
            run.log({"loss": 1 / (step + 1), "epoch": step * 10, "val/acc": step})
            print(f"logged step {step}", file=sys.stderr)
    elif word == "table":
        run.log({"answers": wandb.Table(columns=["q", "a"], data=[["one", 1], ["two", 2]])})
        artifact = wandb.Artifact("weights", "model")
        with artifact.new_file("w.txt") as file:
            file.write("1 2 3")
        run.log_artifact(artifact).wait()
    print("done", flush=True)
run.finish()
"""
GIT = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]


class Script:
    """The script, obeying one word at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        self._wait("done")

    def finish(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(120) == 0

    def _wait(self, word: str) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == word:
                return
        pytest.fail("the script has ended")


@pytest.fixture
def script(site: Site, tmp_path: Path) -> Iterator[Script]:
    (tmp_path / "train.py").write_text(SCRIPT)
    for command in (
        ["git", "init", "-q"],
        ["git", "remote", "add", "origin", "https://example.com/live/train.git"],
        [*GIT, "add", "."],
        [*GIT, "commit", "-qm", "first"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "WANDB_BASE_URL": site.url,
        "WANDB_API_KEY": site.store.local_key,
        "WANDB_DIR": str(tmp_path),
    }
    with (
        (tmp_path / "errors").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "train.py"],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        running = Script(process)
        running._wait("started")
        yield running
        process.kill()


def test_a_page_follows_a_run_of_the_sdk(
    page: Page, site: Site, script: Script, tmp_path: Path
) -> None:
    address = f"{site.url}/local/live/runs/now"
    page.goto(address)
    expect(page.get_by_role("heading", name="live one")).to_be_visible()
    expect(page.locator(".head .pill")).to_have_text("running")
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    expect(page.locator("dl.facts")).to_contain_text(head.stdout.strip())
    expect(page.locator("dl.facts")).to_contain_text("https://example.com/live/train.git")
    page.evaluate("window.kept = true")

    logs = page.context.new_page()
    logs.goto(f"{address}/logs")
    logs.get_by_text("Follow").wait_for()

    script.tell("rows")
    expect(chart(page, "loss")).to_have_attribute("data-points", "5")
    script.tell("rows")
    expect(page.locator("figure.chart", has_text="loss").first).to_have_attribute(
        "data-points", "10"
    )
    expect(logs.locator("ol.console")).to_contain_text("logged step 4")

    script.tell("table")
    expect(page.locator("[data-table=answers]")).to_contain_text("two")
    script.finish()
    expect(page.locator(".head .pill")).to_have_text("finished")
    # The SDK tells of define_metric() with the config, which it does not send at once.
    expect(chart(page, "val/acc").locator("svg text").last).to_have_text("40")
    assert page.evaluate("window.kept"), "the page has not been loaded again"

    page.get_by_role("link", name="Artifacts").click()
    page.get_by_role("link", name="weights:v0").click()
    expect(page.get_by_role("heading", name="weights:v0")).to_be_visible()
    page.get_by_role("button", name="Show w.txt").click()
    expect(page.locator("pre").last).to_have_text("1 2 3")
    page.get_by_role("link", name="live one").click()
    expect(page.locator("dl.facts")).to_contain_text(head.stdout.strip())
