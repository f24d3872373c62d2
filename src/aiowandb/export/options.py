"""What of the runs is exported, and in which form."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from aiowandb.errors import UsageError

Format = Literal["parquet", "csv", "jsonl", "arrow", "delta"]
What = Literal["runs", "history", "system", "files", "artifacts"]
Layout = Literal["wide", "long"]
Split = Literal["run"]
OnDeleted = Literal["keep", "drop"]
Nan = Literal["null", "text", "token"]


# What may differ from one export into a folder to the next.
MAY_CHANGE = frozenset({"on_deleted"})


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What of the runs is exported, and in which form; wrong values are refused at once.

    `what` are tables, and what the runs have in files. Of the history: with `keys`, names
    or globs, the rows that have one of them, without the columns of `exclude`; steps in
    `[min_step, max_step)`; or a sample of `samples` rows a run. `layout` is a column a key,
    or `long`: a row a value. `split="run"` gives each run a file of its own. `safe_csv`
    defuses cells that a spreadsheet would run as formulas. Runs that were exported and then
    deleted at W&B are kept, unless `on_deleted` is `drop`. `nan` is what JSON Lines have for
    NaN and the infinities: null, text like "NaN", or the bare token, which is no strict JSON;
    None is what the folder has already, and null in a new one.
    """

    format: Format = "parquet"
    what: tuple[What, ...] = ("runs", "history")
    layout: Layout = "wide"
    split: Split | None = None
    keys: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    min_step: int | None = None
    max_step: int | None = None
    samples: int | None = None
    safe_csv: bool = False
    on_deleted: OnDeleted = "keep"
    nan: Nan | None = None

    def __post_init__(self) -> None:
        _check("format", self.format, get_args(Format))
        _check("layout", self.layout, get_args(Layout))
        _check("split", self.split, (None, *get_args(Split)))
        _check("on_deleted", self.on_deleted, get_args(OnDeleted))
        _check("nan", self.nan, (None, *get_args(Nan)))
        for table in self.what:
            _check("what", table, get_args(What))
        if not self.what:
            raise UsageError("what is empty: there is nothing to export.")
        if self.format == "delta" and self.split:
            raise UsageError("A Delta table is one table: leave split out.")
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"samples must be at least 1, not {self.samples}.")
        if self.safe_csv and self.format != "csv":
            raise UsageError(f"safe_csv goes with the format csv, not with {self.format}.")
        if self.nan and self.format != "jsonl":
            raise UsageError(f"nan goes with the format jsonl, not with {self.format}.")
        if self.max_step is not None and self.max_step <= (self.min_step or 0):
            raise UsageError(
                f"No step is at least {self.min_step or 0} and below {self.max_step}:"
                " max_step is the first one that is left out."
            )

    def continuing(self, before: ExportOptions | None) -> ExportOptions:
        """These options, with what is left open as it was `before`: in the journal of the folder.

        JSON Lines had text for NaN when journals did not say so.
        """
        if self.format != "jsonl" or self.nan:
            return self
        return msgspec.structs.replace(self, nan=before.nan or "text" if before else "null")


def _check(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        named = ", ".join(str(each) for each in allowed if each is not None)
        raise UsageError(f"{name}: {value!r} is not one of {named}.")
