"""Structured concurrency on anyio: task groups, reading ahead, and work in threads."""
