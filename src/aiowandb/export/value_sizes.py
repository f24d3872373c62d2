"""About how many bytes a value takes in the files of a format, by W&B's name of its type.

W&B tells how many values of which type each key has, and not how large they are: only the last
ones, in the summary, show how long texts are. The numbers are for values that hardly compress:
floats with all their digits, random histograms of 64 bins. Values that repeat take less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aiowandb.choices import Format
from aiowandb.export.announced import is_media
from aiowandb.export.options import ExportOptions
from aiowandb.wire import lenient
from aiowandb.wire.dotted import flattened
from aiowandb.wire.json_edit import readable_object
from aiowandb.wire.record import KeyInfo, RunRecord

_COLUMNS = {
    "number": 8,
    "boolean": 1,
    "bool": 1,
    "string": 24,
    "histogram": 650,
}
_TEXT = _COLUMNS | {
    "number": 18,
    "boolean": 5,
    "bool": 5,
    "string": 30,
    "histogram": 1_450,
}
# Other values are JSON: media with path, size and checksum, or small lists.
_JSON_COLUMN, _JSON_TEXT = 120, 200
# The id of the run, its step, and what is between the cells.
_ROW_BYTES: Mapping[Format, int] = {"csv": 20, "jsonl": 40}
_COLUMN_ROW_BYTES = 9
# Besides the key, what a value has in JSON Lines: `"":,`; in a row of its own `"key":`, `"value":`.
_JSON_KEY, _LONG_KEY = 4, 22
# What a Parquet file has for itself and for each column; a large one hardly notices.
_FILE_BYTES, _FILE_COLUMN_BYTES = 600, 250
# Texts compress to about this share.
_COMPRESSED = 0.6
# The bytes of a value in a column of few different ones; of other text the shares that numbers of
# one digit and short values take.
_LEAST_COLUMN = 0.4
_LEAST_NUMBER, _LEAST_TEXT = 0.1, 0.4
_SIZED = frozenset(_COLUMNS) - {"string"}


class Range(NamedTuple):
    """At least and at most about so many bytes."""

    least: int
    most: int


def sampled_lengths(run: RunRecord) -> Mapping[str, int]:
    """How long the last values are that are texts, or written as JSON text, by their keys."""
    summary = run.summary_json if isinstance(run.summary_json, str) else None
    return {
        key: len(value) if isinstance(value, str) else len(lenient.dumps(value))
        for key, value in flattened(readable_object(summary)).items()
        if isinstance(value, str | dict | list)
    }


class ValueSizes:
    """The sizes of values and rows in the files of an export with these options."""

    def __init__(self, options: ExportOptions) -> None:
        self._format: Format = options.format
        self._is_text = options.format in _ROW_BYTES
        self._is_long = options.layout == "long"
        self._is_split = options.split == "run"
        # Besides the files of other formats, there are the parts that they are made of.
        self._has_parts = options.format not in ("parquet", "delta")

    def row_bytes(self, columns: int) -> int:
        """What a row takes besides its values."""
        if self._is_long:
            return 0
        own = _ROW_BYTES.get(self._format, _COLUMN_ROW_BYTES)
        own += columns if self._format == "csv" else 0
        return own + _COLUMN_ROW_BYTES * self._has_parts

    def file_bytes(self, columns: int) -> int:
        """What the file of a run takes besides its rows, if it has one of its own."""
        return self._file_bytes(columns) if self._is_split else 0

    def table_bytes(self, columns: int) -> int:
        """What the only file of a table takes besides its rows, if runs have none of their own."""
        return 0 if self._is_split else self._file_bytes(columns)

    def values_bytes(
        self, known: Mapping[str, KeyInfo], columns: Sequence[str], lengths: Mapping[str, int]
    ) -> Range:
        """The values of these columns, of the keys that W&B counts and the lengths of samples."""
        least = most = 0.0
        for name in columns:
            for counted in known[name].type_counts if name in known else ():
                if counted.type not in ("nil", "null"):
                    one = self._value_bytes(name, counted.type, lengths.get(name))
                    least += counted.count * one[0]
                    most += counted.count * one[1]
        return Range(round(least), round(most))

    def _value_bytes(self, key: str, called: str, length: int | None) -> tuple[float, float]:
        """One value of a key, of the type that W&B calls so: at least, and at most."""
        # Media are all alike, and have digests, which compress less.
        is_sampled = length and called not in _SIZED and not is_media(called)
        part: float = _COLUMNS.get(called, _JSON_COLUMN)
        text: float = _TEXT.get(called, _JSON_TEXT)
        if is_sampled and length:
            part, text = length * _COMPRESSED, length + 6
        parts = 1 if self._is_text else 1 + self._has_parts
        least, most = min(part, _LEAST_COLUMN) * parts, part * parts
        if self._is_text:
            around = self._around(key)
            share = _LEAST_NUMBER if called in _SIZED else _LEAST_TEXT
            least, most = least + text * share + around, most + text + around
        return least, most

    def _file_bytes(self, columns: int) -> int:
        parquet = _FILE_BYTES + _FILE_COLUMN_BYTES * (4 if self._is_long else columns)
        return parquet if self._is_text else parquet * (1 + self._has_parts)

    def _around(self, key: str) -> int:
        if self._is_long:
            row = _ROW_BYTES[self._format]
            return row + len(key) + (_LONG_KEY if self._format == "jsonl" else 2)
        return len(key) + _JSON_KEY if self._format == "jsonl" else 0
