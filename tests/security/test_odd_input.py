"""Odd texts and values in everything that can be written: the embedded W&B refuses them or stores
something that can be read, and the project stays readable."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
import pyarrow.parquet as pq
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
    is_leaf_type,
)
from hypothesis import given
from hypothesis import strategies as st

from aiowandb_server import RunChanges, Store, create_app
from aiowandb_server.graphql.execution import load_schema
from aiowandb_server.graphql.scalars import encode_id
from aiowandb_server.store.artifact_records import NewVersion
from aiowandb_server.store.sweeps import SweepChanges
from tests.conftest import examples

HALF = "\ud800"
odd_texts = st.text(st.characters(codec=None), max_size=6) | st.sampled_from(
    [
        HALF,
        "\udc00key",
        "a\ud83d",
        "a\0b",
        "\x01\x1f",
        "",
        ".",
        "a.b",
        '"',
        "\\",
        "_step",
        "_type",
        "🦊",
        "NaN",
        "\ud800" * 300,
        "long " * 3000,
        "../x",
        "%00",
        "v99999999999999999999",
        "1e999",
    ]
)
numbers = st.sampled_from(
    [0, -1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**400, 1e300, float("nan")]
) | st.sampled_from([float("inf"), -0.0, 5e-324])
flat = st.none() | st.booleans() | numbers | odd_texts
odd_values = st.recursive(
    flat,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_texts, inner, max_size=3),
    max_leaves=6,
) | st.sampled_from([20, 60, 199, 300, 3000]).map(lambda depth: Deep(depth))
odd_objects = st.dictionaries(odd_texts, odd_values, max_size=4)


@dataclass(frozen=True)
class Deep:
    """A list in a list in a list..., which `json.dumps` would not write."""

    depth: int

    @property
    def text(self) -> str:
        return "[" * self.depth + "1" + "]" * self.depth


def dumps(value: Any) -> str:
    """JSON in ASCII, with escapes for half surrogates."""
    if isinstance(value, Deep):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(dumps, value)) + "]"
    return json.dumps(value)


@dataclass(frozen=True)
class World:
    store: Store
    app: Any

    def send(self, *requests: tuple[str, str, bytes]) -> list[httpx.Response]:
        async def send() -> list[httpx.Response]:
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(self.app),
                base_url="http://wandb.test",
                auth=("api", self.store.local_key),
            ) as http:
                return [await http.request(how, to, content=body) for how, to, body in requests]

        return anyio.run(send)

    def ask(self, query: str, variables: Mapping[str, Any]) -> httpx.Response:
        body = dumps({"query": query, "variables": dict(variables)}).encode()
        (response,) = self.send(("POST", "/graphql", body))
        return response

    def read(self) -> Any:
        """All that there is in the project; the answer must hold no errors."""
        _fill(self.store)
        response = self.ask(READING, {})
        assert response.status_code == 200, response.text[:2000]
        response.content.decode()
        project = response.json()["data"]["project"]
        assert "witness" in [edge["node"]["name"] for edge in project["runs"]["edges"]]
        return project


RUN = """
  name displayName state config summaryMetrics systemMetrics historyTail eventsTail tags notes group
  jobType host exitcode historyLineCount historyKeys wandbConfig
  history(minStep: -9223372036854775807, samples: 1000) events(samples: 100)
  sampledHistory(specs: ["{\\"keys\\": [\\"_step\\"]}"])
  parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData }
  logLines(first: 100) { edges { node { line } } }
  files(first: 100) { edges { node { name directUrl } } }
"""
ARTIFACT = "id digest description metadata state size versionIndex tags { name } aliases { alias }"
READING = f"""query {{ project(name: "odd", entityName: "local") {{ id name description
  runs(first: 1000) {{ totalCount edges {{ node {{ {RUN} }} }} }}
  byConfig: runs(first: 1000, order: "-config.{"x" * 3}") {{ edges {{ node {{ name }} }} }}
  bySummary: runs(first: 1000, order: "+summary_metrics.a") {{ edges {{ node {{ name }} }} }}
  some: runs(first: 1000, filters: "{{\\"config.a\\": {{\\"$regex\\": \\".\\"}}}}") {{ totalCount }}
  sweeps(first: 100) {{ edges {{ node {{ name config method bestLoss runCount runCountExpected
    displayName description agents {{ edges {{ node {{ name host }} }} }} }} }} }}
  artifactTypes {{ edges {{ node {{ name
    artifactCollections(first: 100) {{ edges {{ node {{ name description
      artifacts(first: 100) {{ edges {{ node {{ {ARTIFACT} }} }} }} }} }} }} }} }} }}
}} }}"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Store.open(tmp_path_factory.mktemp("odd")) as store:
        _fill(store)
        yield World(store, create_app(store))


