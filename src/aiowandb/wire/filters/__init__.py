"""Which runs, and in which order: what users write, checked, and what W&B is sent.

A filter is a mapping in MongoDB's style, made by hand, by the typed names of
`building`, or out of a line of text by `parsing`. All three call the things of a run
by the same names, which `names` knows.
"""

from aiowandb.wire.filters.checking import checked, checked_order
from aiowandb.wire.filters.parsing import parse_expression

__all__ = ["checked", "checked_order", "parse_expression"]
