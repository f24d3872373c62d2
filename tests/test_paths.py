"""What paths mean, in all the forms that W&B's users write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb import InvalidPathError
from aiowandb.paths import ProjectPath, RunPath, RunRef, parse_project_path, parse_run_path

segments = st.text(st.characters(categories=["L", "N"], include_characters="-_."), min_size=1)


@pytest.mark.parametrize(
    ("path", "meaning"),
    [
        ("e/p/runs/r", RunPath("e", "p", "r")),
        ("e/p/sweeps/s", RunPath("e", "p", "s")),
        ("e/p/r", RunPath("e", "p", "r")),
        ("/e/p/runs/r/", RunPath("e", "p", "r")),
        ("e/p:r", RunPath("e", "p", "r")),
        ("p/r", RunPath(None, "p", "r")),
        ("p:r", RunPath(None, "p", "r")),
        ("r", RunPath(None, None, "r")),
        ("/runs/r", RunPath(None, None, "r")),
        ("e:p/r", RunPath(None, "e:p", "r")),
        ("https://wandb.ai/e/p/runs/r", RunPath("e", "p", "r")),
        ("https://wandb.ai/e/p/runs/r?nw=nwuser#charts", RunPath("e", "p", "r")),
        ("https://wandb.ai/e/my%20p/runs/r/", RunPath("e", "my p", "r")),
        ("https://wandb.ai/e/p/runs/r/workspace?nw=nwuser", RunPath("e", "p", "r")),
        ("https://wandb.ai/e/p/runs/r/files/media/images", RunPath("e", "p", "r")),
        ("https://wandb.ai/e/p/sweeps/s?nw=nwuser", RunPath("e", "p", "s")),
        ("http://localhost:8080/e/p/sweeps/s/overview", RunPath("e", "p", "s")),
        ("https://forge.coreweave.com/wandb/e/p/runs/r", RunPath("e", "p", "r")),
        ("https://forge.coreweave.com/wandb/e/p/runs/r/files?nw=x", RunPath("e", "p", "r")),
        ("https://qa.forge.coreweave.com/wandb/wandb/p/sweeps/s", RunPath("wandb", "p", "s")),
        ("forge.coreweave.com/wandb/e/p/runs/r", RunPath("e", "p", "r")),
        ("wandb.ai/e/p/runs/r", RunPath("e", "p", "r")),
        (["e", "p", "r"], RunPath("e", "p", "r")),
        ("e/p/runs/r?nw=1", RunPath("e", "p", "r")),
    ],
)
def test_a_run_is_named_in_many_ways(path: str | list[str], meaning: RunPath) -> None:
    assert parse_run_path(path) == meaning


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "a/b/c/d", "a//b", "https://wandb.ai/", "https://[x/a/b/runs/c"),
        *("https://wandb.ai/e/p", "wandb.ai/e/p/workspace", "https://wandb.ai/e/p/runs"),
        *("https://forge.coreweave.com/wandb/acme/proj", "forge.coreweave.com/wandb"),
        *(
            "https://forge.coreweave.com/acme/proj/runs/r",
            "https://forge.coreweave.com/wandbx/a/b/c",
        ),
    ],
)
def test_a_path_that_names_no_run_is_refused(path: str) -> None:
    with pytest.raises(InvalidPathError, match="Invalid path") as caught:
        parse_run_path(path)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("path", "meaning"),
    [
        (None, ProjectPath(None, None)),
        ("p", ProjectPath(None, "p")),
        ("e/p", ProjectPath("e", "p")),
        ("/e/p/", ProjectPath("e", "p")),
        ("https://wandb.ai/e/p", ProjectPath("e", "p")),
        ("https://wandb.ai/e/p/workspace?nw=1", ProjectPath("e", "p")),
        ("https://wandb.ai/e/p/sweeps/abc", ProjectPath("e", "p")),
        ("https://forge.coreweave.com/wandb/e/p", ProjectPath("e", "p")),
        ("qa.forge.coreweave.com/wandb/e/p/runs/r?nw=1", ProjectPath("e", "p")),
        ("wandb.ai/e/p", ProjectPath("e", "p")),
        ("https://wandb.ai/e/p/groups/g/workspace", ProjectPath("e", "p")),
    ],
)
def test_a_project_is_named_in_many_ways(path: str | None, meaning: ProjectPath) -> None:
    assert parse_project_path(path) == meaning


@pytest.mark.parametrize(
    "path", ["", "a/b/c", "a//b", "https://wandb.ai/e", "https://forge.coreweave.com/wandb/e"]
)
def test_a_path_that_names_no_project_is_refused(path: str) -> None:
    with pytest.raises(InvalidPathError):
        parse_project_path(path)


@given(segments, segments, segments)
def test_a_full_name_survives_being_written_and_read(entity: str, project: str, run: str) -> None:
    ref = RunRef(entity, project, run)
    assert parse_run_path(str(ref)) == RunPath(entity, project, run)
