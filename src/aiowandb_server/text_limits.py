"""What texts clients may send: how long, by what they are, and which names can be parts of paths.

Names are parts of indexes, of links and of every list. Those of the SDK are shorter: artifacts and
projects have up to 128 characters, tags 64.

JSON has limits because it is parsed at once, which takes many times its memory, and in which all
other threads of the process wait: for half a second at these. W&B recommends configs of less than
15 MB, and the SDK sends no rows of more than 10.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from aiowandb_server.errors import RequestError
from aiowandb_server.store.metering import charge, count_marks

MAX_NAME: Final = 1_024
MAX_PROJECT_NAME: Final = 128
# Ids contain several names, in base64.
MAX_PATH: Final = 4_096
MAX_PROSE: Final = 1 << 20
# In characters.
MAX_DOCUMENT: Final = 16 << 20
# In one document: as many as there can be by its commas and brackets, also in its texts.
MAX_VALUES: Final = 2_000_000
# How often a document is in memory while it is stored, besides the values in it: as it came, as it
# is stored, as SQLite can search it, in SQLite's record and pages, and as it is read again.
_COPIES = 3

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


def check_path_name(what: str, name: str, limit: int, reserved: str = "/") -> None:
    """Raise RequestError if the name cannot be one part of a path.

    Links lead to files by it, and clients and browsers take `..` for the folder above.
    """
    if not name.strip(".") or len(name) > limit or not set(reserved).isdisjoint(name):
        raise RequestError(
            f"{name[:128]!r} is not a valid {what} name: 1 to {limit} characters, not only dots, "
            f"without {' '.join(reserved)}"
        )


def check_document(what: str, text: str) -> None:
    """Raise RequestError if the text of a document or of a row is too long.

    What storing it takes is counted as memory of the request.
    """
    if len(text) > MAX_DOCUMENT:
        raise RequestError(
            f"{what} has {len(text)} characters, and {MAX_DOCUMENT} are allowed. "
            "Store what is large as a file or an artifact.",
            413,
        )
    charge(_COPIES * sys.getsizeof(text))


def check_values(what: str, text: str) -> None:
    """Raise RequestError if JSON text has too many values to be parsed at once."""
    # There are no more values than characters.
    if len(text) > MAX_VALUES and (found := count_marks(text)) > MAX_VALUES:
        raise too_many_values(what, found)


def too_many_values(what: str, found: int) -> RequestError:
    return RequestError(
        f"{what} has about {found} values of JSON, and {MAX_VALUES} are allowed at once. "
        "Send less, or a file or an artifact.",
        413,
    )


def check_input(given: Mapping[str, object]) -> int:
    """The number of items in the lists of a mutation's input, without those inside of items, such
    as the parts of a file. Raises RequestError if a text anywhere in it is too long."""
    for name, value in given.items():
        _check(name, value)
    return sum(len(value) for value in given.values() if isinstance(value, list))


def _check(name: str, value: object) -> None:
    if isinstance(value, str):
        if name in JSON_FIELDS:
            check_values(name, value)
            check_document(name, value)
        else:
            check_text(name, value, _LIMITS.get(name, MAX_NAME))
    elif isinstance(value, Mapping):
        for inner, item in value.items():
            _check(inner, item)
    elif isinstance(value, list):
        for item in value:
            _check(name, item)
