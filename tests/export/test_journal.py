"""The journal of an export stays about as short as its state, and old formats can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.api.runs import Runs
from aiowandb.export.folders.local import LocalFolder
from aiowandb.export.journal import (
    Begun,
    Committed,
    Deleted,
    Dropped,
    ExportIdentity,
    ExportState,
    Fetched,
    Journal,
    Planned,
    Record,
    Rendered,
    Staged,
    Unstaged,
    Widened,
)
from aiowandb.export.options import ExportOptions
from aiowandb.export.stored import Part, RunSnapshot, StagedRun, StoredRun
from aiowandb.history.columns import Kind
from aiowandb.history.reading import RowMark
from tests.export.conftest import Project, contents, places, steps

BEGUN = Begun(1, ExportIdentity("api.wandb.ai", "me/mnist"), ExportOptions())
NAMES, NUMBERS = st.sampled_from("abc"), st.integers(0, 5)
SNAPSHOTS = st.builds(
    RunSnapshot, run=NAMES, storage_id=NAMES, lines=st.none() | NUMBERS, last_step=NUMBERS
)
STORED = st.builds(
    StoredRun,
    SNAPSHOTS,
    NUMBERS,
    st.none() | NUMBERS,
    st.none() | st.builds(RowMark, NUMBERS, NAMES),
)
DATASETS = st.sampled_from(["history", "system"])
RECORDS = st.lists(
    st.builds(Widened, DATASETS, st.dictionaries(NAMES, st.sampled_from(Kind)), st.just(()))
    | st.builds(Planned, DATASETS, st.lists(NUMBERS, unique=True).map(lambda n: tuple(sorted(n))))
    | st.builds(Staged, DATASETS, st.builds(StagedRun, STORED, NAMES, NUMBERS, NUMBERS, NUMBERS))
    | st.builds(Unstaged, DATASETS, st.lists(NAMES).map(tuple))
    | st.builds(
        Committed,
        DATASETS,
        st.builds(Part, NUMBERS, NAMES, NUMBERS, NUMBERS, st.lists(STORED).map(tuple)),
    )
    | st.builds(Dropped, DATASETS, st.lists(NUMBERS).map(tuple))
    | st.builds(Rendered, DATASETS, NAMES, st.lists(NUMBERS).map(tuple), NUMBERS)
    | st.builds(Fetched, st.sampled_from(["files", "artifacts"]), SNAPSHOTS)
    | st.builds(Deleted, st.lists(NAMES).map(tuple))
)


def state_of(records: list[Record]) -> dict[str, Any]:
    state = ExportState()
    for record in records:
        state.apply(record)
    return vars(state) | {"datasets": {k: vars(v) for k, v in state.datasets.items()}}


@given(RECORDS)
def test_the_records_that_a_state_is_written_as_amount_to_that_state(
    records: list[Record],
) -> None:
    state = ExportState()
    for record in (BEGUN, *records):
        state.apply(record)
    assert state_of(list(state.records())) == state_of([BEGUN, *records])


def test_a_journal_becomes_short_again(tmp_path: Path) -> None:
    def opened() -> Journal:
        return Journal(LocalFolder(tmp_path), "journal.jsonl")

    journal = opened()
    journal.append(BEGUN)
    longest = 0
    for number in range(2_000):
        runs = tuple(StoredRun(RunSnapshot(f"run-{i}", "x", 1, 0)) for i in range(20))
        journal.append(Committed("history", Part(number, "part", 1, 1, runs)))
        journal.append(Dropped("history", (number,)), durable=False)
        longest = max(longest, (tmp_path / "journal.jsonl").stat().st_size)
    journal.close()
    assert longest < 100_000
    again = opened()
    assert again.state.begun == BEGUN
    assert again.state.dataset("history").next_number == 2_000
    again.close()


@pytest.mark.anyio
@pytest.mark.slow
async def test_exports_of_a_project_that_grows_keep_the_journal_short(
    project: Project, runs: Runs, out: Path
) -> None:
    journal = out / ".aiowandb-export" / "journal.jsonl"
    for number in range(300):
        project.log(f"run-{number}", [], finish=False)
    sizes = []
    for number in range(12):
        project.log("run-0", steps(number, number + 1), finish=False)
        await runs.export(out)
        sizes.append(journal.stat().st_size)
    assert max(sizes) < 5 * sizes[0]
    assert places(out) == [("run-0", i) for i in range(12)]


def as_old_versions_wrote_it(journal: Path, last_time: Any, last_step: int | None) -> None:
    """Make the journal one of the first version, in which runs had no marks."""
    lines = []
    for line in journal.read_text().splitlines():
        record = json.loads(line)
        record.pop("token", None)
        record.get("options", {}).pop("on_deleted", None)
        if record["record"] in ("staged", "unstaged", "deleted"):
            continue
        for stored in record.get("part", {}).get("runs", ()):
            del stored["listed"]["heartbeat"]
            del stored["rows_read"]
            del stored["last"]
            stored |= {"last_step": last_step, "last_time": last_time}
        lines.append(json.dumps(record))
    journal.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("last_time", "last_step"), [(1_750_000_009.25, 9), ("yesterday", 9), (None, None)]
)
async def test_a_folder_of_the_first_version_can_be_updated(
    project: Project,
    runs: Runs,
    out: Path,
    tmp_path: Path,
    last_time: Any,
    last_step: int | None,
) -> None:
    for name in "abc":
        project.post(name, 0, steps(0, 10), finish=name != "c")
    await runs.export(out)
    as_old_versions_wrote_it(out / ".aiowandb-export" / "journal.jsonl", last_time, last_step)
    before = contents(out)
    again = await runs.export(out)
    assert (again.requests, again.downloads) == (1, 0)
    assert contents(out) == before
    project.post("c", 10, steps(10, 20), finish=True)
    await runs.export(out)
    await runs.export(tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "time",
    [
        "yesterday",
        10**400,
        *(
            pytest.param(time, marks=pytest.mark.slow)
            for time in (None, [1], {"a": 1}, float("nan"), True)
        ),
    ],
)
async def test_an_invalid_time_does_not_make_the_folder_unusable(
    project: Project, runs: Runs, out: Path, tmp_path: Path, time: Any
) -> None:
    project.post("a", 0, [{"_step": 0, "_timestamp": time, "loss": 1.0}], finish=False)
    for end in (1, 2, 3):
        await runs.export(out)
        more = {"_step": end, "_timestamp": time, "loss": 0.5}
        project.post("a", end, [more], finish=False)
    await runs.export(out)
    assert places(out) == [("a", i) for i in range(4)]
