"""Sinks that are tables elsewhere: of a database, or of an Iceberg catalogue.

Their packages are imported when a sink is made.
"""

from aiowandb.export.sinks.database import DatabaseSink
from aiowandb.export.sinks.iceberg import IcebergSink
from aiowandb.export.sinks.table import TableSink

__all__ = ["DatabaseSink", "IcebergSink", "TableSink"]
