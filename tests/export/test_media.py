"""The index of media, and histograms as columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aiowandb import Format
from aiowandb.api.runs import Runs
from tests.export.conftest import Project, Row, steps

pytestmark = pytest.mark.anyio

IMAGE = {"_type": "image-file", "path": "media/images/i.png", "size": 3, "sha256": "ab" * 32}
PACKED = {
    "_type": "histogram",
    "values": [1, 0, 2],
    "packedBins": {"min": -1.0, "size": 0.5, "count": 3},
}


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a table, without what they do not have."""
    table = pq.read_table(folder / name).to_pylist()
    return [{key: value for key, value in row.items() if value is not None} for row in table]


def logged(*values: Row) -> list[Row]:
    return [{"_step": step, **value} for step, value in enumerate(values)]


@pytest.fixture
def with_media(project: Project) -> Project:
    plain = {"_type": "histogram", "values": [2], "bins": [0, 1.5]}
    pair = {"_type": "images/separated", "count": 2, "captions": ["one"]}
    pair["filenames"] = ["media/images/p0.png", "media/images/p1.png"]
    project.log(
        "a",
        logged(
            {"loss": 1, "img": IMAGE | {"caption": "a cat"}},
            {"pair": pair, "hist": plain},
            {"loss": 2},
            {"hist": PACKED, "nested": {"img": IMAGE}},
        ),
    )
    project.log("b", steps(0, 2))
    project.log("c", logged({"hist": PACKED}))
    for name in ("p0.png", "p1.png"):
        project.store.files.add(project.run("a"), f"media/images/{name}", name.encode())
    return project


async def test_the_index_has_a_row_for_each_file(
    with_media: Project, runs: Runs, out: Path
) -> None:
    result = await runs.export(out, what=["media"])
    assert not result.failed
    a = {"run_id": "a"}
    image = {name: IMAGE[name] for name in ("path", "size", "sha256")} | {"type": "image-file"}
    pair = a | {"_step": 1, "key": "pair", "type": "images/separated", "size": 6}
    found = rows(out, "media")
    digests = [row.pop("md5") for row in found if "md5" in row]
    assert len(set(digests)) == 2
    assert found == [
        a | image | {"_step": 0, "key": "img", "caption": "a cat"},
        a | {"_step": 1, "key": "hist", "type": "histogram"},
        pair | {"number": 0, "path": "media/images/p0.png", "caption": "one"},
        pair | {"number": 1, "path": "media/images/p1.png"},
        a | {"_step": 3, "key": "hist", "type": "histogram"},
        a | image | {"_step": 3, "key": "nested.img"},
        {"run_id": "c", "_step": 0, "key": "hist", "type": "histogram"},
    ]


async def test_histograms_are_lists_of_bins_and_values(
    with_media: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, what=["histograms"])
    packed = {"key": "hist", "bins": [-1.0, -0.5, 0.0, 0.5], "values": [1.0, 0.0, 2.0]}
    assert rows(out, "histograms") == [
        {"run_id": "a", "_step": 1, "key": "hist", "bins": [0.0, 1.5], "values": [2.0]},
        packed | {"run_id": "a", "_step": 3},
        packed | {"run_id": "c", "_step": 0},
    ]


async def test_media_of_a_summary_have_no_step(project: Project, runs: Runs, out: Path) -> None:
    project.log("a", logged({"loss": 1}))
    masks = {"masks": {"prediction": {"_type": "mask", "path": "media/m.png", "size": 1}}}
    project.summarize("a", {"loss": 1, "best": IMAGE | masks})
    await runs.export(out, what=["media"])
    assert [(row.get("_step"), row["key"], row["type"]) for row in rows(out, "media")] == [
        (None, "best", "image-file"),
        (None, "best.masks.prediction", "mask"),
    ]


async def test_only_runs_with_media_are_read_and_only_once(
    with_media: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, what=["media", "histograms"])
    again = await runs.export(out, what=["media", "histograms"])
    assert again.requests == 1
    before = pq.read_table(out / "media")
    with_media.log("b", [{"_step": 2, "img": IMAGE}])
    third = await runs.export(out, what=["media", "histograms"])
    assert third.requests <= 1 + 2
    assert pq.read_table(out / "media").num_rows == before.num_rows + 1


async def test_media_are_in_any_format(
    with_media: Project, runs: Runs, out: Path, subtests: pytest.Subtests
) -> None:
    formats: tuple[Format, ...] = ("csv", "jsonl", "arrow", "delta")
    for form in formats:
        with subtests.test(form):
            result = await runs.export(out / form, what=["media", "histograms"], format=form)
            assert (result.rows, result.failed) == (10, ())
    (first, *_) = (out / "jsonl/histograms.jsonl").read_text().splitlines()
    assert json.loads(first)["bins"] == [0, 1.5]


@pytest.mark.parametrize(
    "value",
    [
        {"_type": "image-file", "path": 5, "size": "big", "caption": ["x"]},
        {"_type": "images/separated", "filenames": [None, 3], "captions": "none"},
        {"_type": "audio", "audio": ["x", {"_type": "audio-file"}]},
        {"_type": "histogram", "values": None, "packedBins": {"min": "x"}},
        {"_type": "histogram", "values": ["a", 1], "bins": {}},
        {"_type": "histogram", "values": [10**400, "NaN"], "bins": [10**400]},
        {"_type": "histogram", "values": [1], "packedBins": {"min": 0, "size": 1, "count": 10**15}},
        {"_type": "image-file", "size": 10**30, "nrows": -1, "caption": "\ud800", "path": ""},
        {"_type": "table-file", "size": float("inf"), "nrows": float("nan")},
    ],
    ids=str,
)
async def test_odd_media_do_no_harm(
    project: Project, runs: Runs, out: Path, value: dict[str, Any]
) -> None:
    project.log("a", logged({"x": value}))
    result = await runs.export(out, what=["media", "histograms"])
    assert not result.failed
