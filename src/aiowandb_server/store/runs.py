"""Runs: upsert, list, change, delete."""

from __future__ import annotations

import dataclasses
import math
import secrets
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import orjson

from aiowandb_server.errors import RequestError
from aiowandb_server.store import json_text
from aiowandb_server.store.conditions import TRUE, Sql, every
from aiowandb_server.store.deleting import IS_KEPT, delete_run
from aiowandb_server.store.filters import compile_filter
from aiowandb_server.store.ordering import cursor_of, parse_order
from aiowandb_server.store.records import ListPage, ProjectRow, RunChanges, RunRow
from aiowandb_server.store.run_fields import StateRule, run_field
from aiowandb_server.store.run_index import IndexedFilter, RunIndex
from aiowandb_server.store.run_values import ChangedDocuments
from aiowandb_server.text_limits import MAX_NAME, check_path_name

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from aiowandb_server.store.database import Database
    from aiowandb_server.store.ordering import Order

_COLUMNS = """
    run.id, project_id, entity.name AS entity, project.name AS project, run.name, display_name,
    {state} AS state, run.created_at, heartbeat_at, run.user_id, sweep, group_name, job_type, host,
    program, repo, git_commit, exit_code, stop_requested, history_lines, event_lines,
    console_lines, tags, notes, run.description, config, summary
"""
_FROM = f"""
    FROM run JOIN project ON project.id = run.project_id AND {IS_KEPT}
             JOIN entity ON entity.id = project.entity_id
"""
_COLUMN_OF = {"group": "group_name"}
_STATES = frozenset(
    {"running", "finished", "failed", "crashed", "killed", "preempting", "preempted", "pending"}
)


class RunTable:
    def __init__(self, database: Database, clock: Callable[[], float], crash_after: float) -> None:
        self._database = database
        self._clock = clock
        self._crash_after = crash_after
        self._index = RunIndex(database)

    @property
    def state_rule(self) -> StateRule:
        return StateRule(self._clock(), self._crash_after)

    def upsert(
        self, project: ProjectRow, name: str | None = None, changes: RunChanges | None = None
    ) -> tuple[RunRow, bool]:
        """Create or change the run of that name; returns it and whether it was created."""
        changes = changes or RunChanges()
        changed = _checked(changes)
        documents = ChangedDocuments.searched(self._database, project.id, changed.documents)
        name = name or new_run_name()
        now = int(self._clock())
        with self._database.write() as connection:
            cursor = connection.execute(
                """
                INSERT INTO run (project_id, name, display_name, state, created_at, heartbeat_at)
                VALUES (?, ?, ?, 'running', ?, ?) ON CONFLICT DO NOTHING
                """,
                (project.id, name, name, changes.created_at or now, changes.created_at or now),
            )
            inserted = cursor.rowcount > 0
            (run_id,) = connection.execute(
                "SELECT id FROM run WHERE project_id = ? AND name = ?", (project.id, name)
            ).fetchone()
            if inserted:
                check_path_name("run", name, MAX_NAME)
            else:
                # The author of a run is the user who created it, not one who changes it later.
                changed.columns.pop("user_id", None)
            _apply(connection, run_id, changed)
            documents.store(connection, project.id, run_id)
            return self._get(connection, run_id), inserted

    def change(self, run_id: int, changes: RunChanges) -> RunRow:
        changed = _checked(changes)
        project_id = self._project_of(run_id) if changed.documents else 0
        documents = ChangedDocuments.searched(self._database, project_id, changed.documents)
        with self._database.write() as connection:
            _apply(connection, run_id, changed)
            documents.store(connection, project_id, run_id)
            return self._get(connection, run_id)

    def get(self, project: ProjectRow, name: str) -> RunRow | None:
        return self._one("project_id = ? AND run.name = ?", (project.id, name))

    def by_id(self, run_id: int) -> RunRow | None:
        return self._one("run.id = ?", (run_id,))

    def page(
        self,
        project: ProjectRow,
        *,
        filters: object = None,
        order: str | None = None,
        first: int = 50,
        after: str | None = None,
    ) -> ListPage[RunRow]:
        """A page of the runs that `filters` selects, in the given order."""
        rule = self.state_rule
        field = partial(run_field, state_rule=rule)
        ordering = parse_order(order or "+created_at", field, "run.id")
        state = rule.sql()
        selected = compile_filter(filters, field)
        self._index.prepare(project, filters)
        with self._database.read() as connection:
            found = self._index.find(connection, project, filters, field)
            if found and self._is_short(connection, found, project, first, ordering):
                ids = f"run.id IN (SELECT {found.ids} {found.source.text})"
                selected = Sql(ids, found.source.parameters)
            where = every([selected, ordering.after(after)])
            statement = (
                f"SELECT {_COLUMNS.format(state=state.text)}, {ordering.key.text} AS place {_FROM} "
                f"WHERE project_id = ? AND {where.text} ORDER BY {ordering.sql.text} LIMIT ?"
            )
            parameters = (
                *state.parameters,
                *ordering.key.parameters,
                project.id,
                *where.parameters,
                *ordering.sql.parameters,
                first + 1,
            )
            rows = connection.execute(statement, parameters).fetchall()
        return ListPage(
            [_run(row) for row in rows[:first]],
            [cursor_of(row["place"], row["id"]) for row in rows[:first]],
            len(rows) > first,
        )

    def count(self, project: ProjectRow, filters: object = None) -> int:
        field = partial(run_field, state_rule=self.state_rule)
        where = compile_filter(filters, field)
        self._index.prepare(project, filters)
        with self._database.read() as connection:
            if where == TRUE:
                statement = "SELECT run_count FROM project WHERE id = ?"
                parameters: tuple[object, ...] = (project.id,)
            elif found := self._index.find(connection, project, filters, field):
                return self._index.count(connection, found)
            else:
                condition = f"project_id = ? AND {where.text}"
                statement = f"SELECT count(*) FROM run WHERE {condition}"  # noqa: S608 - see Sql
                parameters = (project.id, *where.parameters)
            (count,) = connection.execute(statement, parameters).fetchone()
        return int(count)

    def request_stop(self, run_id: int) -> None:
        """Ask the run to stop, with the next response of its file stream."""
        with self._database.write() as connection:
            connection.execute("UPDATE run SET stop_requested = 1 WHERE id = ?", (run_id,))

    def delete(self, run_id: int) -> bool:
        return delete_run(self._database, run_id)

    def _is_short(
        self,
        connection: sqlite3.Connection,
        found: IndexedFilter,
        project: ProjectRow,
        first: int,
        order: Order,
    ) -> bool:
        """Whether it is faster to sort the runs that the index finds than to read runs in order
        until a page is full, for which few are read if many are selected."""
        limit = project.run_count // 4
        if order.key.text == "run.created_at":
            limit = min(limit, math.isqrt(first * project.run_count))
        return self._index.count(connection, found) <= limit

    def _project_of(self, run_id: int) -> int:
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT project_id FROM run WHERE id = ?", (run_id,)
            ).fetchone()
        if row is None:
            raise RequestError("this run has been deleted")
        return int(row[0])

    def _one(self, where: str, parameters: tuple[object, ...]) -> RunRow | None:
        with self._database.read() as connection:
            return self._fetch(connection, where, parameters)

    def _get(self, connection: sqlite3.Connection, run_id: int) -> RunRow:
        run = self._fetch(connection, "run.id = ?", (run_id,))
        if run is None:
            raise RequestError("this run has been deleted")
        return run

    def _fetch(
        self, connection: sqlite3.Connection, where: str, parameters: tuple[object, ...]
    ) -> RunRow | None:
        state = self.state_rule.sql()
        row = connection.execute(
            f"SELECT {_COLUMNS.format(state=state.text)} {_FROM} WHERE {where}",
            (*state.parameters, *parameters),
        ).fetchone()
        return _run(row) if row else None


