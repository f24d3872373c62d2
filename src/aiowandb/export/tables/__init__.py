"""The tables of an export besides the histories: what their columns are, and how runs are read.

May import what `export` may, and nothing that writes: `row_source` is what they have in common.
"""
