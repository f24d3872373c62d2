"""The right word that is nearest to a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_LISTED = 12


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant.

    >>> nearest("--foramt", ["--format", "--filter"])
    '--format'
    """
    by_folded = {each.casefold(): each for each in known}
    for folded, each in by_folded.items():
        if sorted(folded) == sorted(word.casefold()):
            return each  # letters that have changed places
    close = difflib.get_close_matches(word.casefold(), by_folded, 1, 0.6)
    return by_folded[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a wrong word; nothing if no known one is near.

    >>> did_you_mean("cvs", ["csv", "json"])
    "; did you mean 'csv'?"
    """
    found = nearest(word, known)
    return f"; did you mean {found!r}?" if found else ""


def listed(known: Iterable[str]) -> str:
    """Words that there are to choose from, the first of many.

    >>> listed(["a", "b"])
    'a, b'
    """
    words = list(known)
    more = len(words) - _MOST_LISTED
    return ", ".join(words[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
