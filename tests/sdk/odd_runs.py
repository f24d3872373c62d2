"""Runs with values that are rarely logged, but have occurred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from aiowandb.wire import lenient
from aiowandb_server import RunChanges, Store

Row = dict[str, Any]
KEYS = ["train/loss", "val.acc"]


class OddRun(NamedTuple):
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    tags: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    finished: bool


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
names = st.sampled_from(["x", "y", "lit.eral", "train/lr", "naïve ☃", "two words", '"', "🦊"])
numbers = st.integers(-(2**40), 2**40) | st.floats(width=32) | st.sampled_from([0.1, -1e300])
values = st.none() | st.booleans() | numbers | texts | st.sampled_from(["NaN", "Infinity", "null"])
deep_values = st.recursive(
    values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)
mappings = st.dictionaries(names, deep_values, max_size=5)


losses: st.SearchStrategy[Row] = st.fixed_dictionaries({"train/loss": st.floats()})
accuracies = st.fixed_dictionaries({"val": st.fixed_dictionaries({"acc": st.floats(0, 1)})})
asked_for: st.SearchStrategy[Row] = (
    st.just({}) | losses | st.builds(lambda loss, acc: loss | acc, losses, accuracies)
)


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Rows with gaps between their steps, most of which have what is asked for by name."""
    step, drawn = draw(st.sampled_from([0, 0, 5, 61_010])), []
    for odd in draw(st.lists(mappings, max_size=12)):
        drawn.append({"_step": step, **odd, **draw(asked_for)})
        step += draw(st.sampled_from([1, 1, 1, 7]))
    return drawn


odd_runs = st.builds(
    OddRun, mappings, mappings, st.lists(texts.filter(bool), max_size=2), rows(), st.booleans()
)


def write(store: Store, project_name: str, runs: Sequence[OddRun]) -> None:
    user = store.accounts.ensure_user("local")
    project, _ = store.projects.ensure("local", project_name)
    for number, odd in enumerate(runs):
        changes = RunChanges(
            user_id=user.id,
            config=lenient.dumps({key: {"value": value} for key, value in odd.config.items()}),
            summary=lenient.dumps(odd.summary),
            tags=odd.tags,
        )
        run, _ = store.runs.upsert(project, f"odd-{number}", changes)
        store.history.append(run, [lenient.dumps(row) for row in odd.rows])
        if odd.finished:
            store.finish(run)
