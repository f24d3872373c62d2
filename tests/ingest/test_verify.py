"""`verify` compares both sides: it finds what was tampered with, and nothing else."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiowandb import AsyncApi
from aiowandb.ingest import remote
from aiowandb_server import RunChanges, Store
from aiowandb_server.store.records import RunRow
from tests.ingest.conftest import SOURCE, make_run

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
ROWS = [f'{{"_step":{n},"loss":{1 / (n + 1)},"acc":{n},"word":"w{n}"}}' for n in range(40)]
CONFIG: dict[str, Any] = {"lr": {"value": 0.1, "desc": "rate"}, "_wandb": {"value": {"m": []}}}
Tamper = Callable[[Store, RunRow], object]


def line(stream: str, number: int, text: str) -> Tamper:
    """Another text in this line of the store."""

    def tamper(store: Store, run: RunRow) -> None:
        with sqlite3.connect(store.folder / "store.sqlite") as connection:
            done = connection.execute(
                "UPDATE line SET text = ? WHERE run_id = ? AND stream = ? AND number = ?",
                (text, run.id, stream, number),
            )
        assert done.rowcount == 1
        connection.close()

    return tamper


def row(number: int, **values: Any) -> Tamper:
    """Other values in this row."""
    known = json.loads(ROWS[number])
    kept = {key: value for key, value in (known | values).items() if value is not ...}
    return line("history", number, json.dumps(kept))


def change(**changes: Any) -> Tamper:
    return lambda store, run: store.runs.change(run.id, RunChanges(**changes))


def config(**values: Any) -> Tamper:
    def tamper(store: Store, run: RunRow) -> None:
        known = json.loads(run.config)
        store.runs.change(run.id, RunChanges(config=json.dumps(known | values)))

    return tamper


# What is done to the copy, and where it is to be found.
PLANTED: list[tuple[str, Tamper]] = [
    ("column loss: checksum", row(20, loss=0.5)),
    ("column loss: least", row(20, loss=-1e9)),
    ("column acc: largest", row(20, acc=1e9)),
    ("column acc: values", row(20, acc=...)),
    ("column word: checksum", row(20, word="w")),
    ("column new", row(20, new=1)),
    ("first row", row(0, loss=2)),
    ("last row", row(39, loss=2)),
    ("rows", lambda store, run: store.history.append(run, ['{"_step":99,"loss":1}'])),
    ("config lr", config(lr={"value": 0.2, "desc": "rate"})),
    ("config lr", config(lr={"value": 0.1, "desc": "other"})),
    ("config _wandb", config(_wandb={"value": {"m": [1]}})),
    ("config more", config(more={"value": None})),
    ("summary loss", change(summary='{"loss": 0.2, "best": {"acc": NaN}, "dotted.key": 1}')),
    ("summary best", change(summary='{"loss": 0.1, "best": {"acc": 1}, "dotted.key": 1}')),
    ("name", change(display_name="other")),
    ("tags", change(tags=["a", "b"])),
    ("notes", change(notes="other")),
    ("group", change(group="other")),
    ("state", change(state="failed")),
    ("console: checksum", line("console", 1, "2026-01-02T03:04:06.500000 oh [no]")),
    ("system metrics: checksum", line("events", 2, '{"_timestamp":2,"system.cpu":0.5}')),
    ("file f", lambda store, run: store.files.add(run, "f", b"other")),
    ("file g", lambda store, run: store.files.add(run, "g", b"more")),
]


@pytest.mark.slow
async def test_each_of_the_planted_differences_is_found(tmp_path: Path) -> None:
    assert len(PLANTED) >= 20
    with (
        Store.open(tmp_path / "source", crash_after=float("inf")) as store,
        Store.open(tmp_path / "target", crash_after=float("inf")) as copies,
    ):
        for number in range(len(PLANTED)):
            facts: dict[str, Any] = {"config": json.dumps(CONFIG), "tags": ["b", "a"]}
            facts |= {"notes": "n", "group": "g"}
            make_run(store, f"r{number}", rows=ROWS, files={"f": b"1"}, is_over=False, **facts)
        async with (
            AsyncApi.local(tmp_path / "source") as source,
            AsyncApi.local(tmp_path / "target") as target,
        ):
            runs = source.runs(SOURCE)
            clean = await runs.copy_to("local/copied", api=target, verify=True)
            assert clean.differences == []
            project = copies.projects.get("local", "copied")
            assert project
            for number, (_, tamper) in enumerate(PLANTED):
                run = copies.runs.get(project, f"r{number}")
                assert run
                tamper(copies, run)
            report = await runs.copy_to("local/copied", api=target, verify=True)
    assert report.counts == {"unchanged": len(PLANTED)}
    found: dict[str, list[str]] = {}
    for difference in report.differences or ():
        found.setdefault(difference.run, []).append(difference.where)
    missed = [
        (where, found.get(f"r{number}"))
        for number, (where, _) in enumerate(PLANTED)
        if where not in found.get(f"r{number}", ())
    ]
    assert missed == []


async def test_system_metrics_that_were_not_in_the_sample_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MAX_SYSTEM_ROWS", 2)
    with Store.open(tmp_path / "source") as store:
        make_run(store, "many", rows=ROWS)
    async with (
        AsyncApi.local(tmp_path / "source") as source,
        AsyncApi.local(tmp_path / "target") as target,
    ):
        report = await source.runs(SOURCE).copy_to("local/copied", api=target, verify=True)
    (difference,) = report.differences or []
    found = (difference.where, difference.source, difference.target)
    assert found == ("system metrics: lines", "5", "2")


async def test_a_copy_that_was_deleted_and_made_empty_is_filled_again(
    source: AsyncApi, target: AsyncApi
) -> None:
    report = await source.runs(SOURCE, {"name": "odd"}).copy_to(
        "local/copied", api=target, verify=True
    )
    assert report.differences == []
    await (await target.run("local/copied/odd")).delete()
    await target.create_run("odd", "copied")
    report = await source.runs(SOURCE, {"name": "odd"}).copy_to(
        "local/copied", api=target, verify=True
    )
    # An empty run is nobody's: it is filled again.
    assert report.differences == []
    assert report.counts == {"created": 1}
