"""Alerts sent by runs. They are only stored; no one is notified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiowandb_server.store.database import Database
    from aiowandb_server.store.records import RunRow


@dataclass(frozen=True, slots=True)
class Alert:
    title: str
    text: str
    severity: str
    created_at: int


class Alerts:
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def add(self, run: RunRow, title: str, text: str, severity: str = "INFO") -> None:
        with self._database.write() as connection:
            connection.execute(
                """
                INSERT INTO alert (run_id, title, text, severity, created_at)
                VALUES (?, ?, ?, ?, ?)
                """,
                (run.id, title, text, severity, int(self._clock())),
            )

    def of_run(self, run: RunRow) -> list[Alert]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT title, text, severity, created_at FROM alert WHERE run_id = ? ORDER BY id",
                (run.id,),
            ).fetchall()
        return [Alert(*row) for row in rows]
