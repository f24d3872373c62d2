"""`ExportPlan`: what an export would do, returned by `Runs.plan_export`."""

from __future__ import annotations

import msgspec

from aiowandb.choices import What


class TablePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an export would fetch for one of `what`; None where W&B does not tell.

    `runs` are those of which something is fetched. The sizes of histories are estimated from the
    number of values: `bytes` are for values that hardly compress, `least_bytes` for those that
    repeat. Those of files and artifacts are W&B's.
    """

    table: What
    runs: int = 0
    rows: int | None = None
    files: int | None = None
    bytes: int | None = None
    least_bytes: int | None = None
    requests: int = 0
    downloads: int = 0


class Omission(msgspec.Struct, frozen=True):
    """Something that would be sampled or left out, how much of it, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


class ExportPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an export with the same arguments would do now.

    Of `runs`, `new` are not in the folder yet, `changed` have more or other rows and files than
    there, and `unchanged` are not read again; `missing` are in the folder, and are not among the
    runs that W&B lists. `requests` are those that W&B's limits count. They take `minutes` at
    `rate` requests a second, the rate that W&B grants or that `max_rate` allows; if `rate` is
    None, no limit is known, and `minutes` follow from how fast W&B has answered. The transfer of
    the bytes may take longer.

    `free_bytes` is what the disk of the folder has left, None if there is no such disk.
    `planning_requests` is what the plan itself took.
    """

    project: str
    target: str
    runs: int
    new: int
    changed: int
    unchanged: int
    missing: int
    tables: tuple[TablePlan, ...]
    left_out: tuple[Omission, ...]
    requests: int
    rate: float | None
    minutes: float
    free_bytes: int | None
    planning_requests: int
    unknown_keys: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """About how many rows of histories and system metrics would be fetched."""
        return sum(each.rows or 0 for each in self.tables if each.table != "runs")

    @property
    def bytes(self) -> int:
        """About how many bytes that would be at most, as far as W&B tells."""
        return sum(each.bytes or 0 for each in self.tables)

    @property
    def least_bytes(self) -> int:
        """About how many bytes that would be if the values of histories repeat."""
        return sum(
            (each.bytes or 0) if each.least_bytes is None else each.least_bytes
            for each in self.tables
        )

    @property
    def fits(self) -> bool | None:
        """Whether the disk has space for the most bytes; None if it is not known."""
        return None if self.free_bytes is None else self.bytes < self.free_bytes
