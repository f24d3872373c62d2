"""Every public call of both clients with wrong values is refused before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from aiowandb import (
    Api,
    AsyncApi,
    InvalidPathError,
    MissingFileError,
    UsageError,
    api,
    sync,
)
from aiowandb.arguments import FixedAttributes
from aiowandb.wire.artifact_record import ArtifactRecord
from aiowandb.wire.files import FileRecord
from aiowandb.wire.projects import ProjectRecord
from aiowandb.wire.sweeps import SweepRecord
from tests.support.sample import Sample


class Lookalike:
    """Has the method of a transport, and is none: what it gives is not of httpx."""

    async def handle_async_request(self, request: Any) -> Any:
        raise NotImplementedError


# What no argument of that kind may be. None is added where it may not be left out.
NUMBER = [0, -1, 2**70, "5", 2.5, True, [1], b"1"]
STEP = [-1, 2**70, "x", 1.5, True, [1]]
SECONDS = [0, -1, "5", float("nan"), True, [1]]
FLAG = [1, "no", 0, []]
TEXT = [5, b"text", ["a"], True, ""]
OPTIONAL_TEXT = [5, b"text", ["a"], True]
NAMES = ["loss", b"loss", 5, [5], ["loss", None], [""], {"loss": 1}]
ORDERED = [*NAMES, {"loss"}]
VALUES = [5, "x", ["a"], {5: 1}, [("a", 1)]]
PATH = [5, b"out", ["a"], object(), "a\0b"]
RUN = [5, b"e/p/r", {"e", "p"}, ["e", 5], object()]

# By the name of a parameter; by its method's too, where the same name means something else.
WRONG: Mapping[str, list[Any]] = {
    "allow_missing_references": FLAG,
    "any_key": FLAG,
    "check_files": FLAG,
    "api": [5, "local", AsyncApi],
    "api_key": OPTIONAL_TEXT,
    "base_url": OPTIONAL_TEXT,
    "config": VALUES,
    "aliases": NAMES,
    "description": OPTIONAL_TEXT,
    "files": [5, b"out", [5], {"../x": "out"}, {5: "out"}],
    "group": OPTIONAL_TEXT,
    "headers": VALUES,
    "notes": OPTIONAL_TEXT,
    "metadata": VALUES,
    "references": [5, "s3://b", ["s3://b"], {"x": "b"}, {"/x": "s3://b"}],
    "log_artifact.name": [*TEXT, "a/b", "a:b"],
    "log_artifact.tags": NAMES,
    "log_artifact.type": TEXT,
    "start_run.name": OPTIONAL_TEXT,
    "start_run.path": TEXT,
    "delete_artifacts": FLAG,
    "display_name": OPTIONAL_TEXT,
    "entity": OPTIONAL_TEXT,
    "exclude": NAMES,
    "exist_ok": FLAG,
    "filesystem": ["s3", 5],
    "filters": [5, "state", [{"state": "finished"}]],
    "force": FLAG,
    "fresh": FLAG,
    "format": ["parket", "", 5, None, ["csv"]],
    "ids": ["kep", 5, None],
    "include_projects": NAMES,
    "exclude_projects": NAMES,
    "include": ["config", ["confg"], 5, [5], {"config": 1}],
    "index": ["a", 1.5, None, slice("a"), slice(0, 4, 0), True],
    "job_type": OPTIONAL_TEXT,
    "keys": ORDERED,
    "last": NUMBER,
    "layout": ["wid", 5, None],
    "max_concurrency": NUMBER,
    "max_memory": NUMBER,
    "max_rate": SECONDS,
    "total_timeout": SECONDS,
    "max_step": STEP,
    "merge": FLAG,
    "after": ["abc", 5, ["r"], {"r": "1"}, {1: 1}],
    "live": ["raed", "", 5, None],
    "min_step": STEP,
    "name": TEXT,
    "create_run.name": OPTIONAL_TEXT,
    "names": NAMES,
    "nan": ["nul", 5],
    "nested": ["dot", 5, None],
    "on_existing": ["overwrite", 5, None],
    "on_deleted": ["kep", 5, None],
    "on_event": [5, "print"],
    "order": OPTIONAL_TEXT,
    "ordered": FLAG,
    "overwrite": FLAG,
    "repair": FLAG,
    "page_size": NUMBER,
    "part_rows": NUMBER,
    "pandas": FLAG,
    "path": PATH,
    "retry": [5, 0.5, True, "never"],
    "run.path": RUN,
    "sweep.path": RUN,
    "runs.path": TEXT,
    "path_prefix": OPTIONAL_TEXT,
    "paths": [5, [], [5], {"a": 1}],
    "pattern": TEXT,
    "per_page": NUMBER,
    "plan": FLAG,
    "poll_interval": SECONDS,
    "project": OPTIONAL_TEXT,
    "proxy": OPTIONAL_TEXT,
    "replace": FLAG,
    "root": PATH,
    "row": VALUES,
    "run_id": [*TEXT, "a/b", "a:b", " a", "..", "a\0", "a\nb"],
    "runs": [5, "e/p", b"e/p", {"a": 1}, ["a"], [None]],
    "safe_csv": FLAG,
    "samples": NUMBER,
    "split": ["runs", 5],
    "start": TEXT,
    "state": ["finishd", "crashed", 5],
    "step": STEP,
    "stream": ["sytem", 5, None],
    "tags": ORDERED,
    "artifacts.tags": NAMES,
    "target": [5, None, b"out", object()],
    "copy_to.target": TEXT,
    "import_runs.target": TEXT,
    "restore.target": TEXT,
    "folder": PATH,
    "source": PATH,
    "timeout": SECONDS,
    "token": TEXT,
    "transport": [5, "http", httpx.AsyncHTTPTransport, httpx.HTTPTransport(), Lookalike()],
    "type": [5, int, "Row", dict, list[int]],
    "artifact.type": TEXT,
    "type_name": TEXT,
    "verify": [5, "ca.pem"],
    "copy_to.verify": FLAG,
    "import_runs.verify": FLAG,
    "restore.verify": FLAG,
    "what": ["runs", ["run"], 5, []],
    "x_axis": TEXT,
}
# What goes with it where more is required.
RIGHT: Mapping[str, Any] = {
    "config": {"lr": 0.1},
    "name": "name",
    "path": "e/p/r",
    "runs": [],
    "type_name": "model",
    "type": "model",
    "state": "failed",
    "paths": ["entity/project"],
    "target": "out",
    "folder": "out",
    "source": "out",
    "row": {"loss": 1},
    "index": 0,
}
# Words that are nearly right, and what is said of them.
TYPOS = [
    ("format", "parket", "did you mean 'parquet'?"),
    ("include", ["confg"], "did you mean 'config'?"),
    ("include", "confg", "write ['config']"),
    ("layout", "Wide", "did you mean 'wide'?"),
    ("nan", "nul", "did you mean 'null'?"),
    ("on_deleted", "kep", "did you mean 'keep'?"),
    ("stream", "sytem", "did you mean 'system'?"),
    ("state", "faild", "did you mean 'failed'?"),
    ("keys", "loss", "write ['loss']"),
    ("keys", {"loss"}, "a set has no order"),
    ("what", ["histroy"], "did you mean 'history'?"),
]
CLASSES = [
    (kind, face)
    for face in (api, sync)
    for kind in face.__all__
    if inspect.isclass(getattr(face, kind))
]
# They take what other programs give them.
NOT_FOR_PEOPLE = {"of", "__aexit__", "__exit__"}


def methods(kind: type) -> Iterator[tuple[str, inspect.Signature]]:
    """The public methods of a class that take arguments."""
    special = {"__call__", "__getitem__"} | ({"__init__"} if kind in (AsyncApi, Api) else set())
    for name in dir(kind):
        if name.startswith("_") and name not in special:
            continue
        member = getattr(kind, name)
        if not callable(member) or name in NOT_FOR_PEOPLE:
            continue
        signature = inspect.signature(member)
        names = [*signature.parameters]
        if names and names[0] in ("self", "wrapper"):
            names = names[1:]
        if names:
            taken = [signature.parameters[each] for each in names]
            yield name, signature.replace(parameters=taken)


CALLS = [
    (face.__name__, kind, method, parameter)
    for kind, face in CLASSES
    for method, signature in methods(getattr(face, kind))
    for parameter in signature.parameters
]


def wrong_values(method: str, parameter: inspect.Parameter) -> list[Any]:
    by_method = f"{method}.{parameter.name}"
    values = WRONG[by_method] if by_method in WRONG else WRONG[parameter.name]
    may_be_none = parameter.default is None or parameter.name == "order"
    return values if may_be_none or None in values else [*values, None]


def record(kind: type[Any], **known: Any) -> Any:
    """A record with something in each field that has to have something."""
    values = {
        field.name: {int: 1, bool: False}.get(field.type, "x")
        for field in msgspec.structs.fields(kind)
        if field.required
    }
    return kind(**values | known)


async def objects(api_: AsyncApi, sample: Sample) -> dict[str, Any]:
    """One of each class."""
    run = await api_.runs(sample.path)[0]
    session = api_._session
    project = api.Project(record(ProjectRecord), session)
    files = run.files()
    return {
        "AsyncApi": api_,
        "Run": run,
        "Runs": api_.runs(sample.path),
        "Append": run.append(),
        "LiveRun": api.LiveRun(run.record, session),
        "Files": files,
        "File": api.File(record(FileRecord), session, files._source),
        "Artifact": api.Artifact(record(ArtifactRecord), session),
        "Artifacts": run.logged_artifacts(),
        "Project": project,
        "Projects": api_.projects(),
        "Sweep": api.Sweep(record(SweepRecord), session, "e", "p"),
        "Sweeps": project.sweeps(),
    }


def call_args(method: str, signature: inspect.Signature, parameter: str, value: Any) -> Any:
    needed = {
        each.name: RIGHT[each.name]
        for each in signature.parameters.values()
        if each.default is inspect.Parameter.empty
    }
    return needed | {parameter: value}


@pytest.mark.anyio
async def test_every_wrong_value_is_refused_by_name_before_anything_is_sent(
    api: AsyncApi, sample: Sample
) -> None:
    for kind, one in (await objects(api, sample)).items():
        sent = api.traffic.requests
        for method, signature in methods(type(one)):
            for parameter in signature.parameters.values():
                for value in wrong_values(method, parameter):
                    kwargs = call_args(method, signature, parameter.name, value)
                    said = f"{kind}.{method}({kwargs})"
                    with pytest.raises(UsageError) as caught:
                        made = (
                            type(one)(**kwargs)
                            if method == "__init__"
                            else getattr(one, method)(**kwargs)
                        )
                        if isinstance(made, Awaitable):
                            await made
                        pytest.fail(f"{said} was taken")
                    assert parameter.name in str(caught.value), said
                    assert len(str(caught.value)) < 300, said
        assert api.traffic.requests == sent, kind


def test_without_await_too(sample: Sample) -> None:
    with Api.local(sample.folder) as api_:
        portal = api_._portal
        made: Any = objects
        originals = portal.call(made, api_._inner, sample)
        for kind, original in originals.items():
            name = "Api" if kind == "AsyncApi" else kind
            wrapper = api_ if name == "Api" else getattr(sync, name)(original, portal)
            sent = api_.traffic.requests
            for method, signature in methods(type(wrapper)):
                for parameter in signature.parameters.values():
                    for value in wrong_values(method, parameter):
                        kwargs = call_args(method, signature, parameter.name, value)
                        with pytest.raises(UsageError) as caught:
                            if method == "__init__":
                                type(wrapper)(**kwargs)
                            else:
                                getattr(wrapper, method)(**kwargs)
                            pytest.fail(f"{name}.{method}({kwargs}) was taken")
                        assert parameter.name in str(caught.value), (name, method, kwargs)
            assert api_.traffic.requests == sent, name


@pytest.mark.parametrize(("parameter", "typo", "hint"), TYPOS)
def test_a_typo_is_reported_with_the_nearest_right_word(
    parameter: str, typo: Any, hint: str
) -> None:
    found = [
        (method, function)
        for kind in api.__all__
        for method, _ in methods(getattr(api, kind))
        if parameter in getattr(function := getattr(getattr(api, kind), method), "checks", {})
    ]
    said = []
    for _, function in found:
        try:
            function.checks[parameter](parameter, typo)
        except UsageError as error:
            said.append(str(error))
    assert any(hint in each for each in said)


@pytest.mark.parametrize(("face", "kind", "method", "parameter"), CALLS)
def test_every_parameter_is_in_the_table(face: str, kind: str, method: str, parameter: str) -> None:
    assert parameter in WRONG or f"{method}.{parameter}" in WRONG


@pytest.mark.parametrize("kind", api.__all__)
def test_no_object_takes_an_attribute_that_it_does_not_have(kind: str) -> None:
    for face in (api, sync):
        cls = getattr(face, "Api" if face is sync and kind == "AsyncApi" else kind)
        frozen = issubclass(cls, msgspec.Struct) and cls.__struct_config__.frozen
        assert frozen or issubclass(cls, FixedAttributes) or "__setattr__" in vars(cls)


MISSING = "surely/not/there.bin"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"": 1}, "A key must be a string that is not empty, not ''"),
        ({"a": {5: 1}}, "A key must be a string that is not empty, not 5"),
        ({"a": [{"b": {True: 1}}]}, "A key must be a string that is not empty, not True"),
        ({"_timestamp": "x"}, "_timestamp must be a finite number, not 'x'"),
        ({"_timestamp": None}, "_timestamp must be a finite number, not None"),
        ({"_runtime": float("nan")}, "_runtime must be a finite number, not nan"),
    ],
)
async def test_a_row_that_could_not_be_read_back_is_refused(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    async with AsyncApi.local(tmp_path) as api:
        run = await api.create_run("r", project="p")
        with pytest.raises(UsageError) as caught:
            async with run.append() as log:
                await log(row)
        assert str(caught.value) == f"{said}."
        async with run.append() as log:
            await log({"loss": 1})
        assert log.added == 1


@pytest.mark.anyio
@pytest.mark.parametrize("pattern", ["*", "**"])
async def test_excluding_all_columns_is_refused(
    api: AsyncApi, sample: Sample, tmp_path: Path, pattern: str
) -> None:
    runs = api.runs(sample.path)
    with pytest.raises(UsageError, match="leaves no columns"):
        (await runs[0]).scan_history(exclude=[pattern])
    with pytest.raises(UsageError, match="matches _step, which every history has"):
        await runs.export(tmp_path / "out", exclude=["val", pattern])


@pytest.mark.anyio
async def test_a_filter_of_no_alternatives_is_refused(api: AsyncApi, sample: Sample) -> None:
    with pytest.raises(UsageError, match=r"\$or takes at least one filter"):
        api.runs(sample.path, {"$or": []})


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["e/p/r\0", "e/p\n/r", "ftp://wandb.ai/e/p/runs/r"])
async def test_an_invalid_path_is_refused(api: AsyncApi, path: str) -> None:
    with pytest.raises(InvalidPathError, match="Invalid path"):
        await api.run(path)


@pytest.mark.anyio
async def test_a_file_to_upload_that_is_missing_is_named(api: AsyncApi, sample: Sample) -> None:
    run = await api.runs(sample.path)[0]
    with pytest.raises(MissingFileError, match=f"{MISSING} does not exist") as caught:
        await run.upload_file(MISSING)
    assert isinstance(caught.value, UsageError)
    assert isinstance(caught.value, FileNotFoundError)