def new_run_name() -> str:
    """Eight characters of base 36, as in the SDK."""
    return "".join(secrets.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(8))


class _Changed(NamedTuple):
    """Checked changes: values by column, and the documents among them as SQLite can parse them."""

    columns: dict[str, object]
    documents: dict[str, str]


def _checked(changes: RunChanges) -> _Changed:
    """This takes most of the time of a change, and needs no transaction."""
    columns: dict[str, object] = {}
    documents: dict[str, str] = {}
    for field in dataclasses.fields(changes):
        if (value := getattr(changes, field.name)) is not None:
            columns[_COLUMN_OF.get(field.name, field.name)] = value
    if changes.tags is not None:
        columns["tags"] = orjson.dumps(list(dict.fromkeys(changes.tags))).decode()
    for what, text in (("config", changes.config), ("summary", changes.summary)):
        if text is not None:
            finite = _finite_object(what, text)
            columns[what] = json_text.without_halves(text)
            columns[f"finite_{what}"] = finite
            documents[what] = str(finite or columns[what])
    if changes.state is not None and changes.state not in _STATES:
        raise RequestError(
            f"{changes.state!r} is not a state of a run; use one of {', '.join(sorted(_STATES))}"
        )
    return _Changed(columns, documents)


def _apply(connection: sqlite3.Connection, run_id: int, changed: _Changed) -> None:
    if not changed.columns:
        return
    assignments = ", ".join(f"{column} = ?" for column in changed.columns)
    connection.execute(
        f"UPDATE run SET {assignments} WHERE id = ?",  # noqa: S608 - fields of RunChanges
        (*changed.columns.values(), run_id),
    )


def _finite_object(what: str, text: str) -> str | None:
    if json_text.is_too_deep(text):
        raise RequestError(
            f"the {what} of a run may be nested at most {json_text.MAX_DEPTH} levels deep"
        )
    if json_text.loads_object(text) is None:
        raise RequestError(f"the {what} of a run must be a JSON object, not {text[:80]!r}")
    return json_text.finite(json_text.without_halves(text))


def _run(row: sqlite3.Row) -> RunRow:
    return RunRow(
        row["id"],
        row["project_id"],
        row["entity"],
        row["project"],
        row["name"],
        row["display_name"],
        row["state"],
        row["created_at"],
        row["heartbeat_at"],
        row["user_id"],
        row["sweep"],
        row["group_name"],
        row["job_type"],
        row["host"],
        row["program"],
        row["repo"],
        row["git_commit"],
        row["exit_code"],
        bool(row["stop_requested"]),
        row["history_lines"],
        row["event_lines"],
        row["console_lines"],
        row["tags"],
        row["notes"],
        row["description"],
        row["config"],
        row["summary"],
    )
