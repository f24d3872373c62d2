"""About how many bytes a value takes in the files of a format, by W&B's name of its type.

W&B tells how many values of which type each key has, and not how large they are. The numbers are
for values that hardly compress: floats with all their digits, random histograms of 64 bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiowandb.choices import Format
from aiowandb.export.options import ExportOptions
from aiowandb.wire.record import KeyInfo

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
        if not self._is_split:
            return 0
        parquet = _FILE_BYTES + _FILE_COLUMN_BYTES * (4 if self._is_long else columns)
        return parquet if self._is_text else parquet * (1 + self._has_parts)

    def values_bytes(self, known: Mapping[str, KeyInfo], columns: Sequence[str]) -> int:
        """The values of these columns, of the keys that W&B counts."""
        return sum(
            counted.count * self._value_bytes(name, counted.type)
            for name in columns
            for counted in (known[name].type_counts if name in known else ())
            if counted.type not in ("nil", "null")
        )

    def _value_bytes(self, key: str, called: str) -> int:
        """One value of a key, of the type that W&B calls so."""
        part = _COLUMNS.get(called, _JSON_COLUMN)
        if not self._is_text:
            return part * (1 + self._has_parts)
        return part + _TEXT.get(called, _JSON_TEXT) + self._around(key)

    def _around(self, key: str) -> int:
        if self._is_long:
            row = _ROW_BYTES[self._format]
            return row + len(key) + (_LONG_KEY if self._format == "jsonl" else 2)
        return len(key) + _JSON_KEY if self._format == "jsonl" else 0
