"""W&B as a source of other engines. Each module needs an extra of its name, and is small.

    aiowandb.engines.spark    a data source of Spark, for batches and for streams
    aiowandb.engines.daft     a data source of Daft
    aiowandb.engines.dlt      a source of dlt, incremental

All of them plan with `Runs.plan()` where there is an API key, and send parts to wherever rows are
read. polars, duckdb, pandas and Arrow read a plan itself: see `ReadPlan`.
"""
