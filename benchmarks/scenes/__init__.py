"""The scenes by the names that the command line knows, in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.figures import Scene
from benchmarks.scenes import (
    copies,
    embedded,
    everything,
    exports,
    facade,
    imports,
    latency,
    limit,
    listing,
    loops,
    memory,
    planning,
    stalls,
    start,
    verifying,
)

SCENES: Mapping[str, Scene] = {
    "a": exports.parquet,
    "a-tls": exports.parquet_over_tls,
    "b": exports.json,
    "c": start.first_row,
    "d": listing.to_csv,
    "e": exports.limited,
    "f": memory.ten_times_the_data,
    "g": imports.beside_wandb,
    "h": facade.beside_async,
    "i": embedded.store_and_list,
    "n": loops.of_runs,
    "copy": copies.beside_the_script,
    "copy-memory": copies.ten_times_the_data,
    "requests": exports.requests,
    "everything": everything.of_many_kinds,
    "plan": planning.large_project,
    "read": planning.rows_of_a_plan,
    "limit": limit.steady_rate,
    "stall": stalls.of_the_loop,
    "verify": verifying.of_many_files,
    "latency": latency.sweep,
}
