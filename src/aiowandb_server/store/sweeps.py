"""Sweeps and their agents: which agent runs what next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError
from aiowandb_server.store import json_text
from aiowandb_server.store.fields import column, fields_among, moment
from aiowandb_server.store.filters import compile_filter
from aiowandb_server.store.ordering import number_of
from aiowandb_server.store.records import ListPage
from aiowandb_server.store.runs import new_run_name
from aiowandb_server.store.search import parse_space

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from aiowandb_server.store.database import Database
    from aiowandb_server.store.records import ProjectRow

_STATES = frozenset({"PENDING", "RUNNING", "PAUSED", "CANCELED", "FINISHED"})
_SILENT_AFTER_S = 60
_field = fields_among(
    {
        "name": column("sweep.name", never_null=True),
        "display_name": column("sweep.display_name"),
        "displayName": column("sweep.display_name"),
        "description": column("sweep.description"),
        "state": column("sweep.state", never_null=True),
        "created_at": moment("sweep.created_at"),
        "createdAt": moment("sweep.created_at"),
        "updated_at": moment("sweep.updated_at"),
        "updatedAt": moment("sweep.updated_at"),
    },
    "sweeps",
)


@dataclass(frozen=True, slots=True)
class SweepRow:
    """`config` is the YAML that was sent."""

    id: int
    project_id: int
    name: str
    display_name: str | None
    description: str | None
    config: str
    state: str
    controller: str | None
    scheduler: str | None
    prior_runs: str | None
    user_id: int | None
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class SweepChanges:
    """Changes to a sweep; None leaves a field unchanged.

    `prior_runs` is a filter for earlier runs that the sweep is to learn from.
    """

    display_name: str | None = None
    description: str | None = None
    config: str | None = None
    state: str | None = None
    controller: str | None = None
    scheduler: str | None = None
    prior_runs: str | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    id: int
    sweep_id: int
    name: str
    host: str
    created_at: int
    heartbeat_at: int
    total_runs: int


class SweepTable:
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def create(
        self, project: ProjectRow, changes: SweepChanges, *, user_id: int | None = None
    ) -> SweepRow:
        config = changes.config or ""
        parse_space(config)
        now = int(self._clock())
        with self._database.write() as connection:
            (sweep_id,) = connection.execute(
                """
                INSERT INTO sweep (project_id, name, config, state, user_id, created_at, updated_at)
                VALUES (?, ?, ?, 'PENDING', ?, ?, ?) RETURNING id
                """,
                (project.id, new_run_name(), config, user_id, now, now),
            ).fetchone()
            self._apply(connection, sweep_id, changes)
            return _require(connection, sweep_id)

    def change(self, sweep_id: int, changes: SweepChanges) -> SweepRow:
        if changes.config is not None:
            parse_space(changes.config)
        with self._database.write() as connection:
            self._apply(connection, sweep_id, changes)
            return _require(connection, sweep_id)

    def get(self, project: ProjectRow, name: str) -> SweepRow | None:
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM sweep WHERE project_id = ? AND name = ?", (project.id, name)
            ).fetchone()
        return SweepRow(*row) if row else None

    def by_id(self, sweep_id: int) -> SweepRow | None:
        with self._database.read() as connection:
            row = connection.execute("SELECT * FROM sweep WHERE id = ?", (sweep_id,)).fetchone()
        return SweepRow(*row) if row else None

    def page(
        self, project: ProjectRow, *, filters: object = None, first: int, after: str | None = None
    ) -> ListPage[SweepRow]:
        """Newest first."""
        before = 2**62 if (start := number_of(after)) is None else start
        where = compile_filter(filters, _field)
        with self._database.read() as connection:
            rows = connection.execute(
                f"""
                SELECT * FROM sweep WHERE id IN (
                    -- Only ids are sorted, and not all the configurations.
                    SELECT id FROM sweep WHERE project_id = ? AND id < ? AND {where.text}
                    ORDER BY id DESC LIMIT ?
                ) ORDER BY id DESC
                """,  # noqa: S608 - see Sql
                (project.id, before, *where.parameters, first + 1),
            ).fetchall()
        sweeps = [SweepRow(*row) for row in rows[:first]]
        return ListPage(sweeps, [str(sweep.id) for sweep in sweeps], len(rows) > first)

    def count(self, project: ProjectRow) -> int:
        with self._database.read() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM sweep WHERE project_id = ?", (project.id,)
            ).fetchone()
        return int(count)

    def add_agent(self, sweep: SweepRow, host: str) -> Agent:
        now = int(self._clock())
        with self._database.write() as connection:
            (agent_id,) = connection.execute(
                """
                INSERT INTO agent (sweep_id, name, host, created_at, heartbeat_at)
                VALUES (?, ?, ?, ?, ?) RETURNING id
                """,
                (sweep.id, new_run_name(), host, now, now),
            ).fetchone()
        return self._agents("agent.id = ?", agent_id)[0]

    def agent(self, agent_id: int) -> Agent | None:
        found = self._agents("agent.id = ?", agent_id)
        return found[0] if found else None

    def agents(self, sweep: SweepRow) -> list[Agent]:
        return self._agents("agent.sweep_id = ?", sweep.id)

    def run_names(self, agent: Agent) -> list[str]:
        """Names of the runs that were assigned to the agent."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT run_name FROM assignment WHERE agent_id = ? ORDER BY number", (agent.id,)
            ).fetchall()
        return [name for (name,) in rows]

    def is_silent(self, agent: Agent) -> bool:
        return self._clock() - agent.heartbeat_at > _SILENT_AFTER_S

    def heartbeat(self, agent: Agent, running: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The next commands for the agent; `running` has its current runs by name."""
        busy = [name for name, alive in running.items() if alive]
        if (known := self.by_id(agent.sweep_id)) is not None:
            # That takes long, and all other writers would wait: it is remembered until it is used.
            parse_space(known.config)
        with self._database.write() as connection:
            connection.execute(
                "UPDATE agent SET heartbeat_at = ? WHERE id = ?", (int(self._clock()), agent.id)
            )
            sweep = _require(connection, agent.sweep_id)
            if sweep.state == "CANCELED":
                return [{"type": "stop", "run_id": name} for name in busy] or [{"type": "exit"}]
            if busy or sweep.state == "PAUSED":
                return []
            if sweep.state == "FINISHED":
                return [{"type": "exit"}]
            return self._next_commands(connection, sweep, agent)

    def _next_commands(
        self, connection: sqlite3.Connection, sweep: SweepRow, agent: Agent
    ) -> list[dict[str, Any]]:
        """What an idle agent is to run: an enqueued run, or one with parameters from the search."""
        space = parse_space(sweep.config)
        if (enqueued := _enqueued(connection, sweep)) is not None:
            number = -1 - _count_assigned(connection, sweep, "number < 0")
            name, arguments = enqueued
        elif space.has_scheduler:
            return []
        else:
            number = _count_assigned(connection, sweep, "number >= 0")
            chosen = space.draw(number, seed=sweep.id)
            if chosen is None:
                self._apply(connection, sweep.id, SweepChanges(state="FINISHED"))
                return [{"type": "exit"}]
            name = new_run_name()
            arguments = {key: {"value": value} for key, value in chosen.items()}
        connection.execute(
            "INSERT INTO assignment VALUES (?, ?, ?, ?)", (sweep.id, number, agent.id, name)
        )
        if sweep.state == "PENDING":
            self._apply(connection, sweep.id, SweepChanges(state="RUNNING"))
        return [{"type": "run", "run_id": name, "program": space.program, "args": arguments}]

    def _agents(self, where: str, value: int) -> list[Agent]:
        with self._database.read() as connection:
            rows = connection.execute(
                f"""
                SELECT agent.*, (SELECT count(*) FROM assignment WHERE agent_id = agent.id)
                FROM agent WHERE {where} ORDER BY agent.id
                """,  # noqa: S608 - one of the two conditions above
                (value,),
            ).fetchall()
        return [Agent(*row) for row in rows]

    def _apply(self, connection: sqlite3.Connection, sweep_id: int, changes: SweepChanges) -> None:
        if changes.state is not None and changes.state not in _STATES:
            known = ", ".join(sorted(_STATES))
            raise RequestError(f"{changes.state!r} is not a state of a sweep; use one of {known}")
        connection.execute(
            """
            UPDATE sweep SET display_name = ifnull(?, display_name),
                description = ifnull(?, description), config = ifnull(?, config),
                state = ifnull(?, state), controller = ifnull(?, controller),
                scheduler = ifnull(?, scheduler), prior_runs = ifnull(?, prior_runs),
                updated_at = ?
            WHERE id = ?
            """,
            (
                changes.display_name,
                changes.description,
                changes.config,
                changes.state,
                changes.controller,
                changes.scheduler,
                changes.prior_runs,
                int(self._clock()),
                sweep_id,
            ),
        )


def _enqueued(connection: sqlite3.Connection, sweep: SweepRow) -> tuple[str, dict[str, Any]] | None:
    """The oldest enqueued run that no agent has, and its parameters."""
    row = connection.execute(
        """
        SELECT name, config FROM run
        WHERE project_id = ? AND sweep = ? AND state = 'pending' AND name NOT IN
            (SELECT run_name FROM assignment WHERE sweep_id = ?)
        ORDER BY id LIMIT 1
        """,
        (sweep.project_id, sweep.name, sweep.id),
    ).fetchone()
    if row is None:
        return None
    values = json_text.loads_object(row["config"]) or {}
    return row["name"], {key: value for key, value in values.items() if key != "_wandb"}


def _count_assigned(connection: sqlite3.Connection, sweep: SweepRow, which: str) -> int:
    """How many runs were drawn (`number >= 0`) or enqueued (`number < 0`) and have an agent.

    They are counted apart: an enqueued run takes no place of a grid.
    """
    (count,) = connection.execute(
        f"SELECT count(*) FROM assignment WHERE sweep_id = ? AND {which}",  # noqa: S608 - see above
        (sweep.id,),
    ).fetchone()
    return int(count)


def _require(connection: sqlite3.Connection, sweep_id: int) -> SweepRow:
    row = connection.execute("SELECT * FROM sweep WHERE id = ?", (sweep_id,)).fetchone()
    if row is None:
        raise RequestError("this sweep has been deleted")
    return SweepRow(*row)
