"""The typed form of file stream requests: `application/vnd.wandb.filestream.v1+protobuf`.

A history comes as columns by type, so that 1.0 is not 1 and integers beyond 2**53 are exact. It is
stored as the lines of JSON that the other form would have sent.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from aiowandb_server.errors import RequestError
from aiowandb_server.protobuf import ProtobufMessage
from aiowandb_server.store import json_text
from aiowandb_server.store.metering import charge, held, weight_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

TYPED = "application/vnd.wandb.filestream.v1+protobuf"
HISTORY = "wandb-history.jsonl"
_STEP = "_step"
# In memory: a cell with the text of a number, and a row, both besides longer texts.
_SIZE_OF_CELL = 200
_SIZE_OF_ROW = 150
_NULL, _FLOAT, _INT, _BOOL, _STRING, _JSON = range(1, 7)
_NAMES = {_FLOAT: "floats", _INT: "ints", _BOOL: "bools", _STRING: "strings", _JSON: "jsons"}


@dataclass(frozen=True, slots=True)
class TypedUpload:
    """A request; `files` are the number of the first line and the lines, by name."""

    files: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    preempting: bool = False
    complete: bool = False
    exit_code: int | None = None


def parse_upload(body: bytes) -> TypedUpload:
    """Parse a `FileStreamUpload`. Raises RequestError if it is invalid."""
    upload = ProtobufMessage(body)
    files: dict[str, tuple[int, list[str]]] = {}
    for chunk in upload.messages(1):
        name = chunk.text(1)
        if name in files:
            raise RequestError(f"{name} occurs twice in the request")
        files[name] = (chunk.integer(2) or 0, chunk.texts(3))
    if (history := upload.message(2)) is not None:
        if HISTORY in files:
            raise RequestError(f"the history is in the request twice: typed, and as {HISTORY}")
        files[HISTORY] = _history(history)
    upload.texts(3)  # the names of files that were uploaded, which nothing depends on
    return TypedUpload(
        files,
        preempting=bool(upload.flag(4)),
        complete=bool(upload.flag(5)),
        exit_code=upload.integer(6, bits=32),
    )


def _history(chunk: ProtobufMessage) -> tuple[int, list[str]]:
    """The first line and the lines of a `MetricsBatchChunk`."""
    announced = chunk.integer(2) or 0
    batch = chunk.message(3)
    lines = [] if batch is None else _lines(batch)
    if announced != len(lines):
        raise RequestError(f"the history has {len(lines)} rows, and row_count is {announced}")
    return chunk.integer(1) or 0, lines


def _lines(batch: ProtobufMessage) -> list[str]:
    """The rows of a `MetricsBatch` as JSON."""
    row_ends = batch.unsigned(2)
    keys, seq_key = batch.texts(1), batch.text(12)
    _check_keys(keys, seq_key)
    names = [json.dumps(key, ensure_ascii=False) + ":" for key in keys]
    step_name = json.dumps(seq_key) + ":"
    cell_keys = batch.unsigned(3)
    charge(_SIZE_OF_CELL * len(cell_keys) + _SIZE_OF_ROW * len(row_ends))
    cells = _cells(batch, len(cell_keys))
    if max(cell_keys, default=-1) >= len(keys):
        raise RequestError("cell_keys names a key that is not among the keys")
    # A few bytes can repeat a long name as often as they like.
    repeated = sum(len(names[key]) * times for key, times in Counter(cell_keys).items())
    charge(2 * (repeated + sum(map(len, cells))))
    sequence = _sequence(batch, len(row_ends))
    lines, start = [], 0
    for number, end in enumerate(row_ends):
        if not start <= end <= len(cells):
            raise RequestError("row_ends decreases, or goes beyond the last cell")
        row = cell_keys[start:end]
        if len(set(row)) < len(row):
            raise RequestError(f"row {number} has the same key twice")
        members = [names[key] + cell for key, cell in zip(row, cells[start:end], strict=True)]
        if sequence[number] is not None:
            members.append(f"{step_name}{sequence[number]}")
        lines.append("{" + ",".join(members) + "}")
        start = end
    if start != len(cells):
        raise RequestError(f"row_ends ends at cell {start}, and there are {len(cells)} cells")
    return lines


def _check_keys(keys: Sequence[str], seq_key: str) -> None:
    if seq_key != _STEP:
        raise RequestError(f"the seq_key of a history is {_STEP!r}, not {seq_key!r}")
    if seq_key in keys:
        raise RequestError(f"the seq_key {seq_key!r} is among the keys")
    if "" in keys:
        raise RequestError("a key is empty")
    if len(set(keys)) < len(keys):
        raise RequestError("a key is named twice")


def _sequence(batch: ProtobufMessage, rows: int) -> list[int | None]:
    """The step of each row, where it has one."""
    steps, has_step = batch.zigzag(10), batch.varints(11)
    if len(steps) != len(has_step) or len(steps) not in (0, rows):
        raise RequestError(
            f"seqs has {len(steps)} values and has_seq {len(has_step)}, for {rows} rows"
        )
    if not steps:
        return [None] * rows
    return [step if has else None for step, has in zip(steps, has_step, strict=True)]


def _cells(batch: ProtobufMessage, count: int) -> list[str]:
    """The JSON of each cell, taken in order from the values of its kind."""
    kinds = batch.varints(4)
    if len(kinds) != count:
        raise RequestError(f"{len(kinds)} cells have a kind, and {count} have a key")
    found = Counter(kinds)
    if unknown := set(found) - set(_NAMES) - {_NULL}:
        raise RequestError(f"{min(unknown)} is not the kind of a cell")
    values: dict[int, list[str]] = {
        _FLOAT: _float_texts(batch.doubles(5)),
        _INT: _texts(map(str, batch.zigzag(6))),
        _BOOL: _texts("true" if value else "false" for value in batch.varints(7)),
        _STRING: _texts(json.dumps(value, ensure_ascii=False) for value in batch.texts(8)),
        _JSON: _texts(map(_checked, batch.texts(9))),
    }
    for kind, texts in values.items():
        if len(texts) != found[kind]:
            raise RequestError(
                f"{_NAMES[kind]} has {len(texts)} values, for {found[kind]} cells of this kind"
            )
    if len(found) == 1 and _NULL not in found:
        return values[kinds[0]]  # as they are in order already
    return list(_in_order(kinds, values))


def _texts(found: Iterable[str]) -> list[str]:
    """The texts, which are counted as they are made: there may be more than cells."""
    texts = []
    for text in found:
        charge(sys.getsizeof(text))
        texts.append(text)
    return texts


def _float_texts(values: Sequence[float]) -> list[str]:
    if not values:
        return []
    charge(_SIZE_OF_CELL * len(values))
    texts = orjson.dumps(list(values)).decode()[1:-1].split(",")
    if "null" in texts:  # in place of NaN and the infinities
        known = zip(texts, values, strict=True)
        texts = [json.dumps(value) if text == "null" else text for text, value in known]
    return texts


def _in_order(kinds: Sequence[int], values: dict[int, list[str]]) -> Iterator[str]:
    rest = {kind: iter(texts) for kind, texts in values.items()}
    for kind in kinds:
        yield "null" if kind == _NULL else next(rest[kind])


def _checked(text: str) -> str:
    # It becomes a part of a line, which it must not end.
    try:
        with held(weight_of(text)):
            json_text.loads(json_text.without_excess(text))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"a cell of JSON text is not JSON: {error}") from error
    return text
