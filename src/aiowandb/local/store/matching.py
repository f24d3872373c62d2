"""Regular expressions for filters, in RE2: W&B's syntax, and linear time whatever the pattern."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc


def check_pattern(pattern: str) -> None:
    """Raise ValueError with RE2's explanation if this is no regular expression."""
    try:
        _matches(pattern, "")
    except pa.ArrowInvalid as error:
        raise ValueError(str(error)) from error


def matches_pattern(pattern: str, text: object) -> bool:
    """SQLite's `text REGEXP pattern`; what is not text never matches."""
    return isinstance(text, str) and _matches(pattern, text)


@lru_cache(maxsize=65_536)
def _matches(pattern: str, text: str) -> bool:
    options = pc.MatchSubstringOptions(pattern)
    found = pc.call_function("match_substring_regex", [pa.scalar(text)], options)
    return bool(found.as_py())
