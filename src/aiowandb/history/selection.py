"""Which rows and columns of a run are selected, applied to files, batches and rows alike.

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
    """Rows with steps in `[min_step, max_step)` that have all `keys`, or any with `any_key`.

    A key may be a glob: a row has it if it has any key that the glob matches. A key with
    others nested in it stands for those. The columns are those of `keys`, in their order,
    without those of `exclude`; without `keys`, all columns are selected.
    """

    keys: tuple[str, ...] | None = None
    any_key: bool = False
    exclude: tuple[str, ...] = ()
    min_step: int = 0
    max_step: int | None = None
    page_size: int = 1000
    # Columns that are selected in any case.
    always: tuple[str, ...] = (STEP,)
    # Of the selected columns, those that are returned. It has no effect on the rows.
    projection: frozenset[str] | None = None

    def columns(self, names: Collection[str]) -> list[str] | None:
        """The selected columns of these, or None if no row can have the keys that are asked for."""
        found = self._columns(names)
        if found is None or self.projection is None:
            return found
        return [name for name in found if name in self.projection or name in self.always]

    def columns_to_read(self, names: Collection[str]) -> list[str] | None:
        """The columns that select rows, and those that are returned."""
        return self._columns(names) if self.keys else self.columns(names)

    def _columns(self, names: Collection[str]) -> list[str] | None:
        groups = self._groups(names)
        if groups is None:
            return [name for name in names if not matches_any(name, self.exclude)]
        if not (any(groups) if self.any_key else all(groups)):
            return None
        return list(dict.fromkeys((*self.always, *(name for group in groups for name in group))))

    def filter_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """The selected rows and columns of a batch, or None if there are none."""
        return self.filter_keys(self.filter_steps(batch))

    def filter_keys(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """The same for a batch whose rows all have selected steps."""
        import pyarrow.compute as pc

        names = batch.schema.names
        columns = self.columns(names)
        if columns is None:
            return None
        if mask := self._key_mask(batch):
            batch = batch.filter(reduce(pc.and_, mask))
        if columns != names:
            batch = batch.select(columns)
        return batch if batch.num_rows else None

    def filter_rows(self, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """The rows with the selected keys, whatever their steps. Rows have no None as a value."""
        if not self.keys and not self.exclude:
            return rows
        # Most rows have the same keys as others: match the keys once.
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

    def filter_steps(self, batch: pa.RecordBatch, steps: Any = None) -> pa.RecordBatch:
        """The rows of a batch whose steps are selected, whatever their keys.

        `steps` may be their `min` and `max`, which are looked for otherwise.
        """
        import pyarrow.compute as pc

        mask = self._step_mask(batch, steps)
        return batch.filter(reduce(pc.and_, mask)) if mask else batch

    def _key_mask(self, batch: pa.RecordBatch) -> list[pa.BooleanArray]:
        import pyarrow.compute as pc

        groups = [
            reduce(pc.or_, [batch.column(name).is_valid() for name in group])
            for group in self._groups(batch.schema.names) or ()
            if group
        ]
        return [reduce(pc.or_, groups)] if groups and self.any_key else groups

    def _step_mask(self, batch: pa.RecordBatch, steps: Any) -> list[pa.BooleanArray]:
        import pyarrow as pa
        import pyarrow.compute as pc

        mask = []
        if batch.num_rows and STEP in batch.schema.names:
            step = batch.column(STEP)
            ends: Any = steps or pc.min_max(step).as_py()
            if ends["min"] is not None and ends["min"] < self.min_step:
                mask.append(pc.greater_equal(step, pa.scalar(self.min_step)))
            last = ends["max"]
            if self.max_step is not None and last is not None and last >= self.max_step:
                mask.append(pc.less(step, pa.scalar(self.max_step)))
        return mask

    def _groups(self, names: Collection[str]) -> list[list[str]] | None:
        """For each of `keys`, the columns that it names."""
        if not self.keys:
            return None
        if self.exclude:
            names = [name for name in names if not matches_any(name, self.exclude)]
        return matching_names(self.keys, names)
