"""Suggestions for wrong words: the nearest right one, or all of them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import Any

# Shorter words are similar to too many others.
_SHORTEST_WORD = 3
_MOST_LISTED = 13
_OTHER_SEPARATOR = str.maketrans("./", "/.")


def nearest(word: Any, known: Iterable[str]) -> str | None:
    """The known word that was probably meant.

    >>> nearest("--foramt", ["--format", "--filter"])
    '--format'
    """
    if not isinstance(word, str) or len(word) < _SHORTEST_WORD:
        return None
    wanted = word.casefold()
    by_folded = {each.casefold(): each for each in known}
    if wanted in by_folded:
        return by_folded[wanted]
    letters = sorted(wanted)
    for folded, each in by_folded.items():
        if len(folded) == len(wanted) and sorted(folded) == letters:
            return each  # letters were transposed
    close = difflib.get_close_matches(wanted, by_folded, 1)
    return by_folded[close[0]] if close else None


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """The end of a sentence about a wrong word, with the nearest right one if there is one.

    >>> did_you_mean("losss", ["acc", "loss"])
    "; did you mean 'loss'?"
    """
    found = nearest(word, known)
    return f"; did you mean {found!r}?" if found else ""


def no_such(what: str, name: str, known: Collection[str], place: str = "") -> str:
    """The message for a name that does not exist.

    >>> no_such("key", "losss", ["acc", "loss"], "in run e/p/r")
    "No key named 'losss' in run e/p/r; did you mean 'loss'?"
    """
    said = f"No {what} named {name!r} {place}".rstrip()
    parts = [part.strip() for part in name.split(",")]
    if len(parts) > 1 and all(part in known for part in parts):
        return f"{said}; did you mean {parts!r}?"
    # W&B's web pages write nested keys with a slash.
    other = name.translate(_OTHER_SEPARATOR)
    if any(fnmatchcase(each, other) for each in known):
        return f"{said}; did you mean {other!r}?"
    return f"{said}{did_you_mean(name, known) or '.'}"


def listed(known: Iterable[str], most: int = _MOST_LISTED) -> str:
    """The possible words as text, only the first of many.

    >>> listed(["a", "b"])
    'a, b'
    """
    words = list(known)
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more:,} more" if more > 0 else "")