_numbers = itertools.count()


def _fill(store: Store) -> dict[str, str]:
    """One thing of each kind, made again if it is gone; gives their ids."""
    project, _ = store.projects.ensure("local", "odd")
    run, _ = store.runs.upsert(project, "witness", RunChanges(config='{"a": {"value": 1}}'))
    if not run.history_lines:
        store.history.append(run, ['{"_step":0,"a":1}', '{"_step":1,"a":2}'])
        store.finish(run)
    if moved := store.collections.get(project.id, "set"):
        store.collections.change(moved.id, type_name="dataset")
    sequence = store.collections.ensure(project, "set", "dataset")
    portfolio = store.collections.ensure(project, "best", "dataset", "PORTFOLIO")
    artifact = store.artifacts.create(sequence, NewVersion("d", f"c{next(_numbers)}"))
    manifest = store.manifests.announce(
        artifact.id, kind="FULL", name="wandb_manifest.json", digest="", base_id=None
    )
    if manifest.blob is None:
        store.manifests.upload(manifest, store.blobs.add(b'{"contents": {}}'))
    sweeps = store.sweeps.page(project, first=1).items or [
        store.sweeps.create(
            project, SweepChanges(config="{method: random, parameters: {x: {value: 1}}}")
        )
    ]
    agents = store.sweeps.agents(sweeps[0]) or [store.sweeps.add_agent(sweeps[0], "host")]
    rows = {
        "Run": run.id,
        "File": store.files.add(run, "f", b"").id,
        "Sweep": sweeps[0].id,
        "Agent": agents[0].id,
        "Artifact": artifact.id,
        "ArtifactSequence": sequence.id,
        "ArtifactPortfolio": portfolio.id,
        "Manifest": manifest.id,
    }
    return {
        f"@{kind}": encode_id(
            "ArtifactCollection" if kind in ("ArtifactSequence", "ArtifactPortfolio") else kind, row
        )
        for kind, row in rows.items()
    } | {"@sweep": sweeps[0].name}


def stream_body(**files: list[Any]) -> bytes:
    names = {
        "history": "wandb-history.jsonl",
        "events": "wandb-events.jsonl",
        "console": "output.log",
        "summary": "wandb-summary.json",
    }
    body = {names[name]: {"offset": 0, "content": content} for name, content in files.items()}
    return dumps({"files": body, "complete": True, "exitcode": 0}).encode()


rows = st.lists(odd_objects, min_size=1, max_size=4)


@pytest.mark.slow
@examples(20)
@given(
    history=rows,
    events=rows,
    console=st.lists(odd_texts, max_size=3),
    summary=odd_objects,
    as_text=st.booleans(),
)
def test_odd_rows_can_be_read_and_leave_the_project_readable(
    world: World,
    history: list[Any],
    events: list[Any],
    console: list[str],
    summary: Any,
    as_text: bool,
) -> None:
    project = world.store.projects.get("local", "odd")
    assert project is not None
    run, _ = world.store.runs.upsert(project, "odd")
    coded = [[dumps(row) if as_text else row for row in lines] for lines in (history, events)]
    body = stream_body(history=coded[0], events=coded[1], console=console, summary=[dumps(summary)])
    try:
        (response,) = world.send(("POST", "/files/local/odd/odd/file_stream", body))
        assert response.status_code < 500
        found = next(
            edge["node"] for edge in world.read()["runs"]["edges"] if edge["node"]["name"] == "odd"
        )
        for text in found["history"]:
            row = json.loads(text)
            json.dumps(row, ensure_ascii=False).encode()
            assert type(row["_step"]) is int
        keys = set((found["historyKeys"] or {"keys": {}})["keys"])
        for url in found["parquetHistory"]["parquetUrls"]:
            (download,) = world.send(("GET", url, b""))
            table = pq.read_table(io.BytesIO(download.content))
            assert table.num_rows == len(found["history"])
            assert set(table.column_names) >= {"_step"}
            assert keys <= {"_step", *table.column_names}
    finally:
        world.store.runs.delete(run.id)


def inputs(kind: Any, mutation: str = "", name: str = "") -> st.SearchStrategy[Any]:
    """Values of the type for the field of that name, mostly such that get somewhere."""
    if isinstance(kind, GraphQLNonNull):
        return _values(kind.of_type, mutation, name)
    return st.none() | _values(kind, mutation, name)


