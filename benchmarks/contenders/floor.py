"""The floor: the same response bytes, in memory already, through the fastest decoder and writer.

No network, no checks, one process. Nothing that makes the same file of the same bytes with the
same libraries can be much cheaper.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import httpx
import msgspec
import orjson
import pandas as pd  # noqa: F401 - by pyarrow, at its first use
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.contenders.clock import Job, Outcome, asked_job, report
from benchmarks.origin.project import ENTITY, NAME, run_name

_ROW_GROUP = 131_072
PAGE = 1000
_RUN = f'($run: String!) {{ project(name: "{NAME}", entityName: "{ENTITY}") {{ run(name: $run)'
_WHERE = f"query {_RUN} {{ historyLineCount parquetHistory {{ parquetUrls }} }} }} }}"
_ROWS = f"query {_RUN} {{ history(minStep: $first, maxStep: $end) }} }} }}"

# The run that a response is about, and its bytes.
Response = tuple[str, bytes]


def responses(job: Job) -> list[Response]:
    """All that a client has to read for the job."""
    with httpx.Client(base_url=job.url, timeout=None) as http:
        names = [run_name(number) for number in range(job.runs)]
        return [(name, body) for name in names for body in _bodies(http, name)]


def export(found: list[Response], path: Path) -> Outcome:
    """The responses as one Parquet file, like that of aiowandb."""
    is_json = found[0][1].startswith(b"{")
    return Outcome(_write(_from_json(found) if is_json else _from_parquet(found), path))


def parquet_urls(http: httpx.Client, run: str) -> list[str]:
    """Where the files of a run lie, if its history is in files."""
    urls: list[str] = _where(http, run)["parquetHistory"]["parquetUrls"]
    return urls


def ask_rows(http: httpx.Client, run: str, first: int) -> bytes:
    """The answer with a page of JSON rows."""
    return _ask(http, _ROWS, run=run, first=first, end=first + PAGE)


def _bodies(http: httpx.Client, run: str) -> Iterator[bytes]:
    urls = parquet_urls(http, run)
    for url in urls:
        yield http.get(url).content
    if not urls:
        for first in range(0, _where(http, run)["historyLineCount"], PAGE):
            yield ask_rows(http, run, first)


def _where(http: httpx.Client, run: str) -> Any:
    return orjson.loads(_ask(http, _WHERE, run=run))["data"]["project"]["run"]


def _ask(http: httpx.Client, query: str, **variables: Any) -> bytes:
    body = orjson.dumps({"query": query, "variables": variables})
    return http.post("/graphql", content=body).content


def _from_parquet(found: list[Response]) -> Iterator[tuple[str, pa.Table]]:
    for run, body in found:
        yield run, pq.ParquetFile(pa.BufferReader(body)).read(use_threads=False)


def _from_json(found: list[Response]) -> Iterator[tuple[str, pa.Table]]:
    answers = msgspec.json.Decoder(_Answer)
    columns = _Columns(answers.decode(found[0][1]).data.project.run.history)
    for run, body in found:
        yield run, columns.decode(answers.decode(body).data.project.run.history)


class _Run(msgspec.Struct):
    history: list[str]


class _Project(msgspec.Struct):
    run: _Run


class _Data(msgspec.Struct):
    project: _Project


class _Answer(msgspec.Struct):
    data: _Data


class _Columns:
    """Rows to columns through a struct type made for the keys that some of them have."""

    def __init__(self, texts: list[str]) -> None:
        example: dict[str, Any] = {k: v for text in texts for k, v in orjson.loads(text).items()}
        fields, paths, self._names, self._kinds = [], [], [], []
        for i, (key, value) in enumerate(example.items()):
            kind: Any = type(value)
            path, name = f"f{i}", key
            if kind is dict:  # of one number
                (below,) = value
                kind = msgspec.defstruct("Inner", [(below, float)])
                path, name = f"f{i}.{below}", f"{key}.{below}"
            fields.append((f"f{i}", kind | None, None))
            paths.append(path)
            self._names.append(name)
            self._kinds.append(pa.int64() if kind is int else pa.float64())
        rename = {f"f{i}": key for i, key in enumerate(example)}
        row = msgspec.defstruct("Row", fields, rename=rename, gc=False)
        self._decoder = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
        self._values = attrgetter(*paths)

    def decode(self, texts: list[str]) -> pa.Table:
        rows = self._decoder.decode(f"[{','.join(texts)}]")
        columns = zip(*map(self._values, rows), strict=True)
        arrays = [pa.array(values, kind) for values, kind in zip(columns, self._kinds, strict=True)]
        return pa.table(arrays, self._names)


def _write(tables: Iterable[tuple[str, pa.Table]], path: Path) -> int:
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    rows = waiting_rows = 0
    for run, table in tables:
        run_id = pa.DictionaryArray.from_arrays(pa.array([0] * len(table), pa.int32()), [run])
        waiting.append(table.add_column(0, "run_id", run_id))
        waiting_rows += len(table)
        writer = writer or _writer(waiting[0].schema, path)
        if waiting_rows >= _ROW_GROUP:
            writer.write_table(pa.concat_tables(waiting), row_group_size=_ROW_GROUP)
            rows, waiting, waiting_rows = rows + waiting_rows, [], 0
    if writer:
        if waiting:
            writer.write_table(pa.concat_tables(waiting), row_group_size=_ROW_GROUP)
        writer.close()
    return rows + waiting_rows


def _writer(schema: pa.Schema, path: Path) -> pq.ParquetWriter:
    # The cheapest encodings for numbers that hardly repeat.
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=["run_id"],  # type: ignore[arg-type]
        use_byte_stream_split=floats,
    )


if __name__ == "__main__":
    job = asked_job()
    found = responses(job)
    report(lambda: export(found, job.folder / "history.parquet"))
