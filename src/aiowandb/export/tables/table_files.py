"""The files of W&B's tables: columns and rows in JSON, in one file or in several.

A partitioned table names a folder of files; a joined table names two others, whose rows are joined
where their keys are equal. Rows without a counterpart are kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec
import pyarrow as pa

from aiowandb.errors import ServerError
from aiowandb.history.columns import columns_to_batch
from aiowandb.wire import lenient
from aiowandb.wire.rows import STEP

ARTIFACT = "artifact"
# Suffixes of files that are tables, the longest first.
SUFFIXES = (".partitioned-table.json", ".joined-table.json", ".table.json")
_OWN_COLUMNS = frozenset({STEP, ARTIFACT})
# What W&B's client writes in place of media into the files of runs.
_CLASSES = frozenset(
    {
        *("Audio", "Bokeh", "Classes", "Graph", "Histogram", "Html", "Image", "JoinedTable"),
        *("Molecule", "Object3D", "PartitionedTable", "Plotly", "Table", "Video", "ndarray"),
    }
)
_MAX_DEPTH = 5


class TableRows(msgspec.Struct):
    """A table: the names of its columns, and its rows."""

    columns: list[str]
    rows: list[list[Any]]

    @property
    def stand_ins(self) -> list[int]:
        """The numbers of columns that seem to have names of W&B's classes in place of media."""
        return [
            number
            for number, values in enumerate(zip(*self.rows, strict=True))
            if any(values) and all(value is None or _is_class(value) for value in values)
        ]

    def with_media_of(self, other: TableRows) -> TableRows:
        """These rows, with media of the same table as it is in an artifact.

        There, W&B's client has null for NaN.
        """
        if (other.columns, len(other.rows)) != (self.columns, len(self.rows)):
            return other
        media = set(self.stand_ins)
        rows = [
            [theirs[i] if i in media else ours[i] for i in range(len(ours))]
            for ours, theirs in zip(self.rows, other.rows, strict=True)
        ]
        return TableRows(self.columns, rows)

    def batch(self, step: int | None, artifact: str | None) -> pa.RecordBatch:
        """The rows as columns, with where they are from."""
        values = zip(*self.rows, strict=True) if self.rows else [() for _ in self.columns]
        columns = dict(zip(_unique(self.columns), map(list, values), strict=True))
        found = columns_to_batch(columns)
        count = len(self.rows)
        arrays: list[pa.Array[Any]] = [
            pa.array([step] * count, pa.int64()),
            pa.array([artifact] * count, pa.string()),
            *found.columns,
        ]
        fields = [pa.field(STEP, pa.int64()), pa.field(ARTIFACT, pa.string()), *found.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


# Reads another file of the same artifact, and lists those in a folder of it.
ReadFile: TypeAlias = Callable[[str], Awaitable[bytes]]
ListFiles: TypeAlias = Callable[[str], Awaitable[Iterable[str]]]


async def read_table(
    content: bytes, name: str, read: ReadFile, files_in: ListFiles, depth: int = 0
) -> TableRows:
    """The table in the content of the file of this name, with those that it refers to."""
    if depth > _MAX_DEPTH:
        raise ServerError(f"The tables that {name} refers to refer to each other.")

    async def other(file: str) -> TableRows:
        return await read_table(await read(file), file, read, files_in, depth + 1)

    found = lenient.loads_object(content)
    if "parts_path" in found:
        files = [file for file in await files_in(str(found["parts_path"])) if is_table(file)]
        return _concatenated([await other(file) for file in sorted(files)], name)
    if "join_key" in found:
        left, right = [await other(str(found.get(side))) for side in ("table1", "table2")]
        return _joined(left, right, found["join_key"], name)
    columns, data = found.get("columns"), found.get("data")
    if not isinstance(columns, list) or not isinstance(data, list):
        raise ServerError(f"{name} is not a table: it has no columns or no data.")
    if any(not isinstance(row, list) or len(row) != len(columns) for row in data):
        raise ServerError(f"{name} has rows that do not have a value for each column.")
    return TableRows(list(map(str, columns)), data)


def is_table(file: str) -> bool:
    """Whether a file has the name of a table."""
    return file.endswith(SUFFIXES)


def table_name(file: str) -> str:
    """The name of the table in a file."""
    suffix = next(suffix for suffix in SUFFIXES if file.endswith(suffix))
    return file.removesuffix(suffix)


def _is_class(value: Any) -> bool:
    return isinstance(value, str) and value in _CLASSES


def _concatenated(parts: Sequence[TableRows], name: str) -> TableRows:
    columns = parts[0].columns if parts else []
    if any(part.columns != columns for part in parts):
        raise ServerError(f"The parts of {name} have different columns.")
    return TableRows(columns, [row for part in parts for row in part.rows])


def _joined(left: TableRows, right: TableRows, key: Any, name: str) -> TableRows:
    keys = [key, key] if isinstance(key, str) else key
    try:
        at_left, at_right = left.columns.index(keys[0]), right.columns.index(keys[1])
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise ServerError(f"{name} joins by {key!r}, which is not a column of both.") from error
    others = [i for i in range(len(right.columns)) if i != at_right]
    columns = [*left.columns, *(right.columns[i] for i in others)]
    by_key: dict[str, list[list[Any]]] = {}
    for row in right.rows:
        by_key.setdefault(_key(row[at_right]), []).append(row)
    rows, seen = [], set()
    for row in left.rows:
        value = _key(row[at_left])
        seen.add(value)
        matching = by_key.get(value) or [[None] * len(right.columns)]
        rows += [[*row, *(match[i] for i in others)] for match in matching]
    for value, matching in by_key.items():
        for match in matching if value not in seen else ():
            alone: list[Any] = [None] * len(left.columns)
            alone[at_left] = match[at_right]
            rows.append([*alone, *(match[i] for i in others)])
    return TableRows(columns, rows)


def _key(value: Any) -> str:
    return lenient.dumps(value, sort_keys=True)


def _unique(columns: Sequence[str]) -> list[str]:
    """The names of the columns, each different, and none that is one of ours."""
    found: list[str] = []
    for column in columns:
        name = f"{column}_logged" if column in _OWN_COLUMNS else column
        number = 2
        while name in found:
            name, number = f"{column}_{number}", number + 1
        found.append(name)
    return found
