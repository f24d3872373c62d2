"""The configs and summaries of exported runs, compared with those at W&B. All calls block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.concurrency.threads import until_cancelled
from aiowandb.errors import ServerError
from aiowandb.export.folders.base import Folder
from aiowandb.export.originals import ORIGINALS_FILE
from aiowandb.export.parquet import bounded_rows
from aiowandb.suggestions import listed
from aiowandb.wire.json_edit import alike, read_object
from aiowandb.wire.record import RunRecord

_RUN = "run_id"
_COLUMNS = [_RUN, "config", "summary"]
_CONFIG_LEVELS = 2
_NAMED = 5

_Texts = tuple[str | None, str | None]


class OriginalTexts:
    """The texts of all runs. Only digests are kept in memory: texts are long, and hardly differ."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._is_there = folder.size(ORIGINALS_FILE) is not None
        self._digests: dict[str, bytes] = {}
        try:
            for run, *texts in self._rows() if self._is_there else ():
                self._digests[str(run)] = _digest(texts[0], texts[1])
        except (pa.ArrowException, OSError):
            self._is_there = False  # reported as a file that has changed

    def differences(self, record: RunRecord) -> list[str]:
        """What differs at W&B, if there are texts to compare."""
        if not self._is_there:
            return []
        here = self._digests.get(record.id)
        if here is None:
            return ["runs: it is not in the table of runs."]
        config, summary = record.config_json or None, record.summary_json or None
        if here == _digest(config, summary):
            return []
        known = self._find(record.id)
        return [
            *_unlike("config", known[0], config, _CONFIG_LEVELS),
            *_unlike("summary", known[1], summary, 1),
        ]

    def _find(self, run: str) -> _Texts:
        for name, config, summary in self._rows(run):
            if name == run:
                return config, summary
        return None, None

    def _rows(self, run: str | None = None) -> Iterator[tuple[Any, ...]]:
        for batch in until_cancelled(bounded_rows(self._folder, ORIGINALS_FILE, _COLUMNS)):
            if run is not None:
                batch = batch.filter(pc.equal(batch.column(_RUN), pa.scalar(run)))
            yield from zip(*(batch.column(name).to_pylist() for name in _COLUMNS), strict=True)


def _digest(config: str | None, summary: str | None) -> bytes:
    text = f"{config or ''}\0{summary or ''}"
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _unlike(what: str, here: str | None, there: str | None, levels: int) -> list[str]:
    if here == there:
        return []
    try:
        one, other = read_object(here, levels), read_object(there, levels)
    except ServerError:  # one of them is no JSON
        return [f"{what}: it differs at W&B."]
    names = [name for name in {**one, **other} if not _is_alike(one, other, name)]
    if not names:
        return []
    return [f"{what}: {listed(names, _NAMED)} differ at W&B."]


def _is_alike(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> bool:
    return name in one and name in other and alike(one[name], other[name])
