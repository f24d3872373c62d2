"""The words that options may have: for types, for the checks of arguments, and for the shell."""

from __future__ import annotations

from typing import Literal, TypeAlias

# The format of the files of an export.
Format: TypeAlias = Literal["parquet", "csv", "jsonl", "arrow", "delta"]
# What of the runs is exported.
What: TypeAlias = Literal["runs", "history", "system", "files", "artifacts"]
# A column a key, or a row a value.
Layout: TypeAlias = Literal["wide", "long"]
# One dataset of all runs, or a file a run.
Split: TypeAlias = Literal["run"]
# What happens to rows of runs that were deleted at W&B.
OnDeleted: TypeAlias = Literal["keep", "drop"]
# How JSON Lines spell NaN and the infinities.
Nan: TypeAlias = Literal["null", "text", "token"]

# What a copy does with runs of the target that it did not make, and which ids its runs get.
OnExisting: TypeAlias = Literal["fail", "skip", "update"]
CopyIds: TypeAlias = Literal["keep", "new"]

# The rows that a script logs, and those of the machine that it runs on.
EventStream: TypeAlias = Literal["default", "system", "events"]
# What becomes of rows that are in no file yet, when a plan to read them is made.
LiveRows: TypeAlias = Literal["read", "fetch", "skip"]
# How rows and batches are given.
RowsFormat: TypeAlias = Literal["default", "pandas", "polars"]
FrameFormat: TypeAlias = Literal["polars", "pandas", "arrow"]
# Nested keys as dotted columns, or as JSON text.
Nested: TypeAlias = Literal["dots", "json"]

# How the shell prints lists, and one thing alone.
TableFormat: TypeAlias = Literal["table", "json", "csv"]
RecordFormat: TypeAlias = Literal["table", "json"]

# How the embedded W&B hands out the histories of runs that have ended.
HistoryMode: TypeAlias = Literal["parquet", "json", "mixed"]

# The parts of a run that can be left out where many are listed.
RunField: TypeAlias = Literal["config", "summary", "system", "history_keys"]
# The states that rows can leave a run in, and those that a run without a script can be given.
EndState: TypeAlias = Literal["finished", "failed", "running"]
SetState: TypeAlias = Literal["pending", "failed"]
