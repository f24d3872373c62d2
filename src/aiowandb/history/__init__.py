"""The rows of runs: find where they are, fetch them as pages, return them as columns or rows.

Most modules here import pyarrow, so the layers above import them only when they are used. Start
reading at `plan`, then `scan`.
"""
