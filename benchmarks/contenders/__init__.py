"""The programs that are measured, each what its user would write, each a process of its own.

A contender is `python -m benchmarks.contenders.NAME '{"url": ..., "job": ..., "folder": ...}'`. It
imports what it needs, does the job by the clock of `measured`, and prints what that saw.
"""
