"""A run's rows: plan where they lie, fetch them as pages, give them as columns or rows.

May import `net` and `wire`. Everything here that touches columns imports pyarrow,
which is why the layers above import this one only when it is used.
"""

from aiowandb.history.concurrent import scan_batches, scan_runs
from aiowandb.history.scan import scan_run, scan_system
from aiowandb.history.selection import Selection

__all__ = ["Selection", "scan_batches", "scan_run", "scan_runs", "scan_system"]
