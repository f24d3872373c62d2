"""One page of a history by an HTTP client and a decoder alone: how soon a first row can be."""

from __future__ import annotations

import time
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.contenders.clock import Job, Outcome, measured
from benchmarks.contenders.floor import PAGE, ask_rows, parquet_urls
from benchmarks.origin.project import run_name


def first_page(job: Job) -> Outcome:
    """The page and its 1,000 rows, once it is known where it lies."""
    with httpx.Client(base_url=job.url, timeout=None) as http:
        urls = parquet_urls(http, run_name(0))
        return _from_parquet(http, urls[0]) if urls else _from_json(http)


def _from_json(http: httpx.Client) -> Outcome:
    started = time.perf_counter()
    answer = orjson.loads(ask_rows(http, run_name(0), 0))
    rows: list[Any] = [orjson.loads(text) for text in answer["data"]["project"]["run"]["history"]]
    return Outcome(len(rows), time.perf_counter() - started)


def _from_parquet(http: httpx.Client, url: str) -> Outcome:
    file = pq.ParquetFile(pa.BufferReader(http.get(url).content))
    group = file.metadata.row_group(0)
    end = 4 + sum(group.column(i).total_compressed_size for i in range(group.num_columns))
    started = time.perf_counter()
    http.get(url, headers={"Range": f"bytes=0-{end}"})
    rows = file.read_row_group(0).slice(0, PAGE).to_pylist()
    return Outcome(len(rows), time.perf_counter() - started)


if __name__ == "__main__":
    measured(first_page)
