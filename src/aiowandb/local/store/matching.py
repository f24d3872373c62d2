"""Regular expressions for filters, in RE2: W&B's syntax, and linear time whatever the pattern."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc


def check_pattern(pattern: str) -> None:
    """Raise ValueError with RE2's explanation if this is no regular expression."""
    try:
        pc.match_substring_regex(pa.scalar(""), pattern=pattern)
    except pa.ArrowInvalid as error:
        raise ValueError(str(error)) from error


@lru_cache(maxsize=65_536)
def _matches(pattern: str, text: str) -> bool:
    return bool(pc.match_substring_regex(pa.scalar(text), pattern=pattern).as_py())


def matches_pattern(pattern: str, text: object) -> bool:
    """SQLite's `text REGEXP pattern`; what is not text never matches."""
    return isinstance(text, str) and _matches(pattern, text)
