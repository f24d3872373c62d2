"""Rows converted to structs, dataclasses, attrs, typed dicts, named tuples and pydantic models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from pydantic.dataclasses import dataclass as pydantic_dataclass

from aiowandb import Api, AsyncApi, RowError, Run, UsageError

pytestmark = pytest.mark.anyio


class Struct(msgspec.Struct):
    loss: float
    acc: float | None = None
    step: int = msgspec.field(name="_step", default=-1)


@dataclass
class Data:
    loss: float
    acc: float | None = None
    tags: list[str] = field(default_factory=list)


@attrs.define
class Attrs:
    loss: float
    acc: float | None = None


class Typed(TypedDict):
    loss: float


class Tuple(NamedTuple):
    loss: float
    acc: float | None = None


class Model(pydantic.BaseModel):
    loss: float
    acc: float | None = None
    step: int = pydantic.Field(alias="_step")


@pydantic_dataclass
class PydanticData:
    loss: float
    acc: float | None = None


CLASSES = [Struct, Data, Attrs, Typed, Tuple, Model, PydanticData]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    async with AsyncApi.local(tmp_path) as api:
        run = await api.create_run("r", project="p")
        async with run.append(state="finished") as log:
            for row in ({"loss": 1.5}, {"loss": 2, "acc": 0.5}, {"other": 1}):
                await log(row)
        yield run


async def test_rows_become_what_they_are_asked_to_be(run: Run) -> None:
    async def rows(kind: type[Any]) -> list[Any]:
        return [row async for row in run.scan_history(max_step=2, type=kind)]

    assert await rows(Struct) == [Struct(1.5, step=0), Struct(2, 0.5, step=1)]
    assert await rows(Data) == [Data(1.5), Data(2, 0.5)]
    assert await rows(Attrs) == [Attrs(1.5), Attrs(2, 0.5)]
    assert await rows(Typed) == [{"loss": 1.5}, {"loss": 2}]
    assert await rows(Tuple) == [Tuple(1.5), Tuple(2, 0.5)]
    assert await rows(Model) == [Model(loss=1.5, _step=0), Model(loss=2, acc=0.5, _step=1)]
    assert await rows(PydanticData) == [PydanticData(1.5), PydanticData(2, 0.5)]


async def test_types_are_known_to_type_checkers(run: Run) -> None:
    keys = ["loss"]
    found: list[list[float]] = [
        [struct.loss async for struct in run.scan_history(keys, type=Struct)],
        [data.loss async for data in run.scan_history(keys, type=Data)],
        [made.loss async for made in run.scan_history(keys, type=Attrs)],
        [model.loss async for model in run.scan_history(keys, type=Model)],
        [typed["loss"] async for typed in run.scan_history(keys, type=Typed)],
        [loss async for loss, _ in run.scan_history(keys, type=Tuple)],
    ]
    assert found == [[1.5, 2]] * 6


@pytest.mark.parametrize("kind", CLASSES)
async def test_a_row_without_a_required_field_is_an_error_that_says_what_to_do(
    run: Run, kind: type[Any]
) -> None:
    with pytest.raises(RowError) as caught:
        async for _ in run.scan_history(type=kind):
            pass
    assert str(caught.value) == (
        f"Run local/p/r, step 2 has no 'loss', which {kind.__name__} requires: select rows with"
        " all required fields by keys=['loss'], or give the field a default."
    )
    assert (caught.value.step, caught.value.key, caught.value.value) == (2, "loss", None)


@pytest.mark.parametrize("kind", CLASSES)
async def test_a_value_that_does_not_fit_is_named(run: Run, kind: type[Any]) -> None:
    async with run.append() as log:
        await log({"loss": "much"})
    with pytest.raises(RowError, match="step 3: 'loss' is 'much': ") as caught:
        async for _ in run.scan_history(keys=["loss"], type=kind):
            pass
    assert (caught.value.step, caught.value.key, caught.value.value) == (3, "loss", "much")


class Plain:
    loss: float


@dataclass
class Unknown:
    loss: Missing  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Plain, "type must be a msgspec.Struct, dataclass, attrs class, TypedDict, NamedTuple"),
        (int, "or pydantic model, or None, not <class 'int'>"),
        (Data(1), "write the class, Data"),
        (Struct(1), "write the class, Struct"),
        (Unknown, "name 'Missing' is not defined"),
    ],
)
async def test_an_unsupported_type_of_rows_is_refused_at_once(
    run: Run, kind: Any, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run.scan_history(type=kind)


@pytest.mark.parametrize("kind", CLASSES)
def test_so_it_is_without_await(tmp_path: Path, kind: type[Any]) -> None:
    with Api.local(tmp_path) as api:
        run = api.create_run("r", project="p")
        with run.append(state="finished") as log:
            log({"loss": 1})
        assert len(list(run.scan_history(type=kind))) == 1
