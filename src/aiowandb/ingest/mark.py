"""The origin of a copied run, stored in its config under one key.

It distinguishes copied runs from others with the same id, complete copies from interrupted ones,
and shows whether the source has changed since. It also keeps what W&B's protocol cannot set: when
the run was created, by whom, and how it ended.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aiowandb.config.hosts import names_of
from aiowandb.ingest.source import RunFacts
from aiowandb.net import Session
from aiowandb.net.session import supports
from aiowandb.wire.json_edit import changed_object, read_object, readable_object
from aiowandb.wire.record import RunRecord
from aiowandb.wire.server import store_id

KEY = "_aiowandb"
_CONFIG_LEVELS = 2


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of the key. `complete` is false while the copy is in progress."""

    source: str
    complete: bool = False
    stamp: str | None = None
    state: str | None = None
    created_at: str | None = None
    user: str | None = None

    @classmethod
    def of(cls, identity: str, facts: RunFacts) -> Mark:
        """The mark of a run whose copy begins."""
        # A copy of a copy keeps the creation time and the user of the original.
        earlier = read_mark(facts.config)
        made = facts.created_at.isoformat() if facts.created_at else None
        return cls(
            source=identity,
            state=facts.state,
            created_at=(earlier and earlier.created_at) or made,
            user=(earlier and earlier.user) or facts.username,
        )

    def finished(self, stamp: str | None) -> Mark:
        """The mark of this copy when it is complete."""
        return msgspec.structs.replace(self, complete=True, stamp=stamp)


async def place_of(session: Session, entity: str, project: str) -> str:
    """A permanent name of a project, whichever host name of its W&B is used.

    An embedded W&B is identified by its folder, not by the port of its server.
    """
    host = min(names_of(session.host))
    if await supports(session, "AIOWANDB_RUN_ORIGIN"):
        known: str | None = await session.ask_cached(store_id())
        host = f"local-{known}"
    return f"{host}/{entity}/{project}"


def with_mark(config: str, mark: Mark) -> str:
    """The text of a config with the mark added and everything else unchanged."""
    value = {"value": msgspec.to_builtins(mark)}
    return changed_object(config or None, {}, {KEY: value})


def without_mark(config: str) -> str:
    """The text of a config without the mark, as in the source."""
    found = readable_object(config, _CONFIG_LEVELS)
    return changed_object(config or None, {KEY: found.get(KEY)}, {}) if KEY in found else config


def read_mark(config: str | None) -> Mark | None:
    """The mark in this config, if there is one."""
    if not config or KEY not in config:
        return None
    value: Any = readable_object(config, _CONFIG_LEVELS).get(KEY)
    try:
        return msgspec.convert(value["value"], Mark)
    except (msgspec.ValidationError, KeyError, TypeError):
        return None


def is_blank(run: RunRecord) -> bool:
    """Whether the run has no data, so that it may be from a copy that was killed."""
    has_config = bool(read_object(run.config_json or None, _CONFIG_LEVELS))
    has_summary = bool(read_object(run.summary_json or None))
    has_words = bool(run.tags or run.notes or run.description or run.group or run.job_type)
    return not (has_config or has_summary or has_words or run.history_line_count)
