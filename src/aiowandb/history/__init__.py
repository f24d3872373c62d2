"""A run's rows: plan where they lie, fetch them as pages, give them as columns or rows.

Most modules here import pyarrow, which is why the layers above import them only when they are used.
"""
