"""Which rows and columns of a run are wanted, told to files, batches and rows alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.history.columns import STEP

_GLOB = frozenset("*?[")


class Selection(msgspec.Struct, frozen=True):
    """Rows with steps in `[min_step, max_step)` that have all `keys`, or with `any_key` one.

    A key may be a glob: a row has it if it has any key that the glob matches. Columns are
    those of `keys`, in their order, without those of `exclude`. None is everything.
    """

    keys: tuple[str, ...] | None = None
    any_key: bool = False
    exclude: tuple[str, ...] = ()
    min_step: int = 0
    max_step: int | None = None
    page_size: int = 1000
    # What every row has, and is always given.
    own: tuple[str, ...] = (STEP,)

    def columns(self, names: Collection[str]) -> list[str] | None:
        """Those of the columns that are wanted, or None if no row can have what is asked."""
        groups = self._groups(names)
        if groups is None:
            return [name for name in names if not _matches(name, self.exclude)]
        if not (any(groups) if self.any_key else all(groups)):
            return None
        return list(dict.fromkeys((*self.own, *(name for group in groups for name in group))))

    def of_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """The wanted rows and columns of a batch, or None if there are none."""
        columns = self.columns(batch.schema.names)
        if columns is None:
            return None
        if mask := self._mask(batch):
            batch = batch.filter(reduce(pc.and_, mask))
        if columns != batch.schema.names:
            batch = batch.select(columns)
        return batch if batch.num_rows else None

    def of_rows(self, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """The wanted rows, each with what is wanted of it; steps aside."""
        if self.keys is None and not self.exclude:
            return rows
        if self._is_plain:
            wanted = tuple(dict.fromkeys((*self.own, *(self.keys or ()))))
            return [
                {key: row[key] for key in wanted}
                for row in rows
                if all(row.get(key) is not None for key in wanted)
            ]
        found = []
        for row in rows:
            columns = self.columns([name for name, value in row.items() if value is not None])
            if columns is not None:
                found.append({name: row[name] for name in columns if name in row})
        return found

    def within_steps(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch whose steps are wanted, whatever else is."""
        mask = self._step_mask(batch)
        return batch.filter(reduce(pc.and_, mask)) if mask else batch

    def _mask(self, batch: pa.RecordBatch) -> list[pa.Array]:
        mask = self._step_mask(batch)
        groups = [
            reduce(pc.or_, [batch.column(name).is_valid() for name in group])
            for group in self._groups(batch.schema.names) or ()
            if group
        ]
        if groups:
            mask += [reduce(pc.or_, groups)] if self.any_key else groups
        return mask

    def _step_mask(self, batch: pa.RecordBatch) -> list[pa.Array]:
        mask = []
        if batch.num_rows and STEP in batch.schema.names:
            step = batch.column(STEP)
            ends = pc.min_max(step).as_py()
            if ends["min"] is not None and ends["min"] < self.min_step:
                mask.append(pc.greater_equal(step, self.min_step))
            last = ends["max"]
            if self.max_step is not None and last is not None and last >= self.max_step:
                mask.append(pc.less(step, self.max_step))
        return mask

    def _groups(self, names: Collection[str]) -> list[list[str]] | None:
        """For each of `keys`, the columns that it means."""
        if self.keys is None:
            return None
        known = {name for name in names if not _matches(name, self.exclude)}
        return [
            [key]
            if key in known
            else [name for name in names if name in known and _matches(name, (key,))]
            for key in self.keys
        ]

    @property
    def _is_plain(self) -> bool:
        keys = self.keys or ()
        return not (self.any_key or self.exclude) and all(map(_GLOB.isdisjoint, keys))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(
        name == pattern or (not _GLOB.isdisjoint(pattern) and fnmatchcase(name, pattern))
        for pattern in patterns
    )
