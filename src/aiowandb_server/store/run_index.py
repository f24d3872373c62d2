"""The index of values in config and summary, for counting and finding runs in large projects.

Without it, a filter by `config.lr` reads the config of every run. A key is indexed when it is first
used in a filter, and then kept up to date with each run that changes, so that writing a run costs
nothing for the thousands of keys that are never used in filters. Lists, objects and long texts are
not indexed: if a key has any, its filters read the runs. The result is the same either way.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from aiowandb_server.store.conditions import Sql, every
from aiowandb_server.store.fields import FilterField
from aiowandb_server.store.filters import compile_filter, fields_of
from aiowandb_server.store.index_building import IndexBuilder
from aiowandb_server.store.run_fields import KeyPaths, key_paths
from aiowandb_server.text_limits import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiowandb_server.store.database import Database
    from aiowandb_server.store.fields import FieldOf
    from aiowandb_server.store.records import ProjectRow

# With fewer runs, an index is not faster.
_MIN_RUNS = 2_000
_MAX_KEYS_A_FILTER = 8
_MAX_CACHED_COUNTS = 256
_MAX_CACHED_PARAMETERS = 100
_MAX_CACHED_TEXT = 20_000
# Operators that a missing value never matches, the most selective first.
_SELECTIVE = ("$eq", "$in", "$gt", "$gte", "$lt", "$lte", "$regex")


class IndexedFilter(NamedTuple):
    """`SELECT {ids} {source}` selects the ids of the runs that match the filter.

    `version` identifies the state of the indexed values; None if the filter uses other fields too.
    """

    source: Sql
    version: tuple[Any, ...] | None
    ids: str = "v0.run_id"


class _Key(NamedTuple):
    id: int
    version: int


class RunIndex:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._builder = IndexBuilder(database)
        # Clients request the same count with every page.
        self._counts: OrderedDict[Any, int] = OrderedDict()
        self._lock = Lock()

    def prepare(self, project: ProjectRow, filters: object) -> None:
        """Index the keys in the filter, if that is useful. Not inside a transaction."""
        wanted = _wanted(project, filters)
        if not wanted:
            return
        with self._database.read() as connection:
            known = _known_keys(connection, project, wanted)
        for name in wanted.keys() - known.keys():
            # If the database cannot be written to now, the filter works without the index.
            with suppress(sqlite3.OperationalError):
                self._builder.add(project.id, wanted[name])

    def count(self, connection: sqlite3.Connection, found: IndexedFilter) -> int:
        """How many runs match a filter; counted again only if values have changed."""
        state = (found.version, found.source)
        with self._lock:
            if found.version is not None and state in self._counts:
                self._counts.move_to_end(state)
                return self._counts[state]
        (count,) = connection.execute(
            f"SELECT count(*) {found.source.text}",
            found.source.parameters,
        ).fetchone()
        if found.version is not None and _is_small(found.source):
            with self._lock:
                self._counts[state] = count
                if len(self._counts) > _MAX_CACHED_COUNTS:
                    self._counts.popitem(last=False)
        return int(count)

    def find(
        self, connection: sqlite3.Connection, project: ProjectRow, filters: object, field: FieldOf
    ) -> IndexedFilter | None:
        """The filter as a query of the index, or None if it has to read the runs."""
        known = _known_keys(connection, project, _wanted(project, filters))
        ranks = {name: rank for rank, name in sorted(_drivers(filters, known.keys()), reverse=True)}
        if not ranks:
            return None
        # The most selective key is first; the others are looked up for its runs.
        names = sorted(known, key=lambda name: ranks.get(name, len(_SELECTIVE)))
        aliases = {name: f"v{number}" for number, name in enumerate(names)}
        asks_for_runs = False

        def indexed_field(name: str) -> FilterField:
            nonlocal asks_for_runs
            if name in aliases:
                return FilterField(Sql(f"{aliases[name]}.value"), Sql(f"{aliases[name]}.kind"))
            asks_for_runs = True
            return field(name)

        condition = compile_filter(filters, indexed_field)
        joins = [
            Sql(
                # SQLite keeps the order of the tables in a CROSS JOIN.
                f"{'CROSS' if name in ranks else 'LEFT'} JOIN run_value AS {aliases[name]} "
                f"ON {aliases[name]}.key_id = ? AND {aliases[name]}.run_id = v0.run_id",
                (known[name].id,),
            )
            for name in names[1:]
        ]
        if asks_for_runs:
            joins.append(Sql("CROSS JOIN run ON run.id = v0.run_id"))
        where = every([Sql("(v0.key_id = ?)", (known[names[0]].id,)), condition])
        text = " ".join(join.text for join in joins)
        return IndexedFilter(
            Sql(
                f"FROM run_value AS v0 {text} WHERE {where.text}",
                (*(value for join in joins for value in join.parameters), *where.parameters),
            ),
            None if asks_for_runs else tuple(known[name] for name in names),
        )


def _is_small(source: Sql) -> bool:
    """Whether the query can be kept with its result."""
    texts = [source.text, *(value for value in source.parameters if isinstance(value, str))]
    return (
        len(source.parameters) <= _MAX_CACHED_PARAMETERS
        and sum(map(len, texts)) <= _MAX_CACHED_TEXT
    )


def _wanted(project: ProjectRow, filters: object) -> dict[str, KeyPaths]:
    """The keys of the filter to index; none if an index would not help."""
    if project.run_count < _MIN_RUNS:
        return {}
    found = {name: key_paths(name) for name in fields_of(filters)}
    wanted = {
        name: paths for name, paths in found.items() if paths is not None and len(name) <= MAX_NAME
    }
    if len(wanted) > _MAX_KEYS_A_FILTER or not any(_drivers(filters, wanted.keys())):
        return {}
    return wanted


def _known_keys(
    connection: sqlite3.Connection, project: ProjectRow, wanted: Mapping[str, KeyPaths]
) -> dict[str, _Key]:
    """Those of the keys that are indexed and whose values are all in the index."""
    known: dict[str, _Key] = {}
    for name, paths in wanted.items():
        row = connection.execute(
            """
            SELECT id, version FROM indexed_key
            WHERE project_id = ? AND document = ? AND path = ? AND path2 = ? AND path3 = ?
              AND built_to IS NULL AND NOT is_retired
            """,
            (project.id, paths.document, *paths.three),
        ).fetchone()
        if row is not None:
            known[name] = _Key(*row)
    return {name: key for name, key in known.items() if not _has_long(connection, key.id)}


def _has_long(connection: sqlite3.Connection, key_id: int) -> bool:
    row = connection.execute(
        "SELECT 1 FROM run_value INDEXED BY run_value_that_is_long "
        "WHERE key_id = ? AND kind = 'long' LIMIT 1",
        (key_id,),
    ).fetchone()
    return row is not None


def _drivers(filters: object, names: Any) -> Iterator[tuple[int, str]]:
    """Names of which a run must have a value to match, each with a rank of its selectivity."""
    if not isinstance(filters, dict):
        return
    for name, operand in filters.items():
        if name == "$and" and isinstance(operand, list):
            for part in operand:
                yield from _drivers(part, names)
        elif name in names:
            asked = operand if isinstance(operand, dict) else {"$eq": operand}
            for rank, operator in enumerate(_SELECTIVE):
                if operator in asked and _is_scalar(asked[operator]):
                    yield rank, name


def _is_scalar(operand: object) -> bool:
    """Whether the operand, or each of its elements, is a number, text or boolean."""
    if isinstance(operand, list):
        return all(isinstance(item, (str, int, float)) for item in operand)
    return isinstance(operand, (str, int, float))
