"""Unchanged parts of a run are sent back to W&B exactly as they were, down to the digits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb import AsyncApi, Run
from aiowandb.wire import lenient
from aiowandb.wire.appending import PendingRows
from aiowandb.wire.changes import RunDiff
from aiowandb.wire.record import RunRecord
from aiowandb_server import RunChanges as StoredChanges
from aiowandb_server import Store
from tests.conftest import examples

# Values as somebody may have stored them, that Python or JSON's readers do not take as they are.
LITERALS = [
    "0.1000000000000000055",
    "0.30000000000000004",
    "1e400",
    "-1E+400",
    "1e-400",
    "-0.0",
    "-0",
    "1.0",
    "1",
    "1.50",
    "1E5",
    "18446744073709551616",
    "-4611686018427387905",
    "-9223372036854775809",
    "1180591620717411303424",
    "9" * 5000,
    "NaN",
    "-Infinity",
    "true",
    "null",
    '"NaN"',
    '"\\ud800"',
    '"a\\u0000b\\/"',
    '"tab\tand\nline"',
    '"naïve \\u2603 ☃"',
    '""',
    "[" * 20 + "]" * 20,
    "[" * 400 + "]" * 400,
]
KEYS = ["a", "b", "val.acc", "\\u0061", "\\ud800", 'quo\\"te', "tab\t", "value", "_type", ""]
SPACE = st.sampled_from(["", " ", "\n  "])
leaves = st.sampled_from(LITERALS)


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    """The text of an object, some of whose keys may be there twice."""
    pairs = draw(st.lists(st.tuples(st.sampled_from(KEYS), values), max_size=5))
    members = (f'{draw(SPACE)}"{key}"{draw(SPACE)}:{draw(SPACE)}{value}' for key, value in pairs)
    return "{" + ",".join(members) + draw(SPACE) + "}"


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda items: f"[{', '.join(items)}]")


values = st.recursive(leaves, lambda inner: objects(inner) | arrays(inner), max_leaves=5)
wrapped = values.map(lambda text: f'{{"value": {text}, "desc": null}}') | values


class Literal(str):
    """A number as it is written."""


def pairs_of(text: str) -> Any:
    """What a text says: numbers by their digits, objects by their members in order."""
    return json.loads(
        text,
        strict=False,
        parse_int=Literal,
        parse_float=Literal,
        parse_constant=Literal,
        object_pairs_hook=tuple,
    )


def members(text: str, *, without: str) -> list[Any]:
    return [pair for pair in pairs_of(text) if pair[0] != without]


def record(**texts: Any) -> RunRecord:
    return RunRecord(storage_id="x", id="r", **texts)


def sent(read: RunRecord, wanted: RunRecord, current: RunRecord | None = None) -> dict[str, Any]:
    changes = RunDiff.of(read, wanted)
    return changes.input(current or read) if changes else {}


@examples(35)
@given(objects(values), st.sampled_from(["a", "new", "val.acc", "\ud800"]))
def test_a_changed_summary_key_leaves_all_others_as_they_are_stored(text: str, key: str) -> None:
    read, wanted = record(summary_json=text), record(summary_json=text)
    wanted.summary._json_dict[key] = {"changed": 1}
    written = sent(read, wanted)["summaryMetrics"]
    assert members(written, without=key) == members(text, without=key)
    assert [value for name, value in pairs_of(written) if name == key] == [(("changed", "1"),)]


@examples(35)
@given(objects(wrapped), st.sampled_from(["a", "new", "\ud800"]))
def test_a_changed_config_key_leaves_all_others_as_they_are_stored(text: str, key: str) -> None:
    read, wanted = record(config_json=text), record(config_json=text)
    wanted.config[key] = {"changed": 1}
    written = sent(read, wanted)["config"]
    assert members(written, without=key) == members(text, without=key)
    assert record(config_json=written).config[key] == {"changed": 1}


@examples(35)
@given(objects(values))
def test_a_key_that_is_removed_takes_no_other_with_it(text: str) -> None:
    read, wanted = record(summary_json=text), record(summary_json=text)
    for key in read.summary:
        wanted.summary.pop(key)
        written = sent(read, wanted)["summaryMetrics"]
        assert members(written, without=key) == members(text, without=key)
        assert key not in dict(pairs_of(written))
        wanted = record(summary_json=text)


@examples(35)
@given(objects(values), objects(wrapped))
def test_unchanged_values_are_not_sent(summary: str, config: str) -> None:
    read, wanted = (record(summary_json=summary, config_json=config) for _ in range(2))
    assert dict(wanted.summary).keys() == dict(pairs_of(summary)).keys()
    assert wanted.config is not None
    assert sent(read, wanted) == {}
    assert wanted.json_config == config


@examples(35)
@given(objects(values), objects(values))
def test_a_change_deep_within_leaves_its_neighbours_as_they_are_stored(
    inner: str, other: str
) -> None:
    text = f'{{"deep": {{"er": {inner}, "list": [0.10000000000000001, {other}]}}, "b": {other}}}'
    read, wanted = record(summary_json=text), record(summary_json=text)
    deep = wanted.summary["deep"]
    if isinstance(deep, str):
        return  # nested too deeply to be more than text
    deep["er"]["new"] = 1
    deep["list"].append(2)
    written = pairs_of(sent(read, wanted)["summaryMetrics"])
    (_, (er, (_, items))), b = written
    assert er == ("er", (*(pair for pair in pairs_of(inner) if pair[0] != "new"), ("new", "1")))
    assert items == ["0.10000000000000001", pairs_of(other), "2"]
    assert b == ("b", pairs_of(other))


@examples(35)
@given(objects(wrapped), objects(wrapped))
def test_a_merge_leaves_what_others_stored_meanwhile(text: str, theirs: str) -> None:
    read, wanted = record(config_json=text), record(config_json=text)
    wanted.config["mine"] = 1
    written = sent(read, wanted, record(config_json=theirs))["config"]
    assert pairs_of(written) == (*pairs_of(theirs), ("mine", (("value", "1"), ("desc", None))))


def test_a_merge_keeps_nested_changes_of_others() -> None:
    text = '{"deep": {"value": {"a": 1, "b": 1.0}, "desc": "mine"}}'
    theirs = '{"deep": {"value": {"a": 1, "b": 3.10, "c": 1e400}, "desc": "theirs"}}'
    read, wanted = record(config_json=text), record(config_json=text)
    wanted.config["deep"]["a"] = 2
    written = sent(read, wanted, record(config_json=theirs))["config"]
    assert written == '{"deep":{"value":{"a":2,"b":3.10,"c":1e400},"desc":"theirs"}}'


def test_a_merge_wins_for_a_key_that_others_created_too() -> None:
    read, wanted = record(config_json="{}"), record(config_json="{}")
    wanted.config["lr"] = 2
    written = sent(read, wanted, record(config_json='{"lr":{"value":1.0,"desc":"x"}}'))["config"]
    assert written == '{"lr":{"value":2,"desc":"x"}}'


ODD_WORDS = ["undefined", "+1", ".5", "1_000", "{1: 2}", "[" * 5000 + "]" * 5000]


@pytest.mark.parametrize("word", ODD_WORDS)
def test_values_that_cannot_be_decoded_are_kept_as_text(word: str) -> None:
    text = f'{{"odd": {word}, "loss": NaN, "n": -4611686018427387905, "in": {{"a": {word}}}}}'
    read, wanted = record(summary_json=text), record(summary_json=text)
    assert (wanted.summary["odd"], wanted.summary["n"]) == (word, -4611686018427387905)
    wanted.summary["best"] = 1
    written = sent(read, wanted)["summaryMetrics"]
    assert f'"odd":{word},"loss":NaN,"n":-4611686018427387905,"in":{{"a": {word}}}' in written


@pytest.mark.parametrize("word", ODD_WORDS)
def test_a_config_keeps_values_that_cannot_be_decoded_too(word: str) -> None:
    text = f'{{"odd": {{"value": {word}}}, "lr": {{"value": 0.10}}, "_wandb": {{"value": {word}}}}}'
    read, wanted = record(config_json=text), record(config_json=text)
    assert (wanted.config["odd"], wanted.config["lr"]) == (word, 0.1)
    wanted.config["new"] = 1
    written = sent(read, wanted)["config"]
    kept = f'"odd":{{"value": {word}}},"lr":{{"value": 0.10}},"_wandb":{{"value": {word}}}'
    assert kept in written


def test_rows_that_are_added_leave_the_rest_of_the_summary_as_it_is_stored() -> None:
    text = (
        '{"old": 0.1000000000000000055, "big": -4611686018427387905, "loss": NaN,'
        ' "val": {"acc": 1e400, "top": 0.50}}'
    )
    run = record(summary_json=text, config_json="{}")
    rows = PendingRows(run, state=None, clock=lambda: 100.0)
    rows.add({"loss": 0.5, "val": {"top": 0.25}}, None)
    written = rows.body()["files"]["wandb-summary.json"].content[0]
    kept = {"old": "0.1000000000000000055", "big": "-4611686018427387905", "loss": "0.5"}
    found = dict(pairs_of(written))
    assert {key: found[key] for key in kept} == kept
    assert found["val"] == (("acc", "1e400"), ("top", "0.25"))


CONFIG = """{"big": {"value": -4611686018427387905}, "huge": {"value": 18446744073709551616, "desc":
null}, "f": {"value": [0.1000000000000000055, 1.0, {"x": 1e400}]}, "nan": {"value": NaN}, "s":
{"value": "a\tb \\u00e9"}, "twice": {"value": 1}, "twice": {"value": 2.50}, "_wandb": {"value":
{"t": {"1": 0.10}}}, "bare": 1E2, "deep": {"value": {"a": -0.0, "b": 1}}}"""
SUMMARY = """{"big": -4611686018427387905, "huge": 18446744073709551616, "nan": NaN, "f":
0.1000000000000000055, "val": {"loss": 1e400, "best": {"min": 1.0}}, "twice": 1, "twice": 2}"""


async def both_texts(folder: Path, change: Any) -> tuple[str, str]:
    """What the embedded W&B stores after `change` was made to a run with those above."""
    with Store.open(folder) as store:
        store.accounts.ensure_entity("local")
        project, _ = store.projects.ensure("local", "p")
        store.runs.upsert(project, "r", StoredChanges(config=CONFIG, summary=SUMMARY))
    async with AsyncApi.local(folder, project="p") as api:
        run = await api.run("r")
        assert (run.config["big"], run.config["huge"]) == (-4611686018427387905, 2**64)
        assert run.summary["big"] == -4611686018427387905
        await change(run)
    with Store.open(folder) as store:
        project, _ = store.projects.ensure("local", "p")
        found = store.runs.get(project, "r")
        assert found
        return found.config, found.summary


@pytest.mark.anyio
async def test_an_update_stores_what_was_changed_and_nothing_else(tmp_path: Path) -> None:
    async def change(run: Run) -> None:
        run.config["lr"] = 0.5
        run.config["deep"]["b"] = 2
        run.summary["val.best"]["min"] = 0.5
        run.summary["new"] = 1
        await run.update()

    config, summary = await both_texts(tmp_path, change)
    expected = pairs_of(CONFIG)[:-1]
    assert pairs_of(config)[:-2] == expected
    assert pairs_of(config)[-2:] == (
        ("deep", (("value", (("a", "-0.0"), ("b", "2"))),)),
        ("lr", (("value", "0.5"), ("desc", None))),
    )
    val = ("val", (("loss", "1e400"), ("best", (("min", "0.5"),))))
    before = pairs_of(SUMMARY)
    assert pairs_of(summary) == (*before[:4], val, *before[5:], ("new", "1"))


@pytest.mark.anyio
async def test_a_summary_alone_does_so_too(tmp_path: Path) -> None:
    async def change(run: Run) -> None:
        await run.summary.update({"nan": 0.5})

    config, summary = await both_texts(tmp_path, change)
    assert config == CONFIG
    assert pairs_of(summary) == tuple(
        (key, "0.5" if key == "nan" else value) for key, value in pairs_of(SUMMARY)
    )


@pytest.mark.anyio
async def test_tags_alone_send_neither(tmp_path: Path) -> None:
    async def change(run: Run) -> None:
        assert isinstance(run.config, Mapping)
        run.tags.append("best")
        await run.update()

    assert await both_texts(tmp_path, change) == (CONFIG, SUMMARY)


@pytest.mark.anyio
async def test_half_a_surrogate_can_be_sent(tmp_path: Path) -> None:
    async def change(run: Run) -> None:
        run.config["s"] = [run.config["s"], "\udc00"]
        await run.update()

    config, _ = await both_texts(tmp_path, change)
    # The embedded W&B stores what every reader can take in its place.
    assert lenient.loads(config)["s"]["value"] == ["a\tb \u00e9", "\ufffd"]
