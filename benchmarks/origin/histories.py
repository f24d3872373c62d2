"""What a run has logged, prepared in both forms of W&B: Parquet files and JSON rows."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

STARTED = 1_750_000_000.0
# Rows beyond these repeat their values in JSON, never their steps: a million texts are not kept.
_DISTINCT_ROWS = 5_000
_ROWS_A_GROUP = 50_000


@dataclass(frozen=True)
class History:
    """`rows` rows of `_step` and 20 more keys; the seed decides their values.

    Two of the keys are integers, one is nested, and two are logged in one row of a hundred only.
    """

    rows: int
    seed: int

    def prepare(self, *, live: bool) -> None:
        """Make now what will be asked for."""
        self.texts(0, 1)
        if not live:
            assert self.parquet

    @cached_property
    def parquet(self) -> bytes:
        """The file that W&B would have exported."""
        file = io.BytesIO()
        pq.write_table(self._table(self.rows), file, row_group_size=_ROWS_A_GROUP)
        return file.getvalue()

    def texts(self, first: int, end: int) -> bytes:
        """The rows of these steps as W&B answers them: a JSON list of JSON texts."""
        tails, period = self._tails, len(self._tails)
        rows = range(max(first, 0), min(end, self.rows))
        return b"[%b]" % b",".join(b'"{\\"_step\\":%d,%b' % (i, tails[i % period]) for i in rows)

    @cached_property
    def keys(self) -> bytes:
        """W&B's `historyKeys`."""
        names = self._columns(1).keys()
        counts = [{"type": "number", "count": self.rows}]
        keys = {name: {"typeCounts": counts, "monotonic": False} for name in names}
        return orjson.dumps({"lastStep": self.rows - 1, "sets": [], "keys": keys})

    @cached_property
    def _tails(self) -> list[bytes]:
        """Each row as text behind its step, quoted as it stands within the answer."""
        found = []
        for row in self._table(min(self.rows, _DISTINCT_ROWS)).drop(["_step"]).to_pylist():
            row["eval"] = {"score": row.pop("eval.score")}
            present = {name: value for name, value in row.items() if value is not None}
            found.append(orjson.dumps(orjson.dumps(present)[1:].decode())[1:])
        return found

    def _table(self, rows: int) -> pa.Table:
        return pa.table(self._columns(rows))

    def _columns(self, rows: int) -> dict[str, Any]:
        random = np.random.default_rng(self.seed)
        steps = np.arange(rows)
        seconds = np.cumsum(random.gamma(4.0, 0.05, rows))
        columns: dict[str, Any] = {
            "_step": steps,
            "_runtime": seconds,
            "_timestamp": STARTED + seconds,
            "epoch": steps // 100,
            "tokens": steps * 4096,
            "lr": 1e-3 * (1 + np.cos(steps / (rows + 1) * np.pi)),
            "eval.score": _noisy_decay(random, rows),
        }
        for name in ("loss", "accuracy", "perplexity", "grad_norm", "weight_norm", "entropy"):
            columns[f"train/{name}"] = _noisy_decay(random, rows)
        for name in ("data", "forward", "backward", "optimizer", "logging", "total"):
            columns[f"time/{name}"] = random.gamma(4.0, 0.05, rows)
        for name in ("loss", "accuracy"):
            values = _noisy_decay(random, rows)
            columns[f"val/{name}"] = pa.array(values, mask=steps % 100 != 99)
        return columns


def _noisy_decay(random: np.random.Generator, rows: int) -> Any:
    # float32 as frameworks compute it, float64 as W&B stores it.
    values = np.exp(-np.arange(rows) / (rows + 1)) + random.normal(0, 0.05, rows)
    return values.astype(np.float32).astype(np.float64)
