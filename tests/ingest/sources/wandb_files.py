"""Writes `.wandb` files: the fields of W&B's schema that an importer reads, by their numbers."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HEADER = b":W&B\xe1\xbe\x00"
BLOCK = 32 << 10


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def message(**fields: Any) -> bytes:
    """A message of the fields `f1`, `f2`, ...: numbers, texts, messages, or lists of these."""
    found = b""
    for name, value in fields.items():
        number = int(name[1:])
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, int):
                found += varint(number << 3) + varint(each)
            else:
                data = each.encode() if isinstance(each, str) else each
                found += varint(number << 3 | 2) + varint(len(data)) + data
    return found


def moment(seconds: float) -> bytes:
    return message(f1=int(seconds), f2=round(seconds % 1 * 1e9))


def items(values: Mapping[str, Any]) -> list[bytes]:
    """Items of a config, a summary or a row; keys with `>` in them are nested."""
    found = []
    for key, value in values.items():
        path: dict[str, Any] = {"f2": key.split(">")} if ">" in key else {"f1": key}
        found.append(message(**path, f16=value if isinstance(value, str) else json.dumps(value)))
    return found


def run(run_id: str, config: Mapping[str, Any] | None = None, **more: Any) -> bytes:
    started = moment(1_700_000_000.25)
    return message(f17=message(f1=run_id, f4=message(f1=items(config or {})), f17=started, **more))


def history(step: int, **values: Any) -> bytes:
    return message(f2=message(f1=items(values | {"_step": step, "_runtime": step / 10})))


def summary(values: Mapping[str, Any], *, removed: Sequence[str] = ()) -> bytes:
    gone = [message(f1=key) for key in removed]
    return message(f3=message(f1=items(values), f2=gone))


def config(values: Mapping[str, Any], *, removed: Sequence[str] = ()) -> bytes:
    gone = [message(f1=key) for key in removed]
    return message(f5=message(f1=items(values), f2=gone))


def output(text: str, at: float, *, stderr: bool = False) -> bytes:
    return message(f13=message(f1=int(not stderr), f2=moment(at), f3=text))


def stats(at: float, **values: float) -> bytes:
    return message(f7=message(f2=moment(at), f3=items(values)))


def exit_record(code: int = 0, runtime: int = 7) -> bytes:
    return message(f18=message(f1=code, f2=runtime))


def log(records: Sequence[bytes]) -> bytes:
    """The bytes of a file with these records."""
    data = bytearray(HEADER)
    for record in records:
        first = True
        while True:
            room = BLOCK - len(data) % BLOCK
            if room < 7:
                data += bytes(room)
                room = BLOCK
            part, record = record[: room - 7], record[room - 7 :]
            kind = (1 if first else 4) if not record else (2 if first else 3)
            data += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            first = False
            if not record:
                break
    return bytes(data)


def write_run(folder: Path, run_id: str, records: Sequence[bytes]) -> Path:
    """A run's folder as wandb leaves it, with its log."""
    made = folder / f"offline-run-20260102_030405-{run_id}"
    made.mkdir(parents=True, exist_ok=True)
    path = made / f"run-{run_id}.wandb"
    path.write_bytes(log(records))
    return path
