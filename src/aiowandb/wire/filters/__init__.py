"""Filters and orders of runs: checks what users write, and converts it to what W&B accepts.

A filter is a mapping in MongoDB's style, written as a dict, with the fields of `building`, or as
a line of text, see `parsing`. All three use the same names of columns and keys, see `names`.
"""

from aiowandb.wire.filters.checking import check_filters, check_order
from aiowandb.wire.filters.parsing import parse_expression

__all__ = ["check_filters", "check_order", "parse_expression"]
