"""The points of charts: a run's numbers by key, aggregated into buckets.

A bucket has the mean, the minimum and the maximum of its values, so that no spike is lost, as it
can be in a sample of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from aiowandb_server.store import json_text
from aiowandb_server.store.columns import is_json
from aiowandb_server.store.compaction import has_live, segment_of
from aiowandb_server.store.lines import texts
from aiowandb_server.store.metering import charge, held
from aiowandb_server.store.rows import decode_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiowandb_server.store.compaction import Compaction
    from aiowandb_server.store.database import Database
    from aiowandb_server.store.records import RunRow
    from aiowandb_server.store.segments import SegmentFiles

Point = tuple[float, float]
# In memory, in the columns of the answer and as JSON.
_SIZE_OF_POINT = 300


@dataclass(frozen=True, slots=True)
class ChartRequest:
    """Each of `keys` over `x`, for `low <= x <= high`, in at most `buckets` buckets."""

    keys: tuple[str, ...]
    x: str = "_step"
    buckets: int = 500
    low: float = -math.inf
    high: float = math.inf
    stream: Literal["history", "events"] = "history"


class Charts:
    """Reads the data of charts."""

    def __init__(self, database: Database, files: SegmentFiles, compaction: Compaction) -> None:
        self._database = database
        self._files = files
        self._compaction = compaction

    def series(self, run: RunRow, request: ChartRequest) -> list[dict[str, Any]]:
        """A series for each key, in their order: the number of points, and columns of buckets."""
        points = self._points(run, request)
        return [
            {"key": key, "count": len(points[key]), **bucketed(points[key], request.buckets)}
            for key in request.keys
        ]

    def _points(self, run: RunRow, request: ChartRequest) -> dict[str, list[Point]]:
        with self._database.read() as connection:
            if request.stream == "events":
                found = texts(connection, run.id, "events", 0, run.event_lines)
                return _of_rows((decode_row(text) for _, text in found), request)
            segment = segment_of(connection, run.id)
            if segment is not None and not has_live(connection, run.id):
                return self._of_segment(segment.token, request)
            rows = (
                decode_row(line.text) | {"_step": line.step}
                for line in self._compaction.merged(connection, run.id)
            )
            return _of_rows(rows, request)

    def _of_segment(self, token: str, request: ChartRequest) -> dict[str, list[Point]]:
        points: dict[str, list[Point]] = {key: [] for key in request.keys}
        for table in self._files.columns(token, dict.fromkeys((request.x, *request.keys))):
            if request.x not in table.schema.names:
                return points
            # As Python's values they take some times the memory of Arrow's.
            with held(4 * table.nbytes):
                values = {
                    field.name: _decoded(table[field.name].to_pylist(), is_text=is_json(field))
                    for field in table.schema
                }
                for key in points.keys() & values.keys():
                    _add(points[key], zip(values[request.x], values[key], strict=True), request)
        return points


def bucketed(points: Sequence[Point], buckets: int) -> dict[str, list[float]]:
    """Columns `x`, `y`, `low`, `high` of the points, aggregated if there are too many."""
    total = len(points)
    if total <= buckets:
        x, y = [point[0] for point in points], [point[1] for point in points]
        return {"x": x, "y": y, "low": y, "high": y}
    found: dict[str, list[float]] = {"x": [], "y": [], "low": [], "high": []}
    for number in range(buckets):
        group = points[number * total // buckets : (number + 1) * total // buckets]
        values = [value for _, value in group]
        found["x"].append(_mean([place for place, _ in group]))
        found["y"].append(_mean(values))
        found["low"].append(min(values))
        found["high"].append(max(values))
    return found


def _mean(values: list[float]) -> float:
    # Divide first: the sum of very large numbers would be infinite.
    size = len(values)
    return sum(value / size for value in values)


def _of_rows(rows: Iterable[dict[str, Any]], request: ChartRequest) -> dict[str, list[Point]]:
    points: dict[str, list[Point]] = {key: [] for key in request.keys}
    for row in rows:
        place = row.get(request.x)
        for key, found in points.items():
            if key in row:
                _add(found, ((place, row[key]),), request)
    return points


def _add(points: list[Point], pairs: Iterable[tuple[Any, Any]], request: ChartRequest) -> None:
    found = [
        (place, value)
        for place, value in pairs
        if _is_number(place) and _is_number(value) and request.low <= place <= request.high
    ]
    charge(_SIZE_OF_POINT * len(found))
    points += found


def _is_number(value: object) -> bool:
    # Integers beyond the range of floats can be logged, but not divided or drawn.
    return (type(value) is float and math.isfinite(value)) or (
        type(value) is int and abs(value) < 2**1000
    )


def _decoded(values: list[Any], *, is_text: bool) -> list[Any]:
    if not is_text:
        return values
    return [None if value is None else json_text.loads(value) for value in values]
