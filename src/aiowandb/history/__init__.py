"""A run's rows: plan where they lie, fetch them as pages, give them as columns or rows.

May import `net` and `wire`. Everything here that touches columns imports pyarrow,
which is why the layers above import this one only when it is used.
"""
