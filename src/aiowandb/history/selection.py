"""Which rows and columns of a run are wanted, told to files, batches and rows alike.

Imports pyarrow only where it is used: a scan is described before anything heavy is loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import msgspec

from aiowandb.wire.dotted import matches_any, matching_names
from aiowandb.wire.rows import STEP

if TYPE_CHECKING:
    import pyarrow as pa


class Selection(msgspec.Struct, frozen=True):
    """Rows with steps in `[min_step, max_step)` that have all `keys`, or with `any_key` one.

    A key may be a glob: a row has it if it has any key that the glob matches. A key with
    others nested in it stands for those. Columns are those of `keys`, in their order,
    without those of `exclude`. No `keys` are all of them.
    """

    keys: tuple[str, ...] | None = None
    any_key: bool = False
    exclude: tuple[str, ...] = ()
    min_step: int = 0
    max_step: int | None = None
    page_size: int = 1000
    # What every row has, and is always given.
    own: tuple[str, ...] = (STEP,)
    # Of the wanted columns, those that are given: the rows are the same without the others.
    projection: frozenset[str] | None = None

    def columns(self, names: Collection[str]) -> list[str] | None:
        """Those of the columns that are wanted, or None if no row can have what is asked."""
        found = self._columns(names)
        if found is None or self.projection is None:
            return found
        return [name for name in found if name in self.projection or name in self.own]

    def columns_to_read(self, names: Collection[str]) -> list[str] | None:
        """The columns by which rows are chosen, and those that are given of them."""
        return self._columns(names) if self.keys else self.columns(names)

    def _columns(self, names: Collection[str]) -> list[str] | None:
        groups = self._groups(names)
        if groups is None:
            return [name for name in names if not matches_any(name, self.exclude)]
        if not (any(groups) if self.any_key else all(groups)):
            return None
        return list(dict.fromkeys((*self.own, *(name for group in groups for name in group))))

    def of_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """The wanted rows and columns of a batch, or None if there are none."""
        import pyarrow.compute as pc

        columns = self.columns(batch.schema.names)
        if columns is None:
            return None
        if mask := self._mask(batch):
            batch = batch.filter(reduce(pc.and_, mask))
        if columns != batch.schema.names:
            batch = batch.select(columns)
        return batch if batch.num_rows else None

    def of_rows(self, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """The wanted rows, each with what is wanted of it; steps aside. They have no None."""
        if not self.keys and not self.exclude:
            return rows
        # Rows look alike: what is wanted of one is known from another with the same keys.
        known: dict[tuple[str, ...], list[str] | None] = {}
        found = []
        for row in rows:
            names = tuple(row)
            if names not in known:
                columns = self.columns(names)
                known[names] = columns and [name for name in columns if name in row]
            if (columns := known[names]) is not None:
                found.append({name: row[name] for name in columns})
        return found

    def within_steps(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch whose steps are wanted, whatever else is."""
        import pyarrow.compute as pc

        mask = self._step_mask(batch)
        return batch.filter(reduce(pc.and_, mask)) if mask else batch

    def _mask(self, batch: pa.RecordBatch) -> list[pa.Array]:
        import pyarrow.compute as pc

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
        import pyarrow.compute as pc

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
        if not self.keys:
            return None
        if self.exclude:
            names = [name for name in names if not matches_any(name, self.exclude)]
        return matching_names(self.keys, names)
