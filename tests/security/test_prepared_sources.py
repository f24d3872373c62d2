"""Logs, event files and tables that somebody else has made, for `import` to read."""

from __future__ import annotations

import base64
import gzip
import hashlib
import logging
import os
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aiowandb import ContentError, ExportError, NotFoundError, RowError, UsageError
from aiowandb.ingest import tables
from aiowandb.ingest.lines import json_lines
from aiowandb.ingest.source import SourceRun
from aiowandb.ingest.sources import open_source
from aiowandb.ingest.sources.event_files import masked_checksum
from aiowandb.ingest.sources.protobuf import MalformedMessage, Message
from tests.export.disks import file_limit
from tests.ingest.sources import wandb_files as files

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
# An integer of a million bytes takes hours to be put together.
ENDLESS = b"\x08" + b"\xff" * 1_000_000 + b"\x01"
FAR = 1 << 60
DEEP = "[" * 100_000 + "]" * 100_000
message, items = files.message, files.items


async def runs_in(path: Path) -> list[SourceRun]:
    source = open_source(path)
    try:
        return [run async for run in source.runs()]
    finally:
        await source.aclose()


async def offline(folder: Path, *records: bytes) -> SourceRun:
    files.write_run(folder, "r", [files.run("r"), *records, files.exit_record()])
    (run,) = await runs_in(folder)
    return run


@pytest.mark.parametrize(
    "record",
    [
        message(f2=message(f1=items({"x": 1}))) + ENDLESS,
        message(f2=message(f2=ENDLESS, f1=items({"x": 1}))),
        message(f2=message(f1=message(f2=["k"] * 10_000, f16="1"))),
        files.history(1, x=DEEP),
        files.history(1, x="no JSON"),
        files.history(1, x='1},{"y":2'),
        files.config({"x": DEEP}),
        message(f2=message(f1=b"\x0a\x05")),
    ],
)
async def test_a_malformed_record_of_a_log_is_left_out(tmp_path: Path, record: bytes) -> None:
    run = await offline(tmp_path, files.history(0, x=1), record, files.history(2, x=3))
    assert run.dropped == ("1 malformed records of run-r.wandb",)
    lines = run.lines()
    assert lines is not None
    assert [len(some) async for some in lines] == [2]


@pytest.mark.parametrize(
    "record",
    [
        message(f17=message(f1="r", f17=message(f1=FAR))),
        files.exit_record(runtime=FAR),
        message(f13=message(f1=1, f2=message(f1=FAR), f3="x\n")),
        message(f26=message(f12="box", f3=message(f1=FAR), f199="w")),
        message(f6=message(f1=message(f1="x" * 5000))),
    ],
)
async def test_times_beyond_all_calendars_and_long_names_end_no_import(
    tmp_path: Path, record: bytes
) -> None:
    run = await offline(tmp_path, record)
    lines = [line for some in [some async for some in run.console()] for line in some]
    assert all(line.timestamp is None for line in lines)
    assert [file.name async for file in run.files()]


async def test_a_value_stays_in_its_line(tmp_path: Path) -> None:
    run = await offline(tmp_path, files.history(0, x='[1,\n{"_step": 9}]'))
    lines = run.lines()
    assert lines is not None
    ((line,),) = [some async for some in lines]
    assert '"x":[1,{"_step":9}]' in line


def test_an_integer_ends_within_its_field(anyio_backend: str) -> None:
    with pytest.raises(MalformedMessage, match="a list of integers ends within one"):
        Message(message(f1=b"\x01\x80")).integers(1)


def artifact(entry: bytes = b"", **manifest: Any) -> bytes:
    described = message(f1=1, f2="wandb-storage-policy-v1", f4=entry, **manifest)
    return message(f8=message(f1="r", f4="model", f5="m", f12=described))


