"""The SQLite file: its connections and transactions.

The write-ahead log with `synchronous=FULL` is durable: committed transactions survive a kill or a
power cut. The threads of a process write one after another; processes queue on SQLite's lock
(`BEGIN IMMEDIATE` and a busy timeout).
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import DataFolderError, RequestError
from aiowandb_server.store.disk import restrict_to_owner
from aiowandb_server.store.metering import QUERY_S, charge, meter
from aiowandb_server.store.schema import add_functions, bring_up_to_date

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUSY_TIMEOUT_S = 30.0
# Connections that wait for work, each with open files and pages that it has read: as many as there
# are at work in a server. Crowds of requests have more for a moment.
_MAX_IDLE = 10
# A connection keeps its last 128 statements. Those of long filters are longer than this, and take
# so much memory for each of their characters.
_LONGEST_STATEMENT = 20_000
_SIZE_OF_CHARACTER = 120
# Of SQLite's machine, between two looks at the clock: about a millisecond.
_INSTRUCTIONS = 20_000
# Parts of SQLite's errors for queries that were ended, by the clock or in a function of ours.
_TOO_LONG = ("interrupted", "user-defined function raised exception")
# Parts of SQLite's errors for statements that a client's filter or pattern makes too large.
_TOO_COMPLEX = ("too large", "too complex", "too many SQL variables", "stack overflow")


# What SQLite answers if the file system fails, or has no locks.
_NO_LOCAL_DISK = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS}
)


class _Connection(sqlite3.Connection):
    """Counts long statements as memory of the request, and notes that it keeps one."""

    keeps_long_statement = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if len(sql) > _LONGEST_STATEMENT:
            charge(len(sql) * _SIZE_OF_CHARACTER)
            self.keeps_long_statement = True
        return super().execute(sql, parameters)


class Database:
    """A pool of connections to one file; each unit of work borrows one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = _Turns()
        self._idle: queue.LifoQueue[_Connection] = queue.LifoQueue()
        _make_private(path)
        try:
            with self._borrow() as connection:
                _update_schema(connection, path)
        except sqlite3.DatabaseError as error:
            self.close()
            advice = ""
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_LOCAL_DISK:
                advice = (
                    ". SQLite needs locks and shared memory, which network file systems may lack:"
                    " choose a folder on a disk of this machine"
                )
            raise DataFolderError(f"{path} cannot be opened as a store: {error}{advice}") from error
        except DataFolderError:
            self.close()
            raise

    def close(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    @contextmanager
    def read(self, *, piecewise: bool = False) -> Iterator[sqlite3.Connection]:
        """A snapshot: all reads in the block see the same state.

        Rows that are read count as memory of the request until its end. With `piecewise` they do
        not: the block drops what it has read as it goes, and counts what it keeps. It may take any
        time; other queries of a request end after a while.
        """
        with (
            self._borrow(piecewise=piecewise) as connection,
            _transaction(connection, "BEGIN"),
            # Only what is in the block: a ROLLBACK that is ended leaves the transaction open.
            nullcontext() if piecewise else _limited(connection),
        ):
            yield connection

    @contextmanager
    def write(self, *, repeatable: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction, which is on disk when the block is left, or is rolled back.

        `repeatable` are changes that a request may make again, such as what is derived from rows.
        """
        # Other processes wait in SQLite, which sleeps longer and longer between its attempts.
        with (
            self._writing,
            self._borrow() as connection,
            _transaction(connection, "BEGIN IMMEDIATE"),
        ):
            yield connection
        if not repeatable and (found := meter()) is not None:
            found.has_written = True

    @contextmanager
    def _borrow(self, *, piecewise: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = _connect(self._path)
        found = None if piecewise else meter()
        connection.row_factory = sqlite3.Row if found is None else found.row
        try:
            yield connection
        finally:
            if self._idle.qsize() < _MAX_IDLE and not connection.keeps_long_statement:
                self._idle.put(connection)
            else:
                connection.close()


class _Turns:
    """A lock that whoever has waited goes first to, before a thread that has just released it.

    Work in many transactions would otherwise take the lock again before others have woken up.
    """

    def __init__(self) -> None:
        self._next = threading.Lock()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _make_private(path: Path) -> None:
    """Let only the owner read the file; SQLite creates its other files with the same mode."""
    # Do not open an existing file: closing it would drop the locks that SQLite has on it in this
    # process, and another process could then damage the data.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        with suppress(FileNotFoundError):
            restrict_to_owner(file)


def _connect(path: Path) -> _Connection:
    connection = sqlite3.connect(
        path,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
    )
    try:
        connection.row_factory = sqlite3.Row
        add_functions(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16000")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _limited(connection: sqlite3.Connection) -> Iterator[None]:
    """Limit the time of queries in the block, if they are those of a request."""
    found = meter()
    if found is None:
        yield
        return
    with found.timed():
        connection.set_progress_handler(found.is_late, _INSTRUCTIONS)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    try:
        connection.execute(begin)
        yield
        connection.execute("COMMIT")
    except OverflowError as error:
        raise RequestError("a number is larger than the 64 bits that can be stored") from error
    except UnicodeEncodeError as error:
        raise RequestError(
            f"half of a surrogate pair is not a character: {error.object[:80]!r}"
        ) from error
    except sqlite3.IntegrityError as error:
        # A name is in use, or the row that it refers to was deleted meanwhile.
        raise RequestError(f"this conflicts with what is stored: {error}") from error
    except (sqlite3.OperationalError, sqlite3.DataError) as error:
        if any(words in str(error) for words in _TOO_COMPLEX):
            raise RequestError(f"a filter, a pattern or a value is too long: {error}") from error
        if any(words in str(error) for words in _TOO_LONG):
            raise RequestError(
                f"this takes more than {QUERY_S:g} seconds, and was ended. Filter by less, or by "
                "simpler patterns.",
                413,
            ) from error
        raise
    finally:
        # A failed COMMIT (because of a full disk) leaves the transaction open, like an exception.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _update_schema(connection: sqlite3.Connection, path: Path) -> None:
    with _without_foreign_keys(connection), _transaction(connection, "BEGIN IMMEDIATE"):
        bring_up_to_date(connection, path)


@contextmanager
def _without_foreign_keys(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep SQLite from deleting rows that refer to a table while a migration replaces it.

    SQLite ignores this setting inside a transaction.
    """
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        connection.execute("PRAGMA foreign_keys = ON")
