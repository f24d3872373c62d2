"""W&B as a source of other engines. Each module needs the extra of the same name.

    aiowandb.engines.spark    a data source of Spark, for batches and for streams
    aiowandb.engines.daft     a data source of Daft
    aiowandb.engines.dlt      a source of dlt, incremental

All of them plan with `Runs.plan()` in a process with an API key, and send parts to the processes
that read them. polars, duckdb, pandas and Arrow read a plan directly: see `ReadPlan`.
"""