def digest_of(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


async def entries_of(run: SourceRun) -> Sequence[Any]:
    (only,) = [each async for each in run.artifacts()]
    return await only.entries()


async def test_an_artifact_has_only_the_file_that_was_logged(tmp_path: Path) -> None:
    (tmp_path / "cached").write_bytes(b"weights")

    def entry(content: bytes) -> bytes:
        return message(f1="w.bin", f2=digest_of(content), f4=7, f6=str(tmp_path / "cached"))

    run = await offline(tmp_path / "own", artifact(entry(b"weights")))
    assert [each.name for each in await entries_of(run)] == ["w.bin"]
    run = await offline(tmp_path / "others", artifact(entry(b"what they hope for")))
    with pytest.raises(ContentError, match="is not the file w.bin that was logged"):
        await entries_of(run)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def packed(*lines: bytes, times: int = 1) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with gzip.open(path, "wb", 1) as file:
            for _ in range(times):
                file.writelines(lines)

    return write


@pytest.mark.parametrize(
    "write",
    [
        pipe,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.write_bytes(b"no gzip"),
        packed(b'{"path":1}\n'),
        packed(b'{"path":"a","digest":"b","extra":' + b"[" * 100_000 + b"\n"),
        packed(b"a" * (1 << 20), times=20),
    ],
)
async def test_a_manifest_is_not_waited_for_nor_unpacked_without_end(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path / "manifest.gz")
    run = await offline(tmp_path / "logs", artifact(f5=str(tmp_path / "manifest.gz")))
    with pytest.raises(NotFoundError, match=r"manifest.gz, the manifest, cannot be read"):
        await entries_of(run)


async def test_files_elsewhere_that_links_lead_to_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    log = files.write_run(tmp_path / "logs", "r", [files.run("r"), files.exit_record()])
    (log.parent / "files").mkdir()
    (log.parent / "files" / "a.txt").write_bytes(b"a")
    (log.parent / "files" / "b.txt").symlink_to("a.txt")
    with caplog.at_level(logging.WARNING, "aiowandb"):
        await runs_in(tmp_path / "logs")
        assert not caplog.messages
        (log.parent / "files" / "c.txt").symlink_to(tmp_path / "mine")
        await runs_in(tmp_path / "logs")
    (said,) = caplog.messages
    assert f"c.txt to {tmp_path / 'mine'}: what they lead to is uploaded" in said


def event_file(folder: Path, *events: bytes) -> Path:
    folder.mkdir()
    text = b""
    for data in events:
        length = struct.pack("<Q", len(data))
        text += length + struct.pack("<I", masked_checksum(length))
        text += data + struct.pack("<I", masked_checksum(data))
    (folder / "events.out.tfevents.1.host").write_bytes(text)
    return folder


def event(value: bytes, at: float = 1.7e9) -> bytes:
    return b"\x09" + struct.pack("<d", at) + message(f2=1, f5=message(f1=value))


SCALAR = message(f1="a") + b"\x15" + struct.pack("<f", 1)


@pytest.mark.parametrize(
    "damaged",
    [
        event(SCALAR) + ENDLESS,
        event(message(f1="a", f2=b"")),
        event(message(f1="a", f2=7)),
        event(message(f1="a", f8=message(f1=7, f8=["9" * 5000, "x", b"\x89PNG"]), f9=message(
            f1=message(f1="images")))),
        event(message(f1="a", f9=message(f1=message(f1="hparams", f2=message(
            f3=message(f1=message(f1="k", f2=message(f2=b"")))))))),
    ],
)  # fmt: skip
async def test_a_damaged_event_is_left_out(tmp_path: Path, damaged: bytes) -> None:
    (run,) = await runs_in(event_file(tmp_path / "run", event(SCALAR), damaged))
    assert run.dropped == ("1 damaged records of events.out.tfevents.1.host",)


@pytest.mark.parametrize("at", [float("nan"), 1e300, -1e18])
async def test_an_event_may_have_no_time(tmp_path: Path, at: float) -> None:
    (run,) = await runs_in(event_file(tmp_path / "run", event(SCALAR, at)))
    assert run.facts.created_at is None


@pytest.mark.parametrize(
    "name", ["run-r.wandb", "x.tfevents.1", "x.csv", "x.jsonl", "x.parquet", "x"]
)
async def test_no_import_waits_for_a_pipe(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match="neither a file nor a folder: copy what it gives"):
        await runs_in(tmp_path / name)
    with pytest.raises(UsageError, match="is not a file|has no tables"):
        await runs_in(tmp_path)


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
async def test_a_line_without_end_is_not_read_into_memory(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_BYTES_AT_ONCE", 2 << 20)
    (tmp_path / name).write_bytes(b'{"a":1}\n')
    os.truncate(tmp_path / name, 10 << 30)
    with pytest.raises(RowError, match=rf"{name} has a line of more than 2 MB"):
        await runs_in(tmp_path / name)


async def test_a_csv_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_BYTES_AT_ONCE", 64)
    rows = "".join(f"r{number // 50},{number},{number / 2}\n" for number in range(100))
    (tmp_path / "x.csv").write_text(f"run_id,_step,loss\n{rows}\n\n")
    source = open_source(tmp_path / "x.csv")
    found = {}
    async for run in source.runs():
        batches = [batch async for batch in run.rows()]
        found[run.facts.id] = [x for batch in batches for x in batch["loss"].to_pylist()]
    await source.aclose()
    assert found == {
        "r0": [number / 2 for number in range(50)],
        "r1": [number / 2 for number in range(50, 100)],
    }


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
async def test_a_temporary_table_that_finds_no_room_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    with file_limit(100), pytest.raises(ExportError, match=r"Cannot write .*x.parquet: File too"):
        await runs_in(tmp_path / "x.csv")


async def test_a_csv_in_another_encoding_is_an_error_of_its_rows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"a,\xe9\n1,2\n")
    with pytest.raises(RowError, match="x.csv cannot be read as CSV: 'utf-8' codec"):
        await runs_in(tmp_path / "x.csv")


async def test_keys_that_are_nested_too_deeply_are_named(tmp_path: Path) -> None:
    deep = '{"b":' * 900 + "1" + "}" * 900
    (tmp_path / "x.jsonl").write_text(f'{{"a":{deep}}}\n')
    source = open_source(tmp_path / "x.jsonl")
    async for run in source.runs():
        async for batch in run.rows():
            with pytest.raises(RowError, match=r"The key a.b.b.* is nested too deeply"):
                json_lines(batch)
    await source.aclose()
