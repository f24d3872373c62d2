"""The options of an export: what, and in which format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from aiowandb.arguments import check_steps, choice, choices, optional
from aiowandb.choices import EVERYTHING, Format, Layout, Nan, OnDeleted, Split, What
from aiowandb.errors import UsageError
from aiowandb.wire.dotted import matches_any
from aiowandb.wire.rows import STEP

__all__ = ["ExportOptions", "Format", "Layout", "Nan", "OnDeleted", "Split", "What"]


ExportTarget: TypeAlias = Literal["folder", "stdout", "sink"]

# Options that may differ from one export into a folder to the next.
MAY_CHANGE = frozenset({"on_deleted"})


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is exported of the runs, and in which format; invalid values raise an error.

    `what` names tables, and downloads of runs; `all` stands for all of them. For the history:
    `keys`, names or globs, selects columns, and rows that have any of them, or all without
    `any_key`; `exclude` leaves columns out; `[min_step, max_step)` limits the steps; `samples`
    takes a sample of so many rows per run. `layout` is one column per key, or `long`: one row per
    value. `split="run"` writes one file per run. `safe_csv` escapes cells that a spreadsheet
    would run as formulas. Runs that were exported and then deleted at W&B are kept, unless
    `on_deleted` is `drop`. `nan` is how JSON Lines have NaN and the infinities: null, text like
    "NaN", or the bare token, which is not strict JSON; None means as before in this folder, and
    null in a new one.
    """

    format: Format = "parquet"
    what: tuple[What, ...] = ("runs", "history")
    layout: Layout = "wide"
    split: Split | None = None
    keys: tuple[str, ...] | None = None
    any_key: bool = True
    exclude: tuple[str, ...] = ()
    min_step: int | None = None
    max_step: int | None = None
    samples: int | None = None
    safe_csv: bool = False
    on_deleted: OnDeleted = "keep"
    nan: Nan | None = None

    def __post_init__(self) -> None:
        choice(Format)("format", self.format)
        choice(Layout)("layout", self.layout)
        optional(choice(Split))("split", self.split)
        choice(OnDeleted)("on_deleted", self.on_deleted)
        optional(choice(Nan))("nan", self.nan)
        choices(What)("what", self.what)
        if "all" in self.what:
            msgspec.structs.force_setattr(self, "what", EVERYTHING)
        if not self.what:
            raise UsageError("what is empty: there is nothing to export.")
        if self.format == "delta" and self.split:
            raise UsageError("A Delta table cannot be split: leave split out.")
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"samples must be at least 1, not {self.samples}.")
        if self.safe_csv and self.format != "csv":
            raise UsageError(f"safe_csv requires the format csv, not {self.format}.")
        if self.nan and self.format != "jsonl":
            raise UsageError(f"nan requires the format jsonl, not {self.format}.")
        check_steps(self.min_step, self.max_step)

    @property
    def publishes_parts(self) -> bool:
        """Whether readers see the parts themselves, and not files that are made from them."""
        return self.format in ("parquet", "delta")

    @property
    def selecting(self) -> list[str]:
        """The names of the options that select rows or columns of the history."""
        given = {
            "keys": self.keys,
            "exclude": self.exclude,
            "min_step": self.min_step,
            "max_step": self.max_step is not None,
        }
        return [name for name, is_given in given.items() if is_given]

    def check_effect(self, *, target: ExportTarget, overwrite: bool = False) -> None:
        """Raise if an option would have no effect, which must be a mistake.

        `__post_init__` does not check it: older journals have such options.
        """
        if not self.any_key and not self.keys:
            raise UsageError("any_key requires keys: without them, all rows are exported.")
        if matches_any(STEP, self.exclude):
            raise UsageError(
                f"exclude={list(self.exclude)!r} matches {STEP}, which every history has:"
                " use patterns that do not match it."
            )
        changed = [name for name in self._without_effect() if name != "any_key"]
        if changed:
            need = [name for name in EVERYTHING if name in _NEEDS[changed[0]]]
            raise UsageError(
                f"{changed[0]} requires {' or '.join(need)} in what, which is"
                f" {', '.join(self.what)}: leave {changed[0]} out."
            )
        if target == "folder":
            return
        for name, is_given in (("on_deleted", self.on_deleted != "keep"), ("overwrite", overwrite)):
            if is_given:
                raise UsageError(f"{name} requires a folder, not a stream of rows.")
        if target == "sink":
            for name in ("format", "safe_csv", "nan"):
                if getattr(self, name) != getattr(_DEFAULT, name):
                    raise UsageError(
                        f"{name} requires a folder or the standard output: your own sink gets"
                        " Arrow record batches."
                    )

    def effective(self) -> ExportOptions:
        """The same options, with those that have no effect set to their defaults."""
        kept = {name: getattr(_DEFAULT, name) for name in self._without_effect()}
        return msgspec.structs.replace(self, **kept)

    def _without_effect(self) -> list[str]:
        """The names of options that are set and have no effect on what is exported."""
        found = [
            name
            for name, tables in _NEEDS.items()
            if getattr(self, name) != getattr(_DEFAULT, name) and not tables & set(self.what)
        ]
        return found if self.keys or self.any_key or "any_key" in found else [*found, "any_key"]

    def continuing(self, before: ExportOptions | None) -> ExportOptions:
        """These options, with those left open as in `before`, the options in the folder's journal.

        Journals without `nan` are of versions that wrote text for NaN into JSON Lines.
        """
        if self.format != "jsonl" or self.nan:
            return self
        return msgspec.structs.replace(self, nan=before.nan or "text" if before else "null")


def differences(before: msgspec.Struct, now: msgspec.Struct) -> list[str]:
    """What an earlier export has otherwise than this one, and that may not change."""
    return [
        f"{name} {getattr(before, name)!r} there, {getattr(now, name)!r} here"
        for name in before.__struct_fields__
        if name not in MAY_CHANGE
        and msgspec.to_builtins(getattr(before, name)) != msgspec.to_builtins(getattr(now, name))
    ]


_DEFAULT = ExportOptions()
# The tables that an option applies to: without one of them it has no effect.
_HISTORY = frozenset[What]({"history"})
_ROWS = frozenset[What]({"history", "system", "logs", "metrics", "media", "histograms", "tables"})
_TABLES = frozenset[What]({"runs", "sweeps", *_ROWS})
_NEEDS: Mapping[str, frozenset[What]] = {
    **dict.fromkeys(("keys", "any_key", "exclude", "min_step", "max_step"), _HISTORY),
    **dict.fromkeys(("samples", "layout"), _HISTORY),
    "split": _ROWS,
    **dict.fromkeys(("format", "safe_csv", "nan", "on_deleted"), _TABLES),
}
