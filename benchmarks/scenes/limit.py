"""How much of what a rate limit grants is used, and at the price of how many refusals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import msgspec

from aiowandb import AsyncApi
from aiowandb_server import Store, create_app, serve_in_thread
from benchmarks.figures import Effort, Figure, Findings

_RATE = 20
_QUESTIONS = 600
_LATENCY = 0.05


class _Course(msgspec.Struct):
    """When each answer came, and how many requests were refused."""

    answered: list[float] = []
    refused: int = 0

    @property
    def rate(self) -> float:
        """Answers a second once the burst that every limit allows at first is over."""
        steady = self.answered[len(self.answered) // 3 :]
        return (len(steady) - 1) / (steady[-1] - steady[0])


def steady_rate(effort: Effort) -> Findings:
    """600 small questions at once to the embedded W&B, which allows 20 requests a second."""
    courses = []
    for _ in range(effort.rounds):
        with _limited() as (url, key):
            courses.append(anyio.run(_ask, url, key, max(10, effort.of(_QUESTIONS))))
    return Findings(
        [
            Figure(
                "limit",
                "rate reached / rate allowed",
                [course.rate / _RATE for course in courses],
                at_least=0.9,
            ),
            Figure(
                "limit",
                "share of requests refused",
                [course.refused / (len(course.answered) + course.refused) for course in courses],
                at_most=0.05,
            ),
        ]
    )


async def _ask(url: str, key: str, questions: int) -> _Course:
    course = _Course()

    async def ask(number: int) -> None:
        await api.runs("local/p", filters={"config.number": number}).count()
        course.answered.append(time.perf_counter())

    async with AsyncApi(key, base_url=url) as api:
        async with anyio.create_task_group() as tasks:
            for number in range(questions):
                tasks.start_soon(ask, number)
        course.refused = api.traffic.refused
    return course


@contextmanager
def _limited() -> Iterator[tuple[str, str]]:
    with TemporaryDirectory() as folder, Store.open(Path(folder)) as store:
        store.projects.ensure("local", "p")
        app = create_app(store, rate_limit=_RATE, latency=_LATENCY)
        with serve_in_thread(app) as url:
            yield url, store.local_key
