"""Daft for real, on its native runner."""

from __future__ import annotations

import pickle

import pytest

from aiowandb import Api, ReadPlan

from .conftest import PATH, Project, rows

pytestmark = [pytest.mark.engines_quick, pytest.mark.filterwarnings("default")]


def test_rows_are_those_of_an_export(project: Project) -> None:
    import aiowandb.engines.daft as source

    frame = source.read(PATH, parts=3)
    assert rows(frame.to_arrow()) == rows(project.export("all"))
    some = source.read(PATH, keys=["loss"], min_step=3)
    assert rows(some.to_arrow()) == rows(project.export("some", keys=["loss"], min_step=3))


def test_columns_filters_and_limits_are_pushed_down(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import daft

    import aiowandb.engines.daft as source

    made: list[tuple[object, object]] = []
    original = source.WandbTask.__init__

    def init(task: object, part: object, columns: object, limit: object) -> None:
        made.append((columns, limit))
        original(task, part, columns, limit)  # type: ignore[arg-type]

    monkeypatch.setattr(source.WandbTask, "__init__", init)
    late = source.read(PATH).where(daft.col("_step") > 47).where(daft.col("_step") < 100)
    assert late.select("epoch").to_pydict() == {"epoch": ["16", "16"]}
    assert set(made[-1][0] or ()) == {"_step", "epoch"}  # type: ignore[call-overload]
    assert source.read(PATH).limit(3).count_rows() == 3
    assert made[-1][1] == 3
    assert source.read(PATH).count_rows() == project.export("all").num_rows


def test_plans_and_tasks_show_no_secret(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    import aiowandb.engines.daft as source

    frame = source.read(PATH)
    assert frame.count_rows()
    frame.explain(show_all=True)
    (part, *_) = source.ReadPlanSource(_plan(project))._plan.parts(1)
    shown = capsys.readouterr().out + repr(source.WandbTask(part, None, None))
    assert "wandb" in shown
    pickled = pickle.dumps(source.WandbTask(part, None, None))
    assert project.secrets_in(shown.encode() + pickled) == []


def _plan(project: Project) -> ReadPlan:
    with Api(project.world.key, base_url=project.url) as api:
        return api.runs(PATH).plan()
