"""Tables, media and metrics as the real SDK logs them, exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aiowandb import Api
from aiowandb.export import What
from tests.sdk.conftest import served

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

SCRIPT = """
import numpy
from wandb.data_types import JoinedTable, PartitionedTable

pixels = numpy.zeros((4, 4, 3), numpy.uint8)
with wandb.init(project="tables", id="a") as run:
    run.define_metric("val/*", step_metric="epoch")
    run.define_metric("loss", summary="min")
    pictures = [[1, "a", wandb.Image(pixels)], [float("nan"), "b", None]]
    run.log({
        "loss": 1.0, "epoch": 0, "val/acc": 1,
        "t": wandb.Table(columns=["x", "y", "img"], data=pictures),
        "h": wandb.Histogram([1, 2, 3.5, 4], num_bins=4),
        "img": wandb.Image(pixels, caption="c"),
        "imgs": [wandb.Image(pixels), wandb.Image(pixels + 1)],
        "html": wandb.Html("<b>"),
    })
    run.log({"big": wandb.Table(columns=["n"], data=[[i] for i in range(10_500)])})
    growing = wandb.Table(columns=["n"], log_mode="INCREMENTAL")
    for number in (1, 2):
        growing.add_data(number)
        run.log({"inc": growing})
    artifact = wandb.Artifact("parts", "dataset")
    artifact.add(wandb.Table(columns=["id"], data=[[1], [2]]), "parts/p1")
    artifact.add(wandb.Table(columns=["id"], data=[[3]]), "parts/p2")
    artifact.add(PartitionedTable("parts"), "all")
    left = wandb.Table(columns=["id", "l"], data=[[1, "L1"], [2, "L2"]])
    right = wandb.Table(columns=["id", "r"], data=[[2, "R2"], [3, "R3"]])
    joined = JoinedTable(left, right, "id")
    artifact.add(joined, "joined")
    run.log_artifact(artifact)
    artifact.wait()
    run.log({"jt": joined})
    run.summary["only"] = wandb.Table(columns=["s"], data=[["x"]])
    print("printed")
report()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An export of everything that a run of the real SDK has logged."""
    place = tmp_path_factory.mktemp("tables")
    with served(place) as sdk:
        sdk.run(SCRIPT)
        with Api(sdk.store.local_key, base_url=sdk.url, entity="local") as api:
            what: list[What] = ["runs", "tables", "media", "histograms", "metrics", "logs", "files"]
            result = api.runs("local/tables").export(place / "out", what=what)
            assert not result.failed
        yield place / "out"


def rows(folder: Path, name: str, **wanted: Any) -> list[dict[str, Any]]:
    """The rows with these values, without what they do not have."""
    found = pq.read_table(folder / name).to_pylist()
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in found
        if wanted.items() <= row.items()
    ]


def test_a_table_that_the_sdk_cut_off_is_complete(folder: Path) -> None:
    assert pq.read_table(folder / "tables/big").column("n").to_pylist() == list(range(10_500))


def test_media_in_cells_are_what_was_logged_and_no_names_of_classes(folder: Path) -> None:
    first, second = rows(folder, "tables/t")
    assert '"_type":"image-file"' in first["img"].replace(" ", "")
    assert (first["x"], first["y"], second["y"]) == (1, "a", "b")
    assert second["x"] != second["x"]


def test_increments_are_at_their_steps(folder: Path) -> None:
    assert [(row["_step"], row["n"]) for row in rows(folder, "tables/inc")] == [(2, 1), (3, 2)]


def test_joined_tables_are_joined_and_partitioned_ones_have_all_parts(folder: Path) -> None:
    joined = [(1, "L1", None), (2, "L2", "R2"), (3, None, "R3")]
    for name in ("jt", "parts~2Fjoined"):
        found = rows(folder, f"tables/{name}")
        assert [(row["id"], row.get("l"), row.get("r")) for row in found] == joined
    assert [row["id"] for row in rows(folder, "tables/parts~2Fall")] == [1, 2, 3]


def test_a_table_of_the_summary_is_exported_too(folder: Path) -> None:
    assert rows(folder, "tables/only") == [{"run_id": "a", "s": "x"}]


def test_the_index_leads_to_the_files(folder: Path) -> None:
    found = [row for row in rows(folder, "media") if "path" in row]
    assert {"img", "imgs", "html", "t", "big", "inc", "only"} == {row["key"] for row in found}
    for row in found:
        assert (folder / "files/a" / row["path"]).stat().st_size == row["size"]


def test_histograms_have_their_bins(folder: Path) -> None:
    (row,) = rows(folder, "histograms")
    assert row["bins"] == [1.0, 1.75, 2.5, 3.25, 4.0]
    assert row["values"] == [1.0, 1.0, 0.0, 2.0]


def test_metrics_have_what_was_defined(folder: Path) -> None:
    assert rows(folder, "metrics", key="loss")[0]["summary"] == ["min"]
    assert rows(folder, "metrics", key="val/acc")[0]["x_axis"] == "epoch"


def test_console_lines_are_exported(folder: Path) -> None:
    assert "printed" in [row["text"] for row in rows(folder, "logs")]
