"""The environment of a run in a `.wandb` file, with the names that W&B uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from aiowandb.ingest.facts import moment
from aiowandb.ingest.sources.protobuf import Message

Read: TypeAlias = Callable[[Message, int], Any]


def read_environment(record: Message) -> dict[str, Any]:
    """The environment of a run, as in its `wandb-metadata.json`."""
    return _read(record, _ENVIRONMENT)


def _read(record: Message, fields: Mapping[int, tuple[str, Read]]) -> dict[str, Any]:
    return {name: read(record, n) for n, (name, read) in fields.items() if n in record}


def _text(record: Message, number: int) -> str:
    return record.text(number)


def _number(record: Message, number: int) -> int:
    return record.integer(number)


def _large(record: Message, number: int) -> str:
    # Protobuf's JSON has 64-bit integers as text.
    return str(record.integer(number))


def _texts(record: Message, number: int) -> list[str]:
    return record.texts(number)


def _time(record: Message, number: int) -> str:
    timestamp = record.message(number)
    found = moment(timestamp.integer(1))
    if found is None:
        return ""
    seconds = found.strftime("%Y-%m-%dT%H:%M:%S")
    nanos = f"{timestamp.integer(2):09}".rstrip("0")
    digits = next((size for size in (0, 3, 6, 9) if size >= len(nanos)), 9)
    return f"{seconds}.{nanos.ljust(digits, '0')}Z" if digits else f"{seconds}Z"


def _object(fields: Mapping[int, tuple[str, Read]]) -> Read:
    return lambda record, number: _read(record.message(number), fields)


def _objects(fields: Mapping[int, tuple[str, Read]]) -> Read:
    return lambda record, number: [_read(each, fields) for each in record.messages(number)]


def _by_key(read: Read) -> Read:
    return lambda record, number: {each.text(1): read(each, 2) for each in record.messages(number)}


_DISK = _object({1: ("total", _large), 2: ("used", _large)})
_GPU = {
    1: ("name", _text),
    2: ("memoryTotal", _large),
    3: ("cudaCores", _number),
    4: ("architecture", _text),
    5: ("uuid", _text),
}
_APPLE = {
    1: ("name", _text),
    2: ("ecpuCores", _number),
    3: ("pcpuCores", _number),
    4: ("gpuCores", _number),
    5: ("memoryGb", _number),
    6: ("swapTotalBytes", _large),
    7: ("ramTotalBytes", _large),
    8: ("macModel", _text),
}
_ENVIRONMENT: Mapping[int, tuple[str, Read]] = {
    1: ("os", _text),
    2: ("python", _text),
    3: ("startedAt", _time),
    4: ("docker", _text),
    5: ("args", _texts),
    6: ("program", _text),
    7: ("codePath", _text),
    8: ("codePathLocal", _text),
    9: ("git", _object({1: ("remote", _text), 2: ("commit", _text)})),
    10: ("email", _text),
    11: ("root", _text),
    12: ("host", _text),
    13: ("username", _text),
    14: ("executable", _text),
    15: ("colab", _text),
    16: ("cpu_count", _number),
    17: ("cpu_count_logical", _number),
    18: ("gpu", _text),
    19: ("gpu_count", _number),
    20: ("disk", _by_key(_DISK)),
    21: ("memory", _object({1: ("total", _large)})),
    22: (
        "cpu",
        _object({1: ("count", _number), 2: ("countLogical", _number), 3: ("model", _text)}),
    ),
    23: ("apple", _object(_APPLE)),
    24: ("gpu_nvidia", _objects(_GPU)),
    25: ("cudaVersion", _text),
    27: ("slurm", _by_key(_text)),
    199: ("writerId", _text),
}
