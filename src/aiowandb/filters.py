"""The names to build filters with.

>>> from aiowandb.filters import config, tag
>>> runs = api.runs("entity/project", (config("lr") > 0.1) & (tag == "best"))
"""

from aiowandb.wire.filters.building import (
    Field,
    Filter,
    config,
    created_at,
    display_name,
    duration,
    group,
    heartbeat_at,
    host,
    job_type,
    name,
    state,
    summary,
    sweep,
    tag,
    user,
)

__all__ = [
    "Field",
    "Filter",
    "config",
    "created_at",
    "display_name",
    "duration",
    "group",
    "heartbeat_at",
    "host",
    "job_type",
    "name",
    "state",
    "summary",
    "sweep",
    "tag",
    "user",
]
