"""The project that is replayed, as a tree of prepared pieces that GraphQL documents select from."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from benchmarks.origin.histories import STARTED, History

ENTITY, NAME = "bench", "project"
PATH = f"{ENTITY}/{NAME}"
# Histories are dear to make and to hold: runs share some, but short ones with so many others
# between them that no row group sees one twice.
_DISTINCT_HISTORIES = 32
_DISTINCT_ROWS = 1_000_000

Arguments: TypeAlias = Mapping[str, Any]
# A piece is JSON as it goes out, or has pieces inside; a function makes one from arguments.
Piece: TypeAlias = "bytes | Mapping[str, Piece | Callable[[Arguments], Piece]] | Sequence[Piece]"
Fields: TypeAlias = "Mapping[str, Piece | Callable[[Arguments], Piece]]"


def run_name(number: int) -> str:
    """The id of the run at this place in the project."""
    return f"run{number:05}"


@dataclass(frozen=True)
class Project:
    """`runs` finished runs of `rows` rows, whose history lies in Parquet or is `live` as JSON.

    Config and summary have 50 keys, and so many `keys` more.
    """

    runs: int
    rows: int
    live: bool
    url: str
    keys: int = 0

    def root(self) -> Fields:
        """What a document starts from."""
        return {"viewer": _VIEWER, "project": lambda asked: self._project(asked)}

    def prepare(self) -> None:
        """Make everything now, so that no contender pays for what the next one finds."""
        for history in self._histories:
            history.prepare(live=self.live)
        for number in range(self.runs):
            self._run(number)

    def parquet(self, number: int) -> bytes:
        return self._histories[number].parquet

    def _project(self, asked: Arguments) -> Piece:
        if (asked.get("entityName"), asked.get("name")) != (ENTITY, NAME):
            return b"null"
        return {
            "name": orjson.dumps(NAME),
            "entityName": orjson.dumps(ENTITY),
            "internalId": b'"7"',
            "readOnly": b"false",
            "runCount": b"%d" % self.runs,
            "runs": self._page,
            "run": lambda asked: self._run(int(asked["name"].removeprefix("run"))),
        }

    def _page(self, asked: Arguments) -> Piece:
        start = int(asked.get("after") or 0)
        end = min(start + asked.get("first", 50), self.runs)
        edges: list[Piece] = [
            {"node": self._run(i), "cursor": b'"%d"' % (i + 1)} for i in range(start, end)
        ]
        info: Fields = {
            "endCursor": b'"%d"' % end,
            "hasNextPage": b"true" if end < self.runs else b"false",
        }
        return {"edges": edges, "pageInfo": info}

    # Both are kept: a run is looked at by every contender, page after page.
    @functools.cached_property
    def _histories(self) -> list[History]:
        most = max(1, min(_DISTINCT_HISTORIES, _DISTINCT_ROWS // self.rows))
        return [History(self.rows, seed) for seed in range(min(most, self.runs))]

    @functools.cached_property
    def _run(self) -> Callable[[int], Fields]:
        return functools.cache(self._make_run)

    def _make_run(self, number: int) -> Fields:
        which = number % len(self._histories)
        history = self._histories[which]
        urls = [] if self.live else [f"{self.url}/exports/{which}.parquet?signature=of-{number}"]
        live = [{"_step": 0}] if self.live else []

        def rows(asked: Arguments) -> bytes:
            first, end = asked.get("minStep"), asked.get("maxStep")
            # Without a window this is the sampled history: all rows, as far as samples reach.
            return history.texts(first or 0, asked["samples"] if end is None else end)

        return {
            **_described(number, self.keys),
            "historyLineCount": b"%d" % self.rows,
            **dict.fromkeys(("eventsLineCount", "logLineCount", "fileCount"), b"0"),
            "historyKeys": history.keys,
            "history": rows,
            "parquetHistory": {
                "parquetUrls": orjson.dumps(urls),
                "liveData": orjson.dumps(live),
            },
        }


def _described(number: int, keys: int) -> dict[str, Piece]:
    """All of a run but its history, at the size that such things have."""
    config: dict[str, Any] = {
        "lr": 10 ** -(2 + number % 4),
        "seed": number,
        "batch_size": 32 << number % 5,
        "model": {"name": f"model-{number % 7}", "layers": 12 + number % 24, "dropout": 0.1},
        "data": {"path": "s3://datasets/imagenet/2012", "workers": 8, "shuffle": True},
        "betas": [0.9, 0.95],
        **{f"flag_{i}": (number + i) % 3 == 0 for i in range(12)},
        **{f"option_{i}": number + i for i in range(keys // 2)},
    }
    summary = {
        "_step": 4999,
        "_runtime": 1000.5 + number,
        "_timestamp": STARTED + number,
        "eval": {"score": math.sin(number)},
        **{f"train/metric_{i}": math.sin(number + i) for i in range(24)},
        **{f"eval/metric_{i}": math.cos(number + i) for i in range(keys - keys // 2)},
    }
    system = {f"system.gpu.{i}.memory": math.cos(number + i) for i in range(16)}
    values: dict[str, Any] = {
        "id": f"UnVuOnYxOnJ1bn{number:06}",
        "projectId": 7,
        "name": run_name(number),
        "displayName": f"crimson-sound-{number}",
        "state": "finished",
        "tags": ["baseline", f"group-{number % 10}"],
        "group": f"group-{number % 10}",
        "jobType": "train",
        "commit": f"{number:040x}",
        "readOnly": False,
        "notes": None,
        "description": None,
        "createdAt": "2026-11-21T03:27:50",
        "heartbeatAt": "2026-11-21T04:27:54",
        "sweepName": None,
        "config": _text({key: {"value": value, "desc": None} for key, value in config.items()}),
        "summaryMetrics": _text(summary),
        "systemMetrics": _text(system),
    }
    user: Fields = {"name": b'"Bench"', "username": b'"bench"'}
    return {**{name: orjson.dumps(value) for name, value in values.items()}, "user": user}


def _text(value: object) -> str:
    return orjson.dumps(value).decode()


_VIEWER: Fields = {
    "id": b'"VXNlcjox"',
    "entity": b'"%b"' % ENTITY.encode(),
    "username": b'"bench"',
    "email": b'"bench@example.com"',
    "flags": b'"{}"',
    "teams": {"edges": []},
}