def _values(kind: Any, mutation: str, name: str) -> st.SearchStrategy[Any]:
    if isinstance(kind, GraphQLList):
        return st.lists(inputs(kind.of_type, mutation, name), max_size=2)
    if (mutation, name) == ("upsertSweep", "config"):
        return st.one_of(_configs, _configs, _configs, odd_texts)
    if isinstance(kind, GraphQLEnumType):
        return st.sampled_from(list(kind.values))
    if isinstance(kind, GraphQLInputObjectType):
        fields = {key: inputs(field.type, mutation, key) for key, field in kind.fields.items()}
        required = {
            key: fields.pop(key)
            for key, field in kind.fields.items()
            if isinstance(field.type, GraphQLNonNull) or key in KNOWN
        }
        return st.fixed_dictionaries(required, optional=fields)
    if known := KNOWN.get(f"{mutation}.{name}") or KNOWN.get(name):
        return st.sampled_from(3 * known) | (_ids if kind.name == "ID" else odd_texts)
    return {
        "ID": _ids,
        "Boolean": st.booleans(),
        "Int": st.integers(-(2**31), 2**31 - 1),
        "Int64": _integers,
        "Duration": _integers,
        "Float": _integers | st.floats(allow_nan=False, allow_infinity=False),
        "JSONString": odd_objects.map(dumps) | odd_texts | odd_objects,
    }.get(kind.name, odd_texts)


_ids = st.builds(encode_id, st.sampled_from(["Run", "File"]), st.just(2**70)) | odd_texts
_integers = st.sampled_from([0, -1, 7, 2**53, 2**63 - 1, -(2**63), 2**63, 10**30])
_parameters = odd_values | st.fixed_dictionaries({"values": st.lists(odd_values, min_size=1)})
_configs = st.builds(
    lambda method, parameters, metric: dumps(
        {"method": method, "parameters": parameters, "metric": metric}
    ),
    st.sampled_from(["grid", "random", "bayes"]),
    st.dictionaries(odd_texts, _parameters, max_size=2),
    st.none() | st.fixed_dictionaries({"name": odd_texts | odd_values}),
)
# What begins with @ stands for an id.
KNOWN = {
    "entityName": ["local"],
    "projectName": ["odd"],
    "modelName": ["odd"],
    "runName": ["witness"],
    "artifactCollectionName": ["set", "best"],
    "artifactTypeName": ["dataset"],
    "digest": ["d", "e"],
    "artifactID": ["@Artifact"],
    "artifactSequenceID": ["@ArtifactSequence"],
    "artifactPortfolioID": ["@ArtifactPortfolio"],
    "artifactManifestID": ["@Manifest"],
    "baseArtifactID": ["@Artifact"],
    "metricName": ["_step"],
    "storageRegion": ["default"],
    "sweep": ["@sweep"],
    "upsertBucket.id": ["@Run"],
    "upsertSweep.id": ["@Sweep"],
    "deleteRun.id": ["@Run"],
    "stopRun.id": ["@Run"],
    "updateRunState.id": ["@Run"],
    "agentHeartbeat.id": ["@Agent"],
    "deleteFiles.files": ["@File"],
    "upsertBucket.state": ["running", "finished"],
    "upsertSweep.state": ["RUNNING", "PAUSED"],
}


def mutations() -> dict[str, str]:
    """Every mutation but that which deletes the project, with the plain fields of its answer."""
    root = load_schema().mutation_type
    assert root is not None
    documents = {}
    for name, field in root.fields.items():
        kind = field.args["input"].type
        payload: Any = get_named_type(field.type)
        plain = [key for key, member in payload.fields.items() if is_leaf_type(_bare(member.type))]
        wanted = " ".join(["__typename", *plain])
        documents[name] = f"mutation($input: {kind}) {{ {name}(input: $input) {{ {wanted} }} }}"
    del documents["deleteModel"]
    return documents


def _bare(kind: Any) -> Any:
    return kind.of_type if isinstance(kind, GraphQLNonNull) else kind


def with_ids(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: with_ids(item, known) for key, item in value.items()}
    if isinstance(value, list):
        return [with_ids(item, known) for item in value]
    return known.get(value, value) if isinstance(value, str) else value


MUTATIONS = mutations()


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
@examples(6)
@given(data=st.data())
def test_an_odd_change_is_refused_or_can_be_read(
    world: World, name: str, data: st.DataObject
) -> None:
    root = load_schema().mutation_type
    assert root is not None
    drawn = data.draw(inputs(root.fields[name].args["input"].type, name))
    known = _fill(world.store)
    response = world.ask(MUTATIONS[name], {"input": with_ids(drawn, known)})
    assert response.status_code < 500, response.text[:2000]
    world.read()
