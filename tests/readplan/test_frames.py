"""polars, duckdb, pandas and Arrow read a plan, and only what a query needs."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from aiowandb import Api, ReadPlan

from .world import PATH, World


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadPlan]:
    from aiowandb_server import Store

    with Store.open(tmp_path_factory.mktemp("wandb")) as store:
        world = World(store)
        world.add_odd_runs()
        with world.serve() as url, Api(world.key, base_url=url) as api:
            yield api.runs(PATH).plan()


@pytest.fixture
def asked(plan: ReadPlan, monkeypatch: pytest.MonkeyPatch) -> list[list[str] | None]:
    """The columns of each reading from now on."""
    found: list[list[str] | None] = []
    original = type(plan._all)._batches

    def batches(part: object, columns: list[str] | None, *, refresh: bool) -> object:
        found.append(columns)
        return original(part, columns, refresh=refresh)  # type: ignore[arg-type]

    monkeypatch.setattr(type(plan._all), "_batches", batches)
    return found


def test_duckdb_reads_the_plan_by_its_name_and_what_a_query_needs(
    plan: ReadPlan, asked: list[list[str] | None]
) -> None:
    table = pa.table(plan)
    del asked[:]
    steps = duckdb.execute("SELECT max(_step) FROM plan WHERE run_id = 'plain'").fetchall()
    assert steps == [(49,)]
    assert asked
    assert all(set(columns or "?") <= {"run_id", "_step"} for columns in asked)
    joined = duckdb.execute(
        "SELECT count(*) FROM plan a JOIN plan b USING (run_id, _step)"
    ).fetchall()
    assert joined == [(table.num_rows,)]
    assert duckdb.execute("SELECT count(*) FROM plan").fetchall() == [(table.num_rows,)]


def test_a_relation_of_duckdb_can_be_used_again(plan: ReadPlan) -> None:
    relation = plan.to_duckdb(duckdb.connect())
    for _ in range(2):
        assert relation.filter("_step > 47 AND _step < 100").count("*").fetchall() == [(2,)]


def test_polars_pushes_columns_rows_and_predicates(
    plan: ReadPlan, asked: list[list[str] | None]
) -> None:
    lazy = plan.to_lazy()
    found = lazy.filter(pl.col("_step") > 47, pl.col("_step") < 100).select("epoch").collect()
    assert found.to_dict(as_series=False) == {"epoch": ["16", "16"]}
    assert set(asked[-1] or "?") == {"epoch", "_step"}
    assert lazy.head(3).collect().height == 3
    assert lazy.select("run_id").unique().collect().height == plan.runs - 1  # one has no rows
    assert lazy.collect(engine="streaming").height == pa.table(plan).num_rows


def test_libraries_that_read_arrow_streams_can_read_the_plan(plan: ReadPlan) -> None:
    rows = pa.table(plan).num_rows
    assert len(pl.DataFrame(plan)) == rows
    assert len(plan.to_frame()) == len(plan.to_frame("pandas")) == len(plan.to_frame("arrow"))
    assert isinstance(plan.to_frame("pandas"), pd.DataFrame)
    assert len(plan.reader(["loss"]).read_pandas()) == rows
    (part,) = plan.parts(1)
    assert duckdb.from_arrow(part.reader()).count("*").fetchall() == [(rows,)]


def test_arrow_scans_the_plan_as_a_dataset(plan: ReadPlan, asked: list[list[str] | None]) -> None:
    found = plan.to_table(columns=["loss"], filter=ds.field("epoch").is_valid())  # type: ignore[arg-type]
    assert found.column_names == ["loss"]
    assert set(asked[-1] or "?") == {"loss", "epoch"}
    assert plan.count_rows(filter=ds.field("_step") == 47) == 1
    assert plan.count_rows() == pa.table(plan).num_rows
    assert plan.head(2).num_rows == 2
    assert plan.to_table(columns={"twice": ds.field("_step") * 2}).column_names == ["twice"]


def test_the_runs_give_frames_and_streams_themselves(world: World) -> None:
    world.add_odd_runs()
    with world.serve() as url, Api(world.key, base_url=url) as api:
        runs = api.runs(PATH)
        rows = len(runs.to_frame(["loss"], format="arrow"))
        frame = runs.to_frame(["loss"])
        assert isinstance(frame, pl.DataFrame)
        assert frame.height == rows
        assert runs.to_lazy(["loss"]).collect().height == rows
        assert duckdb.from_arrow(runs.to_arrow_stream(["loss"])).count("*").fetchall() == [(rows,)]
        assert pl.DataFrame(runs.to_arrow_stream(["loss"])).height == rows
        assert len(runs.to_arrow_stream(["loss"]).read_pandas()) == rows
