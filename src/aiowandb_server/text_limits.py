"""How long the texts may be that clients send, by what they are: names, paths, ids, prose, JSON.

Names are parts of indexes, of links and of every list. Those of the SDK are shorter: artifacts and
projects have up to 128 characters, tags 64. JSON is limited by the size of a body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiowandb_server.errors import RequestError

MAX_NAME: Final = 1_024
MAX_PROJECT_NAME: Final = 128
# Ids contain several names, in base64.
MAX_PATH: Final = 4_096
MAX_PROSE: Final = 1 << 20

_PATHS = (
    *("id", "files", "jobProgram", "jobRepo", "repo", "commit", "dockerImage", "mimetype"),
    *("storagePath", "uploadID", "artifactID", "artifactManifestID", "artifactPortfolioID"),
    *("artifactSequenceID", "baseArtifactID", "birthArtifactID"),
)
_PROSE = ("description", "notes", "text")
# The configuration of a sweep is YAML, which has a limit of its own.
JSON_FIELDS = frozenset(
    {
        *("config", "summaryMetrics", "metadata", "labels", "views", "attributes", "metrics"),
        *("runState", "controller", "scheduler", "launchScheduler", "templateVariableValues"),
        "priorRunsFilters",
    }
)
_LIMITS = {
    **dict.fromkeys(_PATHS, MAX_PATH),
    **dict.fromkeys(_PROSE, MAX_PROSE),
}


def check_text(what: str, text: str, limit: int = MAX_NAME) -> None:
    """Raise RequestError if the text is too long."""
    if len(text) > limit:
        raise RequestError(f"{what} has {len(text)} characters, and {limit} are allowed")


def check_input(given: Mapping[str, object]) -> int:
    """The number of items in the lists of a mutation's input, without those inside of items, such
    as the parts of a file. Raises RequestError if a text anywhere in it is too long."""
    for name, value in given.items():
        _check(name, value)
    return sum(len(value) for value in given.values() if isinstance(value, list))


def _check(name: str, value: object) -> None:
    if isinstance(value, str):
        if name not in JSON_FIELDS:
            check_text(name, value, _LIMITS.get(name, MAX_NAME))
    elif isinstance(value, Mapping):
        for inner, item in value.items():
            _check(inner, item)
    elif isinstance(value, list):
        for item in value:
            _check(name, item)
