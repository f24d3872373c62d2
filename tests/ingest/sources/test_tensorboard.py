"""Runs out of TensorBoard's event files: tags by steps, as much of them as can be read."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aiowandb import AsyncApi, TensorBoardSource, UsageError
from aiowandb.ingest.sources.event_files import EventFile, masked_checksum
from tests.ingest.sources.wandb_files import message

pytestmark = pytest.mark.anyio
once = pytest.mark.parametrize("anyio_backend", ["asyncio"])
TARGET = "local/board"
START = 1_700_000_000.0


def double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def event(step: int, tag: str, at: float = START, **value: Any) -> bytes:
    """An event with one value, whose fields are named by their numbers."""
    found = message(f1=tag, **value)
    return double(1, at) + message(f2=step, f5=message(f1=found))


def scalar(step: int, tag: str, value: float, at: float = START) -> bytes:
    found = message(f1=tag) + b"\x15" + struct.pack("<f", value)
    return double(1, at) + message(f2=step, f5=message(f1=found))


def plugin(name: str, content: bytes = b"") -> bytes:
    return message(f1=message(f1=name, f2=content))


def records(events: Sequence[bytes]) -> bytes:
    found = b""
    for data in events:
        length = struct.pack("<Q", len(data))
        found += length + struct.pack("<I", masked_checksum(length))
        found += data + struct.pack("<I", masked_checksum(data))
    return found


def write(folder: Path, events: Sequence[bytes], name: str = "1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{name}.host"
    path.write_bytes(records([double(1, START) + message(f3="brain.Event:2"), *events]))
    return path


def test_the_checksum_is_that_of_the_format() -> None:
    # The example in the description of TFRecord files: CRC-32C of nine digits, and its mask.
    rotated = (0xE3069283 >> 15 | 0xE3069283 << 17) & 0xFFFFFFFF
    assert masked_checksum(b"123456789") == (rotated + 0xA282EAD8) & 0xFFFFFFFF


@once
async def test_every_kind_of_value_becomes_part_of_its_row(
    target: AsyncApi, tmp_path: Path
) -> None:
    png = b"\x89PNG" + bytes(9)
    limits, counts = struct.pack("<3d", 1.0, 2.0, 1e308), struct.pack("<3d", 0.0, 3.0, 1.0)
    histogram = double(1, 1.25) + double(2, 2.5) + message(f6=limits, f7=counts)
    buckets = message(f1=2, f4=struct.pack("<6d", 0.0, 1.0, 5.0, 1.0, 2.0, 0.0))
    hparams = message(
        f1=message(f1="lr", f2=double(2, 0.5)),
    ) + message(f1=[message(f1="opt", f2=message(f3="adam")), message(f1="on", f2=message(f4=1))])
    started = plugin("hparams", message(f3=hparams))
    write(
        tmp_path / "train",
        [
            event(0, "_hparams_/session_start_info", f9=started),
            scalar(0, "loss", 2.5),
            scalar(0, "acc/top.1", 0.5, START + 3),
            scalar(2, "loss", 0.25, START + 9),
            event(1, "new", f8=message(f1=1, f5=struct.pack("<f", 1.5)), f9=plugin("scalars")),
            event(1, "packed", f8=message(f1=9, f4=struct.pack("<q", -7)), f9=plugin("scalars")),
            event(1, "note", f8=message(f1=7, f8=["hello", "world"]), f9=plugin("text")),
            event(1, "weights", f5=histogram),
            event(1, "new weights", f8=buckets, f9=plugin("histograms")),
            event(2, "img", f4=message(f1=3, f2=4, f4=png)),
            event(2, "new img", f8=message(f1=7, f8=["4", "3", png]), f9=plugin("images")),
            event(2, "sound", f6=message(f4=b"wav"), f9=plugin("audio")),
        ],
    )
    write(tmp_path / "val", [scalar(0, "loss", 1.0)])
    report = await target.import_runs(tmp_path, TARGET, verify=True)
    assert (report.failed, report.differences) == ([], [])
    assert {run.run: run.dropped for run in report.runs} == {
        "train": ["1 values of the kind audio"],
        "val": [],
    }
    run = await target.run(f"{TARGET}/train")
    assert (run.state, run.name, run.config["lr"], run.config["opt"], run.config["on"]) == (
        *("finished", "train", 0.5, "adam", True),
    )
    rows = [row async for row in run.scan_history()]
    assert [(row["_step"], row["_timestamp"], row["_runtime"]) for row in rows] == [
        (0, START + 3, 3),
        (1, START, 0),
        (2, START + 9, 9),
    ]
    assert (rows[0]["loss"], rows[0]["acc/top.1"]) == (2.5, 0.5)
    assert (rows[1]["new"], rows[1]["packed"], rows[1]["note"]) == (1.5, -7, "hello\n\nworld")
    assert rows[1]["weights"] == {"_type": "histogram", "values": [3, 1], "bins": [1.25, 2, 2.5]}
    assert rows[1]["new weights"] == {"_type": "histogram", "values": [5], "bins": [0, 1]}
    assert run.summary["loss"] == 0.25
    image = rows[2]["img"]
    assert (image["_type"], image["width"], image["height"]) == ("image-file", 4, 3)
    assert {file.name async for file in run.files()} == {image["path"], rows[2]["new img"]["path"]}
    again = await target.import_runs(TensorBoardSource(tmp_path), TARGET)
    assert (again.counts, again.carried) == ({"unchanged": 2}, {})


@once
async def test_a_run_that_goes_on_gets_its_new_rows(target: AsyncApi, tmp_path: Path) -> None:
    write(tmp_path / "a", [scalar(n, "x", n) for n in range(5)], "1")
    await target.import_runs(tmp_path, TARGET)
    # A script that was started again at step 3 says again what it has said before.
    write(tmp_path / "a", [scalar(n, "x", n) for n in range(3, 9)], "2")
    report = await target.import_runs(tmp_path, TARGET)
    assert report.carried["rows"] == 4
    run = await target.run(f"{TARGET}/a", fresh=True)
    assert [row["x"] async for row in run.scan_history()] == list(range(9))


@once
async def test_a_file_that_is_cut_or_damaged_is_read_as_far_as_it_goes(
    target: AsyncApi, tmp_path: Path
) -> None:
    path = write(tmp_path / "a", [scalar(n, "x", n) for n in range(50)])
    whole = path.read_bytes()
    size = len(whole) // 51
    for cut in range(0, len(whole), 13):
        path.write_bytes(whole[:cut])
        assert len(list(EventFile(path))) <= cut / size
    damaged = bytearray(whole)
    damaged[-size * 10 + 20] ^= 0xFF
    path.write_bytes(damaged[:-3])
    report = await target.import_runs(tmp_path, TARGET)
    assert report.runs[0].dropped == [
        f"1 damaged records of {path.name}",
        f"the end of {path.name}, which is cut off or damaged",
    ]
    assert (await target.run(f"{TARGET}/a")).history_line_count == 48


@once
async def test_a_folder_without_event_files_is_refused(target: AsyncApi, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no event files"):
        await target.import_runs(TensorBoardSource(tmp_path), TARGET)
