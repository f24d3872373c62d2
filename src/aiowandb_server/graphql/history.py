"""A run's history, events and console output on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.resolving import Resolvers, connection, page_size
from aiowandb_server.store.history import Sampled
from aiowandb_server.store.lines import MAX_STEP

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.records import RunRow

resolvers = Resolvers()

_DEFAULT_SAMPLES = 500


class _SampleSpec(msgspec.Struct, rename="camel"):
    keys: list[str] = []
    samples: int | None = None
    min_step: int | None = None
    max_step: int | None = None


_SPEC = msgspec.json.Decoder(_SampleSpec)


@resolvers("Run", "historyKeys")
def history_keys(run: RunRow, context: Context) -> Any:
    return orjson.loads(context.store.history.keys(run.id)) if run.history_lines else None


@resolvers("Run", "history")
def history(
    run: RunRow,
    context: Context,
    min_step: int | None = None,
    max_step: int | None = None,
    samples: int | None = None,
) -> list[str]:
    low = -MAX_STEP if min_step is None else min_step
    high = MAX_STEP if max_step is None else max_step
    return context.store.history.window(run, low, high, _samples(samples), context.count_text)


@resolvers("Run", "events")
def events(run: RunRow, context: Context, samples: int | None = None) -> list[str]:
    return context.store.history.events(run, _samples(samples))


@resolvers("Run", "sampledHistory")
def sampled_history(run: RunRow, context: Context, specs: list[str]) -> list[list[dict[str, Any]]]:
    for _ in specs:
        context.count_sample(run.id, run.history_lines)
    return [context.store.history.sampled(run, _request(spec)) for spec in specs]


@resolvers("Run", "parquetHistory")
def parquet_history(
    run: RunRow,
    context: Context,
    live_keys: list[str] | None = None,  # noqa: ARG001 - W&B always answers with `_step` only
) -> dict[str, Any]:
    exported = context.store.history.exported(run, context.history)
    first = exported.first_live_step
    return {
        "parquetUrls": [
            context.links.download(f"/exports/{token}.parquet") for token in exported.tokens
        ],
        "liveData": [] if first is None else [{"_step": first}],
    }


def _request(spec: str) -> Sampled:
    try:
        wanted = _SPEC.decode(spec)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestError(f"a spec of sampledHistory is not valid: {error}") from error
    return Sampled(
        tuple(dict.fromkeys(wanted.keys)),
        _samples(wanted.samples),
        -MAX_STEP if wanted.min_step is None else _step(wanted.min_step),
        MAX_STEP if wanted.max_step is None else _step(wanted.max_step + 1),
    )


def _step(number: int) -> int:
    return max(-MAX_STEP, min(number, MAX_STEP))


def _samples(samples: int | None) -> int:
    return _DEFAULT_SAMPLES if samples is None else max(samples, 0)


_LINES_A_PAGE = 1000


@resolvers("Run", "logLines")
def log_lines(
    run: RunRow,
    context: Context,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    use_improved_pagination: bool | None = None,  # noqa: ARG001 - it is always used
) -> Any:
    if last is not None:
        page = context.store.console.tail(run, page_size(last, limit=100_000))
    else:
        size = page_size(first, _LINES_A_PAGE, _LINES_A_PAGE)
        page = context.store.console.page(run, first=size, after=after)
    return connection(page.items, page.cursors, has_next=page.has_next)
