"""The values of options: for types, checks of arguments, and the command line."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

# The format of exported files.
Format: TypeAlias = Literal["parquet", "csv", "jsonl", "arrow", "delta"]
# What is exported.
What: TypeAlias = Literal[
    "runs",
    "history",
    "system",
    "logs",
    "metrics",
    "media",
    "histograms",
    "tables",
    "sweeps",
    "reports",
    "files",
    "artifacts",
    "all",
]
# All of it.
EVERYTHING: tuple[What, ...] = tuple(what for what in get_args(What) if what != "all")
# A column per key, or a row per value.
Layout: TypeAlias = Literal["wide", "long"]
# One dataset of all runs, or a file per run.
Split: TypeAlias = Literal["run"]
# What to do with rows of runs that were deleted at W&B.
OnDeleted: TypeAlias = Literal["keep", "drop"]
# How JSON Lines represent NaN and the infinities.
Nan: TypeAlias = Literal["null", "text", "token"]

# What to do with runs of the target that were not copied there, and the ids of copied runs.
OnExisting: TypeAlias = Literal["fail", "skip", "update"]
CopyIds: TypeAlias = Literal["keep", "new"]

# The rows that a script logs, or those of its machine.
EventStream: TypeAlias = Literal["default", "system", "events"]
# What a read plan does with rows that are in no file yet.
LiveRows: TypeAlias = Literal["read", "fetch", "skip"]
# The formats of rows and batches.
RowsFormat: TypeAlias = Literal["default", "pandas", "polars"]
FrameFormat: TypeAlias = Literal["polars", "pandas", "arrow"]
# Nested keys as dotted columns, or as JSON text.
Nested: TypeAlias = Literal["dots", "json"]

# The output formats of commands, for lists and for single records.
TableFormat: TypeAlias = Literal["table", "json", "csv"]
RecordFormat: TypeAlias = Literal["table", "json"]

# The format in which the embedded W&B exports the histories of finished runs.
HistoryMode: TypeAlias = Literal["parquet", "json", "mixed"]

# The parts of runs that can be left out of lists.
RunField: TypeAlias = Literal["config", "summary", "system", "history_keys"]
# The states of a run after rows were appended, and those that a run without a script can be set to.
EndState: TypeAlias = Literal["finished", "failed", "running"]
SetState: TypeAlias = Literal["pending", "failed"]
